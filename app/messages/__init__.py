"""Handles a message before it is sent: rewriting, signing and recording."""
