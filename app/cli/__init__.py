"""The command `mailwake`, one file for each command."""
