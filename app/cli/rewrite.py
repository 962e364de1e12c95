"""`mailwake rewrite`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from app.auth.workspaces import DEFAULT, WorkspaceError
from app.cli.common import Workspace, console, errors, fail, option, settings_of
from app.cli.state import open_state
from app.messages.prepare import PreparedMessage
from app.messages.preparer_registry import PreparerRegistry
from app.model.tracking_modes import MODES
from app.rewriting import charsets
from app.rewriting.html_scanner import RewriteError
from app.schemas import messages
from app.settings.load import with_public_url
from app.settings.settings import Settings
from app.storage.journal import Journal, JournalError


def rewrite(
    file: Annotated[str, typer.Argument(help="HTML file, or - for standard input.")],
    newsletter: Annotated[str, typer.Option(help="ID of the newsletter.")] = "shell",
    recipient: Annotated[
        str, typer.Option(help="Email address or ID of the recipient.")
    ] = "someone@example.com",
    name: Annotated[str | None, typer.Option(help="Name of the newsletter.")] = None,
    utm: Annotated[
        list[str] | None,
        typer.Option(help="UTM parameter, such as source=newsletter. May be repeated."),
    ] = None,
    opens: Annotated[str, typer.Option(help=f"How opens are tracked: {', '.join(MODES)}.")] = "",
    clicks: Annotated[str, typer.Option(help="How clicks are tracked, as for --opens.")] = "",
    no_opens: Annotated[bool, typer.Option("--no-opens", help="Add no pixel.")] = False,
    no_clicks: Annotated[bool, typer.Option("--no-clicks", help="Leave links unchanged.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Only list the links and why they are not tracked.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the API response as JSON.")
    ] = False,
    workspace: Workspace = DEFAULT,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    public_url: Annotated[str | None, option("public_url")] = None,
) -> None:
    """Rewrite one HTML message with the keys of the service and record it.

    With --report, nothing is recorded.
    """
    settings = with_public_url(settings_of(data_dir=data_dir, public_url=public_url))
    fields = {
        "newsletter": {"id": newsletter, "name": name},
        "recipient": recipient,
        "html": "",
        "tracking": {"opens": opens or not no_opens, "clicks": clicks or not no_clicks},
        "utm": dict(item.partition("=")[::2] for item in utm or []),
    }
    try:
        message = msgspec.convert(fields, messages.RewriteIn)
        source = _read(file)
        prepared = asyncio.run(_rewrite(settings, workspace, message, source, record=not report))
    except (WorkspaceError, msgspec.ValidationError, RewriteError, JournalError) as error:
        raise fail(str(error)) from None
    if as_json:
        answer = {
            "message_id": prepared.draft.message_id,
            "links": prepared.report,
            "notes": prepared.all_notes,
            "headers": prepared.draft.headers,
        }
        if not report:
            answer["html"] = charsets.find(source).decode(prepared.html)
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    elif report:
        _report(prepared)
    else:
        sys.stdout.buffer.write(prepared.html)


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise fail(f"{file}: {error.strerror}") from None


async def _rewrite(
    settings: Settings, workspace: str, message: messages.RewriteIn, html: bytes, record: bool
) -> PreparedMessage:
    journal = Journal(settings.data_dir / "journal", sync_ms=0)
    try:
        outgoing = PreparerRegistry(settings, open_state(settings), journal).of(workspace)
        prepared = outgoing.prepare(message, html, None)
        if record:
            await outgoing.record(prepared)
        return prepared
    finally:
        await journal.close()


def _report(prepared: PreparedMessage) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("#", "tracked", "why not", "label", "URL"):
        table.add_column(heading, overflow="fold")
    for link in prepared.report:
        tracked = Text("yes", "green") if link.tracked else Text("no", "yellow")
        table.add_row(str(link.index), tracked, link.reason or "", Text(link.label), Text(link.url))
    console.print(table)
    for note in prepared.all_notes:
        errors.print(Text(f"note: {note}"))
