"""The `mailwake` command."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from app import __version__
from app.auth.workspaces import DEFAULT, WorkspaceError
from app.cli import backup, consent, doctor, keys, migrate, privacy, users, workspaces
from app.cli.common import Workspace, console, errors, fail, option, settings_of, utc
from app.ingest.networks import NetworksError
from app.messages.prepare import PreparedMessage
from app.messages.preparers import PreparerRegistry
from app.model.tracking_modes import MODES
from app.ops import logs
from app.rewriting import charsets
from app.rewriting.html_scanner import RewriteError
from app.schemas import messages
from app.server import process
from app.server.process import with_public_url
from app.settings import settings
from app.settings.settings import PREFIX, Settings
from app.storage.clickhouse import StorageError
from app.storage.journal import Journal, JournalError
from app.storage.state_db import VersionError, open_state

cli = typer.Typer(
    help="Open and click tracking for outgoing mail.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@cli.command()
def serve(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    host: Annotated[str | None, option("host")] = None,
    port: Annotated[int | None, option("port")] = None,
    public_url: Annotated[str | None, option("public_url")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    journal_sync_ms: Annotated[int | None, option("journal_sync_ms")] = None,
    journal_max_mb: Annotated[int | None, option("journal_max_mb")] = None,
    trusted_proxies: Annotated[str | None, option("trusted_proxies")] = None,
    max_html_mb: Annotated[float | None, option("max_html_mb")] = None,
    log_level: Annotated[str | None, option("log_level")] = None,
    log_format: Annotated[str | None, option("log_format")] = None,
    asn_file: Annotated[Path | None, option("asn_file")] = None,
    country_file: Annotated[Path | None, option("country_file")] = None,
    workers: Annotated[int | None, option("workers")] = None,
    load: Annotated[bool | None, option("load")] = None,
    smtp: Annotated[bool | None, option("smtp")] = None,
) -> None:
    """Run the service: tracking, API and dashboard.

    Every flag has its MAILWAKE_ variable, in the environment or in .env; the flag wins. Secrets
    have variables only, so that no process list shows them.
    """
    _serve(settings_of(**locals()))


@cli.command(name="load")
def load_journal(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    asn_file: Annotated[Path | None, option("asn_file")] = None,
    country_file: Annotated[Path | None, option("country_file")] = None,
    log_level: Annotated[str | None, option("log_level")] = None,
    log_format: Annotated[str | None, option("log_format")] = None,
) -> None:
    """Take DATA_DIR's journal to a ClickHouse server, beside `mailwake serve --no-load`."""
    chosen = settings_of(**locals())
    if chosen.clickhouse_dsn == "chdb":
        raise fail(f"{PREFIX}CLICKHOUSE_DSN: {settings.ONE_PROCESS}")
    logs.start(chosen.log_level, chosen.log_format)
    with suppress(KeyboardInterrupt), _failing():
        asyncio.run(process.run_loader(chosen))


@cli.command()
def smtp(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    smtp_listen: Annotated[str | None, option("smtp_listen")] = None,
    public_url: Annotated[str | None, option("public_url")] = None,
    log_level: Annotated[str | None, option("log_level")] = None,
    log_format: Annotated[str | None, option("log_format")] = None,
) -> None:
    """Take mail by SMTP, track it, and hand it to MAILWAKE_SMARTHOST; beside `mailwake serve`."""
    with _failing():
        process.smtp(settings_of(**locals()))


@cli.command()
def demo(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    host: Annotated[str | None, option("host")] = None,
    port: Annotated[int | None, option("port")] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=20, help="Times the usual traffic.")] = 1.0,
) -> None:
    """Run the service with lifelike sample traffic through its own HTTP endpoints."""
    chosen = settings_of(
        data_dir=data_dir or Path("data/demo"), host=host, port=port, trusted_proxies="127.0.0.1/32"
    )
    _serve(chosen, speed)


