"""The periods whose figures pages show: named ones until now, and ranges of days.

Days are those of a time zone, so one of them may have 23 or 25 hours. Periods select messages by
the time at which they were sent.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple

NamedPeriod = Literal["all", "today", "24h", "7d", "30d", "90d", "365d"]
Period = Literal[NamedPeriod, "custom"]

PERIODS: Mapping[Period, str] = {
    "all": "All time",
    "today": "Today",
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "365d": "12 months",
    "custom": "Custom range",
}
LENGTHS: Mapping[Period, timedelta] = {
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
    "365d": timedelta(days=365),
}
EPOCH = datetime.fromtimestamp(0, UTC)
# The end of periods that last until now: messages that are sent while a page is read count, and
# so do those of a host whose clock is ahead.
NO_END = datetime(2109, 1, 1, tzinfo=UTC)
MIN_YEAR, MAX_YEAR = 2000, 2100
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Span(NamedTuple):
    """A stretch of time, from `start` to before `end`."""

    start: datetime
    end: datetime

    @property
    def since_ms(self) -> int:
        """Returns the start in milliseconds since 1970 UTC."""
        return round(self.start.timestamp() * 1000)

    @property
    def until_ms(self) -> int:
        """Returns the end in milliseconds since 1970 UTC."""
        return round(self.end.timestamp() * 1000)

    @property
    def parameters(self) -> dict[str, int]:
        """Returns the parameters that queries have for a span."""
        return {"since_ms": self.since_ms, "until_ms": self.until_ms}

    def until(self, now: datetime) -> "Span":
        """Returns the part of the span that has passed."""
        return Span(self.start, max(self.start, min(self.end, now)))


ALWAYS = Span(EPOCH, NO_END)


def read_day(text: str) -> date | None:
    """Returns a day such as 2026-11-24, None if the text is not one."""
    if not _DAY.fullmatch(text):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if MIN_YEAR <= day.year <= MAX_YEAR else None


def midnight(day: date, zone: tzinfo) -> datetime:
    """Returns when a day begins in a time zone, in UTC: where midnight is skipped, right after."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def span(
    period: Period, now: datetime, zone: tzinfo = UTC, first: str = "", last: str = ""
) -> Span:
    """Returns the span of a period; `first` and `last` are the days of a custom range."""
    if period == "all":
        return ALWAYS
    if period == "today":
        return Span(midnight(now.astimezone(zone).date(), zone), NO_END)
    if period == "custom":
        begin, end = read_day(first), read_day(last)
        return Span(
            midnight(begin, zone) if begin else EPOCH,
            midnight(end + timedelta(days=1), zone) if end else NO_END,
        )
    return Span(now - LENGTHS[period], NO_END)


def previous(
    period: Period, now: datetime, zone: tzinfo = UTC, first: str = "", last: str = ""
) -> Span | None:
    """Returns the span that a period is compared with: as long, and right before it.

    Today is compared with the same hours of yesterday, and days with as many days. Returns None
    for periods without a beginning.
    """
    shown = span(period, now, zone, first, last)
    if shown.start == EPOCH:
        return None
    if period == "today":
        local = now.astimezone(zone)
        yesterday = local.replace(tzinfo=None) - timedelta(days=1)
        until = yesterday.replace(tzinfo=zone).astimezone(UTC)
        return Span(midnight(yesterday.date(), zone), until)
    if period == "custom" and shown.end != NO_END:
        days = (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
        before = date.fromisoformat(first) - timedelta(days=days)
        return Span(midnight(before, zone), shown.start)
    passed = shown.until(now)
    return Span(passed.start - (passed.end - passed.start), passed.start)
