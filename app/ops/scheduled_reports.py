"""Mails each newsletter's report once a day, week or month.

DATA_DIR/reports.json holds what has been mailed until when, so a restart neither skips nor repeats
a report. Only a crash between the mail server's answer and the file's write may repeat one, under
the same Message-ID. One process of a data folder mails.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Literal

import aiosmtplib
import msgspec

from app.files import leading, write_private
from app.model.errors import UNREADABLE, NotFoundError
from app.settings.settings import Settings
from app.smtp import smarthost
from app.stats.filters import Filters
from app.stats.periods import NamedPeriod
from app.stats.queries import Queries
from app.storage.clickhouse import StorageError
from app.web.views import report
from app.web.views.urls import page_url

log = logging.getLogger(__name__)
POLL_SECONDS = 60.0  # seconds between checks of the clock
MAX_NEWSLETTERS = 50  # newsletters reported if none is named, those with the most messages
PERIODS: dict[str, NamedPeriod] = {"day": "24h", "week": "7d", "month": "30d"}
Every = Literal["day", "week", "month"]


class SendError(Exception):
    """The mail server refused or could not be reached; a refusal is `lasting`."""

    def __init__(self, message: str, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


def boundary(now: datetime, every: Every, hour: int) -> datetime:
    """Returns the latest due time: at `hour` UTC, on Mondays for weeks, on the first of months."""
    at = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    if every == "month":
        at = at.replace(day=1)
        return at if at <= now else (at - timedelta(days=1)).replace(day=1)
    if every == "week":
        at -= timedelta(days=at.weekday())
    return at if at <= now else at - timedelta(days=7 if every == "week" else 1)


async def send(mail: EmailMessage, settings: Settings) -> None:
    """Send a mail to the smarthost. Raises SendError."""
    try:
        async with smarthost.client(settings) as server:
            await server.send_message(mail)
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = [refused.code for refused in error.recipients]
        raise SendError(str(error), all(code >= 500 for code in codes)) from error
    except aiosmtplib.SMTPResponseException as error:
        raise SendError(f"{error.code} {error.message}", error.code >= 500) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise SendError(str(error) or type(error).__name__, False) from error


class _Mailed(msgspec.Struct):
    """`since`: nothing older is due; `until`: the last boundary mailed, by newsletter id."""

    since: datetime
    until: dict[str, datetime] = {}


class ReportMailer:
    """Mails what is due; `run()` until cancelled."""

    def __init__(self, settings: Settings, queries: Queries) -> None:
        self._settings, self._queries = settings, queries
        self._path = settings.data_dir / "reports.json"

    async def run(self) -> None:
        """Check every minute; temporary failures are tried again at the next check."""
        if not self._settings.report_to:
            return
        async with leading(self._settings.data_dir / "reports.lock", POLL_SECONDS):
            while True:
                try:
                    await self.due(datetime.now(UTC))
                except (StorageError, OSError) as error:
                    log.warning("scheduled reports are waiting: %s", error)
                except Exception:
                    log.exception("a scheduled report could not be created")
                await asyncio.sleep(POLL_SECONDS)

    async def due(self, now: datetime) -> int:
        """Mail every report that is due; returns how many were sent. Raises StorageError."""
        settings = self._settings
        at = boundary(now, settings.report_every, settings.report_hour)
        mailed = self._read(now)
        if at <= mailed.since:
            return 0
        newsletter_ids = settings.report_newsletters or await asyncio.to_thread(self._active)
        count = 0
        for newsletter_id in newsletter_ids:
            if mailed.until.get(newsletter_id, mailed.since) >= at:
                continue
            try:
                count += await self._mail(newsletter_id, at)
            except NotFoundError as error:
                log.warning("scheduled report skipped: %s", error)
            except SendError as error:
                log.warning("report of %s: %s", newsletter_id, error)
                if not error.lasting:
                    break  # the others would fail too
            mailed.until[newsletter_id] = at
            write_private(self._path, msgspec.json.encode(mailed))
        return count

    async def _mail(self, newsletter_id: str, at: datetime) -> int:
        settings = self._settings
        filters = Filters(period=PERIODS[settings.report_every])
        page = await asyncio.to_thread(report.figures, self._queries, newsletter_id, filters)
        if not page["stats"].messages:
            return 0
        url = settings.console_url + page_url(newsletter_id, filters)
        key = f"{at.isoformat()} {filters.period}"
        to = ", ".join(settings.report_to)
        await send(report.message(page, settings.report_from, to, url, key), settings)
        return 1

    def _active(self) -> tuple[str, ...]:
        filters = Filters(period=PERIODS[self._settings.report_every], sort="messages")
        return tuple(row["id"] for row in self._queries.newsletters(filters, MAX_NEWSLETTERS))

    def _read(self, now: datetime) -> _Mailed:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Mailed)
        except FileNotFoundError:
            mailed = _Mailed(now)  # the first report is due at the next boundary
        except UNREADABLE as error:
            log.warning("%s cannot be read, the report schedule starts over: %s", self._path, error)
            mailed = _Mailed(now)
        write_private(self._path, msgspec.json.encode(mailed))
        return mailed
