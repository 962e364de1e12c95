"""Reads settings from MAILWAKE_* variables, `.env` and files of secrets."""
