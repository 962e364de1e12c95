"""What a person's page shows of the times at which the person opens and clicks."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from app.web.views.reader import Reader

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LEVELS = 5  # shades of an hour with any hits


class Hour(NamedTuple):
    """An hour of a weekday: its hits, and its shade from 0 (none) to LEVELS (most)."""

    name: str
    hits: int
    level: int


class Week(NamedTuple):
    """The hours of a week on the reader's clock: rows by weekday, and the busiest hours."""

    rows: Sequence[tuple[str, Sequence[Hour]]]
    best: Sequence[Hour]


def week(active_at: Sequence[datetime], reader: Reader, listed: int = 5) -> Week | None:
    """Returns when in the week somebody was active, None without any hits."""
    local = [reader.local(at) for at in active_at]
    counts = Counter((at.weekday(), at.hour) for at in local)
    if not counts:
        return None
    most = max(counts.values())

    def hour(day: int, number: int) -> Hour:
        hits = counts[day, number]
        name = f"{DAYS[day]}, {number:02}:00 to {(number + 1) % 24:02}:00"
        return Hour(name, hits, -(-LEVELS * hits // most))

    rows = [(name, [hour(day, number) for number in range(24)]) for day, name in enumerate(DAYS)]
    every = [each for _, hours in rows for each in hours if each.hits]
    return Week(rows, sorted(every, key=lambda each: -each.hits)[:listed])
