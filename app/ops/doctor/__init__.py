"""`mailwake doctor`: checks of an installation."""
