"""`mailwake bounce`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.auth.workspaces import DEFAULT, WorkspaceError, Workspaces
from app.cli.common import Workspace, console, errors, fail, option, settings_of
from app.cli.state import open_state
from app.model.records import Outcome
from app.outcomes import bounce_mail
from app.outcomes.provider_events import ProviderEvent
from app.outcomes.reports import OutcomeReports
from app.settings.settings import Settings
from app.storage.journal import Journal, JournalError

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: Postfix keeps the mail and tries again


def bounce(
    file: Annotated[str, typer.Argument(help="File of the mail, or - for standard input.")],
    workspace: Workspace = DEFAULT,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
) -> None:
    """Read a delivery report, a complaint or an automatic reply, and record the outcome.

    For a pipe or an alias of a mail server. A mail that is none of these is accepted and ignored.
    Exits with 75, so that the server tries again, if the outcome cannot be stored.
    """
    settings = settings_of(data_dir=data_dir)
    events = bounce_mail.read(_read(file))
    try:
        records = asyncio.run(_record(settings, workspace, events)) if events else []
    except WorkspaceError as error:
        raise fail(str(error)) from None
    except JournalError as error:
        errors.print(f"error: {error}")
        raise typer.Exit(TRY_AGAIN) from None
    for record in records:
        permanent = " permanently" if record.permanent else ""
        console.print(f"{record.kind}{permanent} ({record.code})")
    if not records:
        console.print("nothing is reported, or not about a mail that is named")


def _read(file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(bounce_mail.MAX_BYTES)
        with Path(file).open("rb") as mail:
            return mail.read(bounce_mail.MAX_BYTES)
    except OSError as error:
        raise fail(f"{file}: {error.strerror}") from None


async def _record(
    settings: Settings, workspace: str, events: Sequence[ProviderEvent]
) -> list[Outcome]:
    journal = Journal(settings.data_dir / "journal", sync_ms=0)
    try:
        of = Workspaces(open_state(settings), settings).get(workspace)
        reports = OutcomeReports(of.name, of.recipient_key, journal)
        records, _ = reports.provider_records(bounce_mail.PROVIDER, events)
        await reports.write(records)
        return records
    finally:
        await journal.close()
