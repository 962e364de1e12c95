"""Contains the command `mailwake`, one file for each command."""
