"""`mailwake keys`: manages API keys."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from app.auth.api_keys import KeyNameError, Keys
from app.auth.workspaces import DEFAULT
from app.cli.common import Workspace, console, fail, option, settings_of
from app.cli.state import open_state, workspace_of

commands = typer.Typer(help="Manage API keys.", no_args_is_help=True)
DataDir = Annotated[Path | None, option("data_dir")]


@commands.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the key, such as what it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="rewrite, read or admin (includes both). May be repeated."),
    ] = None,
    workspace: Workspace = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Create a key and print it, once only. A running service accepts it within a second."""
    keys = _keys(data_dir, workspace)
    try:
        _, secret = keys.add(workspace, name, scope or ["rewrite"], "the command line")
    except KeyNameError as error:
        raise fail(str(error)) from None
    typer.echo(secret)


@commands.command(name="list")
def show(workspace: Workspace = DEFAULT, data_dir: DataDir = None) -> None:
    """List the keys of a workspace, the newest first."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True)  # must be copied in full
    for heading in ("name", "prefix", "scopes", "created", "last used", "revoked"):
        table.add_column(heading, overflow="fold")
    for key in _keys(data_dir, workspace).all(workspace):
        table.add_row(
            key.id,
            Text(key.name),
            Text(key.hint),
            " ".join(sorted(key.scopes)),
            *map(_when, (key.at, key.used, key.revoked)),
        )
    console.print(table)


@commands.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="ID of the key, as shown by `mailwake keys list`.")],
    workspace: Workspace = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Revoke a key permanently. A running service rejects it within a second."""
    if not _keys(data_dir, workspace).revoke(workspace, key_id):
        raise fail(f"there is no key {key_id!r}, or it was already revoked")
    typer.echo(f"{key_id} has been revoked")


def _keys(data_dir: Path | None, workspace: str) -> Keys:
    settings = settings_of(data_dir=data_dir)
    state = open_state(settings)
    workspace_of(settings, state, workspace)
    return Keys(state, settings)


def _when(seconds: float | None) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if seconds else "-"
