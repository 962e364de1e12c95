"""`python -m app` is the `mailwake` command."""

from app.cli import main

main()
