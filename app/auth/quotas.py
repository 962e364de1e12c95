"""Limits what one workspace may use of the service, so that the others keep working.

Each process counts for itself. A quota of 0 is no limit.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.settings.settings import Settings

WINDOW_SECONDS = 60.0
MEGABYTE = 2**20


class QuotaError(Exception):
    """A workspace has used up a quota; another attempt may succeed after `retry_seconds`."""

    def __init__(self, message: str, retry_seconds: int = 0) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class SpoolRoom:
    """The disk that all spools of one workspace share, in bytes."""

    def __init__(self, max_bytes: int = 0) -> None:
        self.max_bytes = max_bytes or math.inf
        self.used_bytes = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake everything that waits for a change."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def changed(self) -> None:
        """Wait for the next change."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class _Rate:
    """Limits how often something happens in a minute; unused turns accumulate for one minute."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._left, self._counted_at = float(per_minute), time.monotonic()

    def take(self) -> int:
        """Take a turn; returns 0, or for how many seconds there is none."""
        if not self.per_minute:
            return 0
        now = time.monotonic()
        gained = (now - self._counted_at) * self.per_minute / WINDOW_SECONDS
        self._left, self._counted_at = min(self.per_minute, self._left + gained), now
        if self._left < 1:
            return math.ceil((1 - self._left) * WINDOW_SECONDS / self.per_minute)
        self._left -= 1
        return 0


class Quota:
    """One workspace's quotas in this process; `refused` counts refusals by quota."""

    def __init__(
        self,
        requests_per_minute: int = 0,
        streams: int = 0,
        templates: int = 0,
        disk_mb: int = 0,
        pages_per_minute: int = 0,
    ) -> None:
        self._requests, self._pages = _Rate(requests_per_minute), _Rate(pages_per_minute)
        self._max_streams = streams
        self.max_templates, self.max_template_bytes = templates, disk_mb * MEGABYTE
        self.room = SpoolRoom(disk_mb * MEGABYTE)
        self.refused: Counter[str] = Counter()
        self._streams = 0

    @classmethod
    def of(cls, settings: Settings) -> "Quota":
        """Returns unused quotas as the settings have them."""
        return cls(
            settings.quota_requests,
            settings.quota_streams,
            settings.quota_templates,
            settings.quota_disk_mb,
            settings.quota_pages,
        )

    def admit(self) -> None:
        """Count an API request or SMTP mail. Raises QuotaError if the minute's are used up."""
        if seconds := self._requests.take():
            message = f"the workspace may make {self._requests.per_minute:,} requests a minute"
            raise self._refuse("requests", message, seconds)

    def admit_page(self) -> None:
        """Count a page of the dashboard. Raises QuotaError if the minute's are used up."""
        if seconds := self._pages.take():
            message = f"the workspace may load {self._pages.per_minute:,} pages a minute"
            raise self._refuse("pages", message, seconds)

    def check_streams(self) -> None:
        """Raises QuotaError if no further stream may be opened."""
        if self._max_streams and self._streams >= self._max_streams:
            raise self._refuse(
                "streams",
                f"the workspace has {self._streams:,} open streams, the maximum",
                int(WINDOW_SECONDS),
            )

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream as open until the block ends."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def check_templates(self, count: int, size: int) -> None:
        """Raises QuotaError for that many templates, or that many bytes of them."""
        if self.max_templates and count > self.max_templates:
            raise self._refuse(
                "templates",
                f"the workspace may store {self.max_templates:,} templates and samples",
            )
        if self.max_template_bytes and size > self.max_template_bytes:
            raise self._refuse(
                "disk",
                "the workspace's templates and samples may have"
                f" {self.max_template_bytes // MEGABYTE:,} MB",
            )

    def _refuse(self, quota: str, message: str, retry_seconds: int = 0) -> QuotaError:
        self.refused[quota] += 1
        return QuotaError(message, retry_seconds)
