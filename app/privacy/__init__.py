"""Erases and exports one person's data."""
