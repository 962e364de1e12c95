"""Puts the service together and runs its processes."""
