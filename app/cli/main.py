"""The `mailwake` command: it imports the module of a command when that command is chosen."""

import os
from importlib import import_module
from typing import Any, NamedTuple, cast

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from app import __version__


class Source(NamedTuple):
    """Where a command is: a function, or a group of commands, of a module in app/cli."""

    module: str
    name: str
    help: str  # as the list of commands shows it: the first line of its own


COMMANDS = {
    "serve": Source("serve", "serve", "Run the service: tracking, API and dashboard."),
    "load": Source(
        "serve",
        "load_journal",
        "Load the journal into ClickHouse. Run it next to `mailwake serve --no-load`.",
    ),
    "smtp": Source(
        "serve",
        "smtp",
        "Run the SMTP gateway: track mails and pass them on to MAILWAKE_SMARTHOST.",
    ),
    "demo": Source(
        "serve",
        "demo",
        "Run the service with realistic sample traffic, sent through its own HTTP endpoints.",
    ),
    "rewrite": Source(
        "rewrite", "rewrite", "Rewrite one HTML message with the keys of the service and record it."
    ),
    "bounce": Source(
        "bounce",
        "bounce",
        "Read a delivery report, a complaint or an automatic reply, and record the outcome.",
    ),
    "reclassify": Source(
        "reclassify",
        "reclassify",
        "Classify stored hits again with the current rules. Safe to stop and to repeat.",
    ),
    "verify": Source(
        "verify", "verify", "Compare what the journal held, hits, roll-ups and the feed of events."
    ),
    "report": Source(
        "report",
        "report",
        "Write a newsletter's report as an HTML document to print, or mail it.",
    ),
    "migrate": Source(
        "migrate", "migrate", "Update ClickHouse's tables and state.db to this version."
    ),
    "doctor": Source(
        "doctor",
        "doctor",
        "Check settings, data folder, ClickHouse and the running service. Changes nothing.",
    ),
    "backup": Source(
        "backup",
        "backup",
        "Back up everything of value in DATA_DIR to one file, while the service runs.",
    ),
    "restore": Source(
        "backup",
        "restore",
        "Restore a backup into an empty DATA_DIR, completely or not at all.",
    ),
    "erase": Source(
        "privacy", "erase", "Erase a person's data. Totals stay the same. Safe to repeat."
    ),
    "export-subject": Source(
        "privacy", "export_subject", "Export all data about a person as one JSON document."
    ),
    "login-link": Source(
        "users", "login_link", "Print a login link that works once and expires after 24 hours."
    ),
    "workspaces": Source(
        "workspaces",
        "commands",
        "Manage workspaces: tenants with their own domain, secrets, keys and data.",
    ),
    "consent": Source("consent", "commands", "Withdraw or restore consent to being tracked."),
    "set-aside": Source(
        "set_aside", "commands", "List, show, load or drop what could not be loaded."
    ),
    "keys": Source("keys", "commands", "Manage API keys."),
    "users": Source("users", "commands", "Manage dashboard users."),
}


class LazyGroup(TyperGroup):
    """Lists the commands without their modules, and imports the module of the chosen one."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, source in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=source.help)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `help COMMAND` for `COMMAND --help`, and `--version`.

        The version is printed here because typer imports pydantic to read any option.
        """
        if args in (["version"], ["--version"]):
            version()
            ctx.exit()
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns name, command and other arguments, as typer's own method does."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, imported(name) if name in COMMANDS else command, rest


def imported(name: str) -> TyperCommand | TyperGroup:
    """Returns one of COMMANDS with its arguments and options; imports its module."""
    source = COMMANDS[name]
    command = getattr(import_module(f"app.cli.{source.module}"), source.name)
    if isinstance(command, typer.Typer):
        group = typer.main.get_group(command)
        group.name = name
        return group
    single = typer.Typer(add_completion=False)
    single.command(name)(command)
    return cast(TyperCommand, typer.main.get_command(single))


cli = typer.Typer(
    cls=LazyGroup,
    help="Open and click tracking for outgoing mail.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"mailwake {__version__}")


@cli.callback()
def group() -> None:
    """Keep `version` a command of a group: typer would make a single command the program."""


def main() -> None:
    """Run the console script. No file that it creates can be read by other users."""
    os.umask(0o077)
    cli()
