"""Settings: MAILWAKE_* variables, files of secrets."""