@cli.command()
def rewrite(
    file: Annotated[str, typer.Argument(help="An HTML file, or - for standard input.")],
    newsletter: Annotated[str, typer.Option(help="The newsletter's id.")] = "shell",
    recipient: Annotated[str, typer.Option(help="Whom it goes to.")] = "someone@example.com",
    name: Annotated[str | None, typer.Option(help="The newsletter's name.")] = None,
    utm: Annotated[
        list[str] | None, typer.Option(help="A UTM parameter, such as source=newsletter.")
    ] = None,
    opens: Annotated[str, typer.Option(help=f"{', '.join(MODES)}; else the setting's.")] = "",
    clicks: Annotated[str, typer.Option(help="The same of the links.")] = "",
    no_opens: Annotated[bool, typer.Option("--no-opens", help="No pixel.")] = False,
    no_clicks: Annotated[bool, typer.Option("--no-clicks", help="Links as they are.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print each link and why it is not tracked instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's answer.")] = False,
    workspace: Workspace = DEFAULT,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    public_url: Annotated[str | None, option("public_url")] = None,
) -> None:
    """Rewrite one HTML message with the service's own keys and record it.

    With --report nothing is recorded.
    """
    chosen = with_public_url(settings_of(data_dir=data_dir, public_url=public_url))
    wanted = {
        "newsletter": {"id": newsletter, "name": name},
        "recipient": recipient,
        "html": "",
        "tracking": {"opens": opens or not no_opens, "clicks": clicks or not no_clicks},
        "utm": dict(item.partition("=")[::2] for item in utm or []),
    }
    try:
        message = msgspec.convert(wanted, messages.RewriteIn)
        source = _read(file)
        prepared = asyncio.run(_rewrite(chosen, workspace, message, source, record=not report))
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


@cli.command()
def reclassify(
    start: Annotated[
        datetime | None, typer.Option("--from", help="UTC; the first hit when left out.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", help="UTC; five minutes ago when left out.")
    ] = None,
    workspace: Workspace = DEFAULT,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Recompute the stored verdicts by the newest rules; safe to stop and to repeat.

    With embedded chDB a running service does the work; without one, this process.
    """
    from app.cli import reclassify as reclassifying  # noqa: PLC0415
    from app.cli import service_client  # noqa: PLC0415

    chosen = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    if start and end and start > end:
        raise fail("--from: must not be later than --to")
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[changed]:,} changed"))
    try:
        with Progress(*columns, console=errors) as bar:
            task = bar.add_task("Reclassifying", total=None, changed=0)
            last = None
            for last in reclassifying.steps(chosen, workspace, utc(start), utc(end)):
                bar.update(task, total=last.total, completed=last.done, changed=last.changed)
    except (service_client.AskError, StorageError, NetworksError) as error:
        raise fail(str(error)) from None
    if last:
        typer.echo(f"{last.done:,} hits looked at, {last.changed:,} verdicts changed")


@cli.command()
def report(
    newsletter: Annotated[str, typer.Argument(help="The newsletter's id.")],
    period: Annotated[
        str, typer.Option(help="Messages sent in: all, 24h, 7d, 30d, 90d or 365d.")
    ] = "all",
    out: Annotated[str, typer.Option(help="File to write, - for standard output.")] = "-",
    to: Annotated[
        list[str] | None, typer.Option(help="Mail it there instead, by MAILWAKE_SMARTHOST.")
    ] = None,
    workspace: Workspace = DEFAULT,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """A newsletter's report: an HTML document to print, or mailed.

    With embedded chDB a running service is asked; without one, this process reads.
    """
    from app.cli import report as reporting  # noqa: PLC0415

    chosen = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    try:
        if to:
            reporting.mail(chosen, workspace, newsletter, period, to)
            typer.echo(f"mailed to {', '.join(to)}")
            return
        html = reporting.html(chosen, workspace, newsletter, period)
        if out == "-":
            typer.echo(html)
        else:
            Path(out).write_text(html, encoding="utf-8")
    except (reporting.ReportError, StorageError, OSError) as error:
        raise fail(str(error)) from None


cli.add_typer(workspaces.commands, name="workspaces")
cli.add_typer(consent.commands, name="consent")
cli.command()(migrate.migrate)
cli.command()(doctor.doctor)
cli.command()(backup.backup)
cli.command()(backup.restore)
cli.command()(privacy.erase)
cli.command(name="export-subject")(privacy.export_subject)
cli.add_typer(keys.commands, name="keys")
cli.add_typer(users.commands, name="users")
cli.command()(users.login_link)


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"mailwake {__version__}")


def main() -> None:
    """The console script."""
    try:
        cli()
    except VersionError as error:
        sys.exit(fail(str(error)).exit_code)


def _serve(chosen: Settings, speed: float = 0) -> None:
    with _failing():
        process.serve(console, chosen, speed)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except process.StartError as error:
        raise fail(str(error)) from None


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise fail(f"{file}: {error.strerror}") from None


async def _rewrite(
    chosen: Settings, workspace: str, message: messages.RewriteIn, html: bytes, record: bool
) -> PreparedMessage:
    journal = Journal(chosen.data_dir / "journal", sync_ms=0)
    try:
        outgoing = PreparerRegistry(chosen, open_state(chosen.data_dir), journal).of(workspace)
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
