"""Options, settings and output that the commands share."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from app.model.email_address import NO_RECIPIENT, is_recipient
from app.settings.load import load, with_secrets
from app.settings.settings import PREFIX, Settings, SettingsError

Workspace = Annotated[str, typer.Option(help="Workspace (tenant) to use.")]
console = Console()
errors = Console(stderr=True)


def option(name: str, readable: bool = True) -> Any:
    """Returns a flag with the help and the variable of its setting.

    Paths that the user may not read are refused if they must be `readable`.
    """
    field = Settings.model_fields[name]
    flag = "--" + name.replace("_", "-")
    return typer.Option(
        f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag,
        help=f"{field.description} [{PREFIX}{name.upper()}]",
        show_default=False,
        readable=readable,
    )


def settings_of(**flags: Any) -> Settings:
    """Returns the settings with secrets; flags win. Exits if a setting is wrong."""
    try:
        return with_secrets(load(**flags))
    except SettingsError as error:
        raise fail(str(error)) from None


def recipient(text: str) -> str:
    """Returns an argument that identifies a recipient. Raises BadParameter."""
    if not is_recipient(text):
        raise typer.BadParameter(NO_RECIPIENT)
    return text


Recipient = Annotated[str, typer.Argument(help="The person's email address.", callback=recipient)]


def fail(message: str) -> typer.Exit:
    """Print an error, a line each; raise what it returns."""
    for line in message.splitlines():
        errors.print(Text("error: ", style="bold red") + Text(line), soft_wrap=True)
    return typer.Exit(2)


def utc(at: datetime | None) -> datetime | None:
    """Returns a time of the command line as UTC."""
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
