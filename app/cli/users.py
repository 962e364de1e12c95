"""`mailwake users` and `mailwake login-link`: manage users of the dashboard."""

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
from app.cli.common import Workspace, console, fail, option, settings_of
from app.cli.state import open_state, workspace_of
from app.settings.load import with_public_url
from app.settings.settings import Settings

commands = typer.Typer(help="Manage dashboard users.", no_args_is_help=True)
DataDir = Annotated[Path | None, option("data_dir")]
Name = Annotated[str, typer.Argument(help="Name of the user.")]
OfWorkspace = Annotated[
    str, typer.Option("--workspace", help="Workspace of the user, if several have the name.")
]
RoleOption = Annotated[str, typer.Option(help="viewer, editor or admin.")]


@commands.command()
def add(
    name: Name,
    role: RoleOption = "viewer",
    workspace: Workspace = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Create a user and print a one-time login link."""
    settings, state = _open(data_dir)
    workspace_of(settings, state, workspace)
    try:
        user = Users(state).add(name, workspace, role)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(_link(settings, state, user.account))


@commands.command(name="list")
def show(workspace: Workspace = DEFAULT, data_dir: DataDir = None) -> None:
    """List the users of a workspace and their number of sessions."""
    settings, state = _open(data_dir)
    workspace_of(settings, state, workspace)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("name", "role", "password", "sessions"):
        table.add_column(heading, overflow="fold")
    for user in Users(state).all(workspace):
        known = "set" if user.has_password else "none"
        count = len(Sessions(state).of(user.account))
        table.add_row(Text(user.name), user.role, known, str(count))
    console.print(table)


@commands.command()
def password(name: Name, workspace: OfWorkspace = "", data_dir: DataDir = None) -> None:
    """Set a password (prompts, or reads standard input). Logs the user out everywhere."""
    _, state = _open(data_dir)
    user = _known(state, name, workspace)
    if sys.stdin.isatty():
        new_password = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    else:
        new_password = sys.stdin.readline().rstrip("\r\n")
    try:
        Users(state).set_password(user.account, new_password)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(f"{name} now has a new password")


@commands.command()
def role(
    name: Name,
    new: Annotated[str, typer.Argument()],
    workspace: OfWorkspace = "",
    data_dir: DataDir = None,
) -> None:
    """Change the role of a user: viewer, editor or admin."""
    _, state = _open(data_dir)
    try:
        Users(state).set_role(_known(state, name, workspace).account, new)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(f"{name} is now {new}")


@commands.command()
def logout(name: Name, workspace: OfWorkspace = "", data_dir: DataDir = None) -> None:
    """Log a user out everywhere."""
    _, state = _open(data_dir)
    typer.echo(f"{Sessions(state).end_all(_known(state, name, workspace).account)} sessions ended")


@commands.command()
def remove(name: Name, workspace: OfWorkspace = "", data_dir: DataDir = None) -> None:
    """Remove a user and all of their sessions."""
    _, state = _open(data_dir)
    try:
        Users(state).remove(_known(state, name, workspace).account)
    except UserError as error:
        raise fail(str(error)) from None
    typer.echo(f"{name} has been removed")


def login_link(
    name: Annotated[str, typer.Argument(help="Name of the user.")] = ADMIN,
    workspace: OfWorkspace = "",
    data_dir: DataDir = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Print a login link that works once and expires after 24 hours."""
    settings, state = _open(data_dir, port=port)
    typer.echo(_link(settings, state, _known(state, name, workspace).account))


def _open(data_dir: Path | None, **flags: int | None) -> tuple[Settings, Engine]:
    settings = with_public_url(settings_of(data_dir=data_dir, **flags))
    return settings, open_state(settings)


def _known(state: Engine, name: str, workspace: str) -> User:
    users = [user for user in Users(state).named(name) if workspace in ("", user.workspace)]
    if not users:
        raise fail(f"there is no user {name!r}")
    if len(users) > 1:
        several = ", ".join(user.workspace for user in users)
        raise fail(f"several workspaces have a user {name!r} ({several}): add --workspace")
    return users[0]


def _link(settings: Settings, state: Engine, account: str) -> str:
    return f"{settings.console_url}/login?code={Users(state).new_code(account)}&next=/account"
