"""Identifies links across recipients, and masks secrets in their URLs."""
