"""The `mailwake` command."""

import os
import sys

import typer

from app import __version__
from app.cli import (
    backup,
    consent,
    doctor,
    keys,
    migrate,
    privacy,
    reclassify,
    report,
    rewrite,
    serve,
    set_aside,
    users,
    verify,
    workspaces,
)
from app.cli.common import fail
from app.storage.state_db import VersionError

cli = typer.Typer(
    help="Open and click tracking for outgoing mail.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


cli.command()(serve.serve)
cli.command(name="load")(serve.load_journal)
cli.command()(serve.smtp)
cli.command()(serve.demo)
cli.command()(rewrite.rewrite)
cli.command()(reclassify.reclassify)
cli.command()(verify.verify)
cli.command()(report.report)
cli.add_typer(workspaces.commands, name="workspaces")
cli.add_typer(consent.commands, name="consent")
cli.command()(migrate.migrate)
cli.command()(doctor.doctor)
cli.add_typer(set_aside.commands, name="set-aside")
cli.command()(backup.backup)
cli.command()(backup.restore)
cli.command()(privacy.erase)
cli.command(name="export-subject")(privacy.export_subject)
cli.add_typer(keys.commands, name="keys")
cli.add_typer(users.commands, name="users")
cli.command()(users.login_link)


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"mailwake {__version__}")


def main() -> None:
    """Run the console script. No file that it creates can be read by other users."""
    os.umask(0o077)
    try:
        cli()
    except VersionError as error:
        sys.exit(fail(str(error)).exit_code)
