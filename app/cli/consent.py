"""`mailwake consent`: manages withdrawals of consent. A running service follows at once."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.auth.workspaces import DEFAULT, WorkspaceError, Workspaces
from app.cli.common import fail, option, settings_of
from app.consent.withdrawals import ALL, Withdrawals
from app.model.ids import newsletter_key, recipient_key
from app.model.tracking_modes import AXES, Axis
from app.storage.state_db import open_state

commands = typer.Typer(help="Who has withdrawn from being counted.", no_args_is_help=True)
Whom = Annotated[str, typer.Argument(help="The person's mail address.")]
Axes = Annotated[
    list[str] | None, typer.Option("--axis", help="opens or clicks; both when left out.")
]
Newsletter = Annotated[str | None, typer.Option(help="Its id; all newsletters when left out.")]
Space = Annotated[str, typer.Option(help="The workspace the person is known in.")]
DataDir = Annotated[Path | None, option("data_dir")]
Change = Callable[[str, int, Sequence[Axis], int], None]


@commands.command()
def withdraw(
    recipient: Whom,
    axis: Axes = None,
    newsletter: Newsletter = None,
    workspace: Space = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Count nothing of a person any more, in mail that was sent before either."""
    known, key = _open(data_dir, workspace, recipient)
    _change(known.withdraw, workspace, key, axis, newsletter)
    _show(known, workspace, key)


@commands.command()
def restore(
    recipient: Whom,
    axis: Axes = None,
    newsletter: Newsletter = None,
    workspace: Space = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Take a withdrawal back."""
    known, key = _open(data_dir, workspace, recipient)
    _change(known.restore, workspace, key, axis, newsletter)
    _show(known, workspace, key)


@commands.command()
def show(recipient: Whom, workspace: Space = DEFAULT, data_dir: DataDir = None) -> None:
    """What a person has withdrawn from."""
    _show(*_asked(data_dir, workspace, recipient))


def _open(data_dir: Path | None, workspace: str, recipient: str) -> tuple[Withdrawals, int]:
    settings = settings_of(data_dir=data_dir)
    state = open_state(settings.data_dir)
    try:
        secret = Workspaces(state, settings).get(workspace).recipient_key
    except WorkspaceError as error:
        raise fail(str(error)) from None
    return Withdrawals(state), recipient_key(secret, workspace, recipient)


def _asked(data_dir: Path | None, workspace: str, recipient: str) -> tuple[Withdrawals, str, int]:
    known, key = _open(data_dir, workspace, recipient)
    return known, workspace, key


def _change(
    change: Change, workspace: str, key: int, axes: list[str] | None, newsletter: str | None
) -> None:
    chosen_axes: list[Axis] = [axis for axis in AXES if not axes or axis in axes]
    if unknown := set(axes or ()) - set(AXES):
        raise fail(f"--axis: {min(unknown)!r} is none of {', '.join(AXES)}")
    change(
        workspace,
        key,
        chosen_axes,
        ALL if newsletter is None else newsletter_key(workspace, newsletter),
    )


def _show(known: Withdrawals, workspace: str, key: int) -> None:
    withdrawals = known.of(workspace, key)
    for withdrawal in withdrawals:
        since = datetime.fromtimestamp(withdrawal.at, UTC).strftime("%Y-%m-%d %H:%M")
        where = (
            "all newsletters"
            if withdrawal.newsletter == ALL
            else f"newsletter {withdrawal.newsletter:016x}"
        )
        typer.echo(f"{withdrawal.axis} of {where}: withdrawn since {since} UTC")
    if not withdrawals:
        typer.echo("nothing is withdrawn")
