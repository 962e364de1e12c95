"""`mailwake set-aside`: what could not be loaded into ClickHouse. Works while the service runs."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import fail, option, settings_of
from app.storage import set_aside
from app.storage.set_aside import SetAsideError

commands = typer.Typer(
    help="List, show, load or drop what could not be loaded.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="The file's name, as `list` shows it.")]
DataDir = Annotated[Path | None, option("data_dir")]


@commands.command(name="list")
def list_entries(data_dir: DataDir = None) -> None:
    """List it, the oldest first: name, time, lines, bytes and why."""
    entries = set_aside.entries(_journal(data_dir))
    for entry in entries:
        at = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="seconds")
        typer.echo(f"{entry.name}  {at}  {entry.lines:,} lines  {entry.bytes:,} B  {entry.reason}")
    if not entries:
        typer.echo("nothing is set aside")


@commands.command()
def show(name: Name, data_dir: DataDir = None) -> None:
    """Write one file's content to standard output."""
    folder = _journal(data_dir)
    try:
        entry = set_aside.find(folder, name)
    except SetAsideError as error:
        raise fail(str(error)) from None
    sys.stdout.buffer.write((folder / entry.name).read_bytes())


@commands.command()
def load(name: Name, data_dir: DataDir = None) -> None:
    """Load lines again, for example after an upgrade. What still cannot be read comes back here."""
    _change(set_aside.load_again, data_dir, name, "given back to the journal")


@commands.command()
def drop(name: Name, data_dir: DataDir = None) -> None:
    """Delete one file for good."""
    _change(set_aside.drop, data_dir, name, "deleted")


def _change(work: Callable[[Path, str], None], data_dir: Path | None, name: str, done: str) -> None:
    try:
        work(_journal(data_dir), name)
    except SetAsideError as error:
        raise fail(str(error)) from None
    typer.echo(done)


def _journal(data_dir: Path | None) -> Path:
    return settings_of(data_dir=data_dir).data_dir / "journal"
