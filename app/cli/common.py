"""The commands of `mailwake`, by what they are for, and what they share."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy import Engine

from app.auth.workspaces import WorkspaceError, Workspaces
from app.settings.load import (
    load,
    with_secrets,
)
from app.settings.settings import PREFIX, Settings, SettingsError

Workspace = Annotated[str, typer.Option(help="Workspace (tenant) to use.")]
console = Console()
errors = Console(stderr=True)


def option(name: str) -> Any:
    """A flag with the help and the variable of its setting."""
    field = Settings.model_fields[name]
    flag = "--" + name.replace("_", "-")
    return typer.Option(
        f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag,
        help=f"{field.description} [{PREFIX}{name.upper()}]",
        show_default=False,
    )


def settings_of(**flags: Any) -> Settings:
    """The settings with secrets; flags win. Ends the command where one is wrong."""
    try:
        return with_secrets(load(**flags))
    except SettingsError as error:
        raise fail(str(error)) from None


def workspace_of(chosen: Settings, state: Engine, name: str) -> None:
    """Ends the command where there is no such workspace."""
    try:
        Workspaces(state, chosen).get(name)
    except WorkspaceError as error:
        raise fail(str(error)) from None


def fail(message: str) -> typer.Exit:
    """Print an error, a line each; raise what it returns."""
    for line in message.splitlines():
        errors.print(Text("error: ", style="bold red") + Text(line), soft_wrap=True)
    return typer.Exit(2)


def utc(at: datetime | None) -> datetime | None:
    """A time of the command line, which says UTC."""
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
