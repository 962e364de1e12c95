"""Finds links in mail and inserts tracked links and pixels: pure functions on bytes."""
