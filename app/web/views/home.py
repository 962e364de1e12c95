"""What the home page shows: what happened, what got the most response, and whom to answer."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from markupsafe import Markup

from app.stats import home
from app.stats.filters import Filters, Period
from app.stats.home import Response, Trend
from app.stats.queries import Queries, utc
from app.stats.signals import Signals
from app.storage.clickhouse import Row
from app.web.views import charts
from app.web.views.newsletters import drawn

PERIOD: Period = "7d"  # that is shown first
STEPS: dict[Period, int] = {
    "24h": 3600,
    "7d": 6 * 3600,
    "30d": 86_400,
    "90d": 3 * 86_400,
    "365d": 7 * 86_400,
}  # seconds of the chart's columns
LEAST = 50  # messages of a mailing whose rates mean something
RANKED = 5
LATEST = 12
WAITING = 8
MARK_PERCENT = 26.0  # between two marks of mailings, so that their names have room


class Tile(NamedTuple):
    """A figure of the period: how it has changed, and its course. `change` is None if unknown.

    `good` says which way is better: 1 up, -1 down, 0 neither.
    """

    name: str
    value: str
    about: str
    change: str | None
    rises: bool
    good: int
    course: Markup


def page(queries: Queries, signals: Signals, filters: Filters, seen: datetime) -> dict[str, Any]:
    """Returns the page of everything; `seen` is when the reader looked at it before."""
    now = datetime.now(UTC)
    start = filters.since(now)

    def remembered(name: str, read: Callable[[], Any]) -> Any:
        return queries.remembered((name, filters.show, filters.period), read)

    trend = remembered("trend", partial(home.trend, queries, filters.show, start, now))
    best = remembered("best", partial(home.best, queries, filters, LEAST, RANKED))
    wanted = {
        kind: remembered(kind, partial(home.wanted, queries, kind, start, now, RANKED))
        for kind in ("topics", "links")
    }
    waiting = home.waiting(queries, signals, now)
    return {
        "filters": filters,
        "seen": seen,
        "news": home.news(queries, seen),
        "tiles": tiles(trend),
        "best": best,
        "most": max((row["clicked"] / row["clicks_tracked"] for row in best), default=1) or 1,
        "wanted": wanted,
        "waiting": waiting[:WAITING],
        "unlisted": len(waiting[WAITING:]),
        "signals": signals.all(),
        "latest": home.latest(queries, filters.kind, now, LATEST),
        **_activity(queries, filters, start, now),
    }


def tiles(trend: Trend) -> list[Tile]:
    """Returns the four figures that are looked at first."""
    whole, before, slots = trend.whole, trend.before, trend.slots
    opens, clicks = whole.opens_tracked, whole.clicks_tracked
    most = min(whole.opened + whole.unknowable, opens)
    more = f", up to {_percent(most, opens)} with unknown opens" if most > whole.opened else ""
    return (
        [
            Tile(
                "Sent",
                f"{whole.messages:,}",
                "messages",
                _growth(whole.messages, before.messages),
                whole.messages >= before.messages,
                0,
                charts.sparkline([slot.messages for slot in slots]),
            ),
            _rate_tile("Open rate", trend, "opened", "opens_tracked", 1, f"opened{more}"),
            _rate_tile("Click rate", trend, "clicked", "clicks_tracked", 1, "clicked"),
            _rate_tile("Unsubscribe rate", trend, "unsubscribes", "messages", -1, "unsubscribed"),
        ]
        if clicks or opens or whole.messages or before.messages
        else []
    )


def _rate_tile(name: str, trend: Trend, part: str, of: str, good: int, about: str) -> Tile:
    now, before = _rate(trend.whole, part, of), _rate(trend.before, part, of)
    apart = None if now is None or before is None else 100 * (now - before)
    count = getattr(trend.whole, part)
    return Tile(
        name,
        "\u2013" if now is None else f"{100 * now:.1f}%",
        f"{count:,} {about}",
        None if apart is None else f"{abs(apart):.1f} points",
        (apart or 0) >= 0,
        good if apart and round(abs(apart), 1) else 0,
        charts.sparkline([round(1000 * (_rate(slot, part, of) or 0)) for slot in trend.slots]),
    )


def _rate(response: Response, part: str, of: str) -> float | None:
    whole = getattr(response, of)
    return getattr(response, part) / whole if whole else None


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%"


def _growth(now: int, before: int) -> str | None:
    """Returns how much more there is, None if there was nothing."""
    return f"{abs(100 * (now - before) / before):,.0f}%" if before else None


def _activity(queries: Queries, filters: Filters, start: datetime, now: datetime) -> dict[str, Any]:
    """Returns the chart of opens and clicks, with marks where mailings began."""
    step = STEPS[filters.period]
    first, last = int(start.timestamp()) // step, int(now.timestamp()) // step
    starts = [datetime.fromtimestamp(number * step, UTC) for number in range(first, last + 1)]
    end = starts[-1] + timedelta(seconds=step)
    points = queries.all_timeline(starts[0], end, step)
    marks = _marks(queries, filters, starts[0], end)
    return {**drawn(starts, step, points, filters.show), "marks": marks}


def _marks(queries: Queries, filters: Filters, start: datetime, end: datetime) -> Markup:
    """Returns the names of mailings above the time at which they began, the latest ones."""
    rows: Sequence[Row] = queries.newsletters(Filters(period=filters.period), 50, least=LEAST)
    marks: list[charts.TimeTick] = []
    for row in sorted(rows, key=lambda row: utc(row["first_at"]), reverse=True):
        begun = utc(row["first_at"])
        place = 100 * ((begun - start) / (end - start))
        near = any(abs(mark.place - place) < MARK_PERCENT for mark in marks)
        if 0 <= place <= 100 and not near:
            marks.append(charts.TimeTick(place, row["name"] or row["id"]))
    return charts.marks(marks)
