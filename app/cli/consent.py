"""`mailwake consent`: manages withdrawals of consent. A running service follows at once."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.auth.workspaces import DEFAULT, WorkspaceError, Workspaces
from app.cli.common import Recipient, fail, option, settings_of
from app.cli.state import open_state
from app.consent.withdrawals import ALL, Withdrawals
from app.model.ids import newsletter_key, recipient_key
from app.model.tracking_modes import AXES, Axis

commands = typer.Typer(help="Withdraw or restore consent to being tracked.", no_args_is_help=True)
Axes = Annotated[list[str] | None, typer.Option("--axis", help="opens or clicks. Both if omitted.")]
Newsletter = Annotated[
    str | None, typer.Option(help="ID of the newsletter. All newsletters if omitted.")
]
Space = Annotated[str, typer.Option(help="Workspace that the person belongs to.")]
DataDir = Annotated[Path | None, option("data_dir")]
Change = Callable[[str, int, Sequence[Axis], int], None]


@commands.command()
def withdraw(
    recipient: Recipient,
    axis: Axes = None,
    newsletter: Newsletter = None,
    workspace: Space = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Stop counting a person's opens and clicks, including those of messages already sent."""
    known, key = _open(data_dir, workspace, recipient)
    _change(known.withdraw, workspace, key, axis, newsletter)
    _show(known, workspace, key)


@commands.command()
def restore(
    recipient: Recipient,
    axis: Axes = None,
    newsletter: Newsletter = None,
    workspace: Space = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Restore a person's consent."""
    known, key = _open(data_dir, workspace, recipient)
    _change(known.restore, workspace, key, axis, newsletter)
    _show(known, workspace, key)


@commands.command()
def show(recipient: Recipient, workspace: Space = DEFAULT, data_dir: DataDir = None) -> None:
    """Show which consent a person has withdrawn."""
    _show(*_asked(data_dir, workspace, recipient))


def _open(data_dir: Path | None, workspace: str, recipient: str) -> tuple[Withdrawals, int]:
    settings = settings_of(data_dir=data_dir)
    state = open_state(settings)
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
        raise fail(f"--axis: {min(unknown)!r} must be one of {', '.join(AXES)}")
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
        newsletter = withdrawal.newsletter
        where = "all newsletters" if newsletter == ALL else f"newsletter {newsletter:016x}"
        typer.echo(f"{withdrawal.axis} in {where}: consent withdrawn since {since} UTC")
    if not withdrawals:
        typer.echo("no consent has been withdrawn")
