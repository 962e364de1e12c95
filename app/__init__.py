"""Mailwake: open and click tracking for outgoing mail."""

__version__ = "0.1.0"
