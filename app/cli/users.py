"""`mailwake users` and `mailwake login-link`: who may use the dashboard."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from app.auth.sessions import Sessions
from app.auth.users import ADMIN, User, UserError, Users
from app.auth.workspaces import DEFAULT
from app.cli.common import Workspace, console, fail, option, settings_of, workspace_of
from app.server.process import with_public_url
from app.settings.settings import Settings
from app.storage.state_db import open_state

commands = typer.Typer(help="Manage dashboard users.", no_args_is_help=True)
DataDir = Annotated[Path | None, option("data_dir")]
Name = Annotated[str, typer.Argument(help="Name of the user.")]
RoleOption = Annotated[str, typer.Option(help="viewer, editor or admin.")]


@commands.command()
def add(
    name: Name,
    role: RoleOption = "viewer",
    workspace: Workspace = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Create a user and print a one-time login link."""
    chosen, state = _open(data_dir)
    workspace_of(chosen, state, workspace)
    try:
        Users(state).add(name, workspace, role)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(_link(chosen, state, name))


@commands.command(name="list")
def show(workspace: Workspace = DEFAULT, data_dir: DataDir = None) -> None:
    """List the users of a workspace and their number of sessions."""
    chosen, state = _open(data_dir)
    workspace_of(chosen, state, workspace)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("name", "role", "password", "sessions"):
        table.add_column(heading, overflow="fold")
    for user in Users(state).all(workspace):
        known = "set" if user.has_password else "none"
        count = len(Sessions(state).of(user.name))
        table.add_row(Text(user.name), user.role, known, str(count))
    console.print(table)


@commands.command()
def password(name: Name, data_dir: DataDir = None) -> None:
    """Set a password (prompts, or reads standard input). Logs the user out everywhere."""
    _, state = _open(data_dir)
    user = _known(state, name)
    if sys.stdin.isatty():
        given = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    try:
        Users(state).set_password(user.name, given)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(f"{name} now has a new password")


@commands.command()
def role(name: Name, new: Annotated[str, typer.Argument()], data_dir: DataDir = None) -> None:
    """Change the role of a user: viewer, editor or admin."""
    _, state = _open(data_dir)
    try:
        Users(state).set_role(_known(state, name).name, new)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(f"{name} is now {new}")


@commands.command()
def logout(name: Name, data_dir: DataDir = None) -> None:
    """Log a user out everywhere."""
    _, state = _open(data_dir)
    typer.echo(f"{Sessions(state).end_all(_known(state, name).name)} sessions ended")


@commands.command()
def remove(name: Name, data_dir: DataDir = None) -> None:
    """Remove a user and all of their sessions."""
    _, state = _open(data_dir)
    try:
        Users(state).remove(_known(state, name).name)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(f"{name} has been removed")


def login_link(
    name: Annotated[str, typer.Argument(help="Name of the user.")] = ADMIN,
    data_dir: DataDir = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Print a login link that works once and expires after 24 hours."""
    chosen, state = _open(data_dir, port=port)
    typer.echo(_link(chosen, state, _known(state, name).name))


def _open(data_dir: Path | None, **flags: int | None) -> tuple[Settings, Engine]:
    chosen = with_public_url(settings_of(data_dir=data_dir, **flags))
    return chosen, open_state(chosen.data_dir)


def _known(state: Engine, name: str) -> User:
    found = Users(state).get(name)
    if found is None:
        raise fail(f"there is no user {name!r}")
    return found


def _link(chosen: Settings, state: Engine, name: str) -> str:
    return f"{chosen.console_url}/login?code={Users(state).new_code(name)}&next=/account"
