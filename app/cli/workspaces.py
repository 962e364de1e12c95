"""`mailwake workspaces`: manages the tenants of one service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from app.auth.workspaces import WorkspaceError, Workspaces
from app.cli.common import console, fail, option, settings_of
from app.cli.state import open_state

commands = typer.Typer(
    help="Manage workspaces: tenants with their own domain, secrets, keys and data.",
    no_args_is_help=True,
)
DataDir = Annotated[Path | None, option("data_dir")]
Name = Annotated[str, typer.Argument(help="Name of the workspace.")]
Url = Annotated[
    str, typer.Argument(help="Base URL of its tracked links, such as https://click.example.com.")
]


@commands.command(name="list")
def show(data_dir: DataDir = None) -> None:
    """List the workspaces with their public URLs."""
    with _workspaces(data_dir) as workspaces:
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("name")
        table.add_column("public URL", overflow="fold")
        for workspace in workspaces.all():
            public_url = workspace.public_url or "the URL that the service listens on"
            table.add_row(Text(workspace.name), Text(public_url))
        console.print(table)


@commands.command()
def add(name: Name, public_url: Url, data_dir: DataDir = None) -> None:
    """Create a workspace with its own secrets. A running service uses it within a second."""
    with _workspaces(data_dir) as workspaces:
        workspace = workspaces.add(name, public_url)
    typer.echo(f"workspace {workspace.name} at {workspace.public_url}")
    typer.echo(
        f"next: mailwake keys add NAME --workspace {workspace.name} (and the same with `users add`)"
    )


@commands.command()
def move(name: Name, public_url: Url, data_dir: DataDir = None) -> None:
    """Change the public URL. Links in old mail work as long as the old domain points here."""
    with _workspaces(data_dir) as workspaces:
        moved = workspaces.move(name, public_url)
    typer.echo(f"workspace {moved.name} at {moved.public_url}")


@commands.command()
def rotate(name: Name, data_dir: DataDir = None) -> None:
    """Sign new links with a new key. Older links keep working."""
    with _workspaces(data_dir) as workspaces:
        keys = len(workspaces.rotate(name).secret_keys)
    typer.echo(f"workspace {name} now has {keys} signing keys; the newest one signs")


@contextmanager
def _workspaces(data_dir: Path | None) -> Iterator[Workspaces]:
    settings = settings_of(data_dir=data_dir)
    try:
        yield Workspaces(open_state(settings), settings)
    except WorkspaceError as error:
        raise fail(str(error)) from None
