"""`python -m app` is the `mailwake` command."""

from app.cli.main import main

main()
