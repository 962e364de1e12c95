"""`mailwake report`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from app.auth.workspaces import DEFAULT
from app.cli import (
    service_client,
)
from app.cli.common import Workspace, fail, option, settings_of
from app.model.email_address import is_email_address
from app.model.errors import NotFoundError
from app.ops.scheduled_reports import SendError, send
from app.schemas.problem import Problem
from app.settings.settings import PREFIX, Settings
from app.stats.filters import FilterError, Filters
from app.stats.queries import Queries
from app.storage.clickhouse import StorageError
from app.web.views import report as reports


class ReportError(Exception):
    """There is no report; the message says why."""


def report(
    newsletter: Annotated[str, typer.Argument(help="ID of the newsletter.")],
    period: Annotated[
        str,
        typer.Option(
            help="Only messages sent in this period: all, today, 24h, 7d, 30d, 90d, 365d."
        ),
    ] = "all",
    out: Annotated[str, typer.Option(help="File to write, or - for standard output.")] = "-",
    to: Annotated[
        list[str] | None,
        typer.Option(help="Mail the report to this email address instead. May be repeated."),
    ] = None,
    workspace: Workspace = DEFAULT,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Write a newsletter's report as an HTML document to print, or mail it.

    With embedded chDB, the running service reads the data, or this process if there is none.
    """
    settings = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    try:
        if to:
            _mail(settings, workspace, newsletter, period, to)
            typer.echo(f"mailed to {', '.join(to)}")
            return
        document = _html(settings, workspace, newsletter, period)
        if out == "-":
            typer.echo(document)
        else:
            Path(out).write_text(document, encoding="utf-8")
    except (ReportError, StorageError, OSError) as error:
        raise fail(str(error)) from None


def _html(settings: Settings, workspace: str, newsletter_id: str, period: str) -> str:
    """Returns the report as a document. Raises ReportError or StorageError."""
    try:
        filters = Filters.read({"period": period})
    except FilterError as error:
        raise ReportError(f"--period: {error}") from None
    try:
        with service_client.service(settings, workspace) as client:
            if client:
                path = f"/v1/newsletters/{quote(newsletter_id, safe='')}/report"
                answer = client.get(path, params={"period": period})
                if answer.status_code != 200:
                    problem = msgspec.json.decode(answer.content, type=Problem)
                    raise ReportError(problem.detail or problem.title)
                return answer.text
        with service_client.storage(settings) as storage:
            return reports.html(
                reports.figures(Queries(storage, workspace), newsletter_id, filters), ""
            )
    except (service_client.AskError, NotFoundError) as error:
        raise ReportError(str(error)) from None


def _mail(
    settings: Settings, workspace: str, newsletter_id: str, period: str, to: Sequence[str]
) -> None:
    """Mail the report. Raises ReportError or StorageError."""
    for name in ("smarthost", "report_from"):
        if not getattr(settings, name):
            raise ReportError(f"{PREFIX}{name.upper()}: is required to mail a report")
    for address in to:
        if not is_email_address(address):
            raise ReportError(f"--to: {address!r} is not an email address")
    document = _html(settings, workspace, newsletter_id, period)
    now = datetime.now(UTC).isoformat()
    message = reports.message_of(
        document,
        f"{newsletter_id}: report",
        "This report is an HTML document.\n",
        settings.report_from,
        ", ".join(to),
        f"{newsletter_id} {now}",
    )
    try:
        asyncio.run(send(message, settings))
    except SendError as error:
        raise ReportError(f"{PREFIX}SMARTHOST: {error}") from None
