"""`mailwake report`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from app.cli import service_client
from app.model.errors import NotFoundError
from app.ops.scheduled_reports import SendError, send
from app.schemas.problem import Problem
from app.settings.settings import PREFIX, Settings
from app.stats.filters import FilterError, Filters
from app.stats.queries import Queries
from app.web.views import report


class ReportError(Exception):
    """No report; the message says why."""


def html(settings: Settings, workspace: str, newsletter_id: str, period: str) -> str:
    """The report as a document. Raises ReportError or StorageError."""
    try:
        chosen = Filters.read({"period": period}).period
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
            return report.html(
                report.figures(Queries(storage, workspace), newsletter_id, chosen), ""
            )
    except (service_client.AskError, NotFoundError) as error:
        raise ReportError(str(error)) from None


def mail(
    settings: Settings, workspace: str, newsletter_id: str, period: str, to: Sequence[str]
) -> None:
    """Mail the report. Raises ReportError or StorageError."""
    for name in ("smarthost", "report_from"):
        if not getattr(settings, name):
            raise ReportError(f"{PREFIX}{name.upper()}: is needed to mail a report")
    document = html(settings, workspace, newsletter_id, period)
    now = datetime.now(UTC).isoformat()
    message = report.message_of(
        document,
        f"{newsletter_id}: report",
        "The report is in HTML.\n",
        settings.report_from,
        ", ".join(to),
        f"{newsletter_id} {now}",
    )
    try:
        asyncio.run(send(message, settings))
    except SendError as error:
        raise ReportError(f"{PREFIX}SMARTHOST: {error}") from None
