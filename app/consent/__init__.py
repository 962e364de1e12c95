"""Keeps suppressions, withdrawals of consent and requests for erasure."""
