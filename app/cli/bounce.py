"""`mailwake bounce`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.auth.workspaces import DEFAULT, WorkspaceError, Workspaces
from app.cli.common import Workspace, console, errors, fail, option, settings_of
from app.cli.state import open_state
from app.model.records import Outcome
from app.outcomes import bounce_mail
from app.outcomes.provider_events import ProviderEvent
from app.outcomes.reports import OutcomeReports
from app.outcomes.return_path import ReturnPathError, ReturnPaths
from app.settings.settings import Settings
from app.storage.journal import Journal, JournalError

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: Postfix keeps the mail and tries again


def bounce(
    file: Annotated[str, typer.Argument(help="File of the mail, or - for standard input.")],
    workspace: Workspace = DEFAULT,
    recipient: Annotated[
        str,
        typer.Option(
            help="The mail's recipient. A return path (MAILWAKE_BOUNCE_DOMAIN) names the message.",
            envvar=["ORIGINAL_RECIPIENT", "RECIPIENT"],
        ),
    ] = "",
    data_dir: Annotated[Path | None, option("data_dir", readable=False)] = None,
) -> None:
    """Read a delivery report, a complaint or an automatic reply, and record the outcome.

    For a pipe or an alias of a mail server. A mail that is none of these is accepted and ignored.
    Exits with 75, so that the server tries again, if the outcome of a mail from standard input
    cannot be stored, or a setting is wrong.
    """
    wrong = TRY_AGAIN if file == "-" else 2
    try:
        settings = settings_of(data_dir=data_dir)
    except typer.Exit:
        raise typer.Exit(wrong) from None
    except OSError as error:  # DATA_DIR belongs to another user
        errors.print(f"error: {error}", soft_wrap=True)
        raise typer.Exit(wrong) from None
    mail = _read(file)
    try:
        about, workspace = _named(settings, recipient, workspace)
        events = bounce_mail.read(mail, about)
        records = asyncio.run(_record(settings, workspace, events)) if events else []
    except WorkspaceError as error:
        errors.print(f"error: {error}", soft_wrap=True)
        raise typer.Exit(wrong) from None
    except ReturnPathError as error:  # a bounce of it would go to a forged sender
        console.print(f"nothing is recorded: {error}")
        return
    except (JournalError, SQLAlchemyError) as error:
        errors.print(f"error: {error}")
        raise typer.Exit(TRY_AGAIN) from None
    for record in records:
        permanent = " permanently" if record.permanent else ""
        console.print(f"{record.kind}{permanent} ({record.code})")
    if not records:
        console.print("nothing is reported, or not about a mail that is named")


def _named(settings: Settings, recipient: str, workspace: str) -> tuple[str, str]:
    """Returns the message that a recipient names, if it is a return path, and its workspace.

    Raises ReturnPathError.
    """
    if not settings.bounce_domain:
        return "", workspace
    paths = ReturnPaths(settings.bounce_domain, Workspaces(open_state(settings), settings))
    if not paths.has_domain(recipient):
        return "", workspace
    named = paths.read(recipient)
    return named.message, named.workspace.name


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
