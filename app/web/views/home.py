"""What the home page shows: what happened, what got the most response, and whom to answer."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from markupsafe import Markup

from app.stats import home
from app.stats.filters import Filters
from app.stats.home import Response, Trend
from app.stats.periods import Period, Span
from app.stats.queries import Queries, utc
from app.stats.signals import Signals
from app.storage.clickhouse import Row
from app.web.views import charts
from app.web.views.changes import Change, count_change, rate_change
from app.web.views.newsletters import columns_of, drawn
from app.web.views.reader import UTC_READER, Reader

PERIOD: Period = "7d"  # that is shown first
MIN_STEP_SECONDS = 900  # of the chart's columns
LEAST = 50  # messages of a mailing whose rates mean something
RANKED = 5
LATEST = 12
WAITING = 8
MARK_PERCENT = 26.0  # between two marks of mailings, so that their names have room


class Tile(NamedTuple):
    """A figure of the period: how it has changed (None if unknown), and its course."""

    name: str
    value: str
    about: str
    change: Change | None
    course: Markup


def page(
    queries: Queries,
    signals: Signals,
    filters: Filters,
    seen: datetime,
    reader: Reader = UTC_READER,
) -> dict[str, Any]:
    """Returns the page of everything; `seen` is when the reader looked at it before."""
    now = datetime.now(UTC)
    span, before = filters.span(now).until(now), filters.previous(now)
    shown = filters.show, filters.over_time().query(), reader.zone_name

    def remembered(name: str, read: Callable[[], Any]) -> Any:
        return queries.remembered((name, *shown), read)

    trend = remembered("trend", partial(home.trend, queries, filters.show, span, before))
    best = remembered("best", partial(home.best, queries, filters, LEAST, RANKED))
    wanted = {
        kind: remembered(kind, partial(home.wanted, queries, kind, span, before, RANKED))
        for kind in ("topics", "links")
    }
    waiting = home.waiting(queries, signals, now)
    return {
        "filters": filters,
        "reader": reader,
        "seen": seen,
        "news": home.news(queries, seen),
        "tiles": tiles(trend, reader),
        "best": best,
        "most": max((row["clicked"] / row["clicks_tracked"] for row in best), default=1) or 1,
        "wanted": wanted,
        "waiting": waiting[:WAITING],
        "unlisted": len(waiting[WAITING:]),
        "signals": signals.all(),
        "latest": home.latest(queries, filters.kind, now, LATEST),
        **_activity(queries, filters, span, before if filters.compared else None, reader),
    }


class Step(NamedTuple):
    """A step of the first use, and whether it is done."""

    name: str
    about: str
    done: bool


def steps(queries: Queries, has_key: Callable[[], bool]) -> list[Step]:
    """Returns the steps of the first use, none once all are done."""
    begun = home.begun(queries)
    if begun["sent"] and begun["opened"]:
        return []
    return [
        Step("Create an API key", "Programs send it with each request.", has_key()),
        Step("Track a mail", "Send its HTML to the API, or the mail through SMTP.", begun["sent"]),
        Step("Open it", "Send it to yourself, and load its images.", begun["opened"]),
    ]


def tiles(trend: Trend, reader: Reader = UTC_READER) -> list[Tile]:
    """Returns the four figures that are looked at first."""
    whole, before, slots = trend.whole, trend.before, trend.slots
    if not whole.messages and not before.messages:
        return []
    opens = whole.opens_tracked
    most = min(whole.opened + whole.unknowable, opens)
    more = ""
    if most > whole.opened:
        more = f", up to {reader.decimal(100 * most / opens)}% with unknown opens"

    def rate_tile(name: str, part: str, of: str, good: int, about: str) -> Tile:
        now, earlier = _rate(whole, part, of), _rate(before, part, of)
        shares = [_rate(slot, part, of) for slot in slots]
        return Tile(
            name,
            f"{reader.decimal(100 * now[0] / now[1])}%" if now[1] else "\u2013",
            f"{reader.number(now[0])} {about}",
            rate_change(now, earlier, good, reader),
            charts.sparkline([round(1000 * hits / sent) if sent else 0 for hits, sent in shares]),
        )

    return [
        Tile(
            "Sent",
            reader.number(whole.messages),
            "messages",
            count_change(whole.messages, before.messages, reader),
            charts.sparkline([slot.messages for slot in slots]),
        ),
        rate_tile("Open rate", "opened", "opens_tracked", 1, f"opened{more}"),
        rate_tile("Click rate", "clicked", "clicks_tracked", 1, "clicked"),
        rate_tile("Unsubscribe rate", "unsubscribes", "messages", -1, "unsubscribed"),
    ]


def _rate(response: Response, part: str, of: str) -> tuple[int, int]:
    return getattr(response, part), getattr(response, of)


def _activity(
    queries: Queries, filters: Filters, span: Span, before: Span | None, reader: Reader
) -> dict[str, Any]:
    """Returns the chart of opens and clicks, with marks where mailings began."""
    step = max(MIN_STEP_SECONDS, charts.readable(span.end - span.start))

    def read(of: Span) -> tuple[charts.Window, list[charts.Column]]:
        window = charts.window_of(of.start, of.end, step, reader)
        points = queries.all_timeline(window.starts[0], window.end, window.unit)
        return window, columns_of(window, points, filters.show)

    window, columns = read(span)
    earlier = read(before)[1] if before else []
    if before:  # where clocks are changed, one of them has an hour more
        missing = len(columns) - len(earlier)
        earlier = [*earlier, *[charts.Column(0, 0, 0, 0)] * missing][: len(columns)]
    marks = _marks(queries, filters, window)
    return {**drawn(window, columns, reader, earlier), "marks": marks}


def _marks(queries: Queries, filters: Filters, window: charts.Window) -> Markup:
    """Returns names of mailings above the time at which they began, the latest ones."""
    rows: Sequence[Row] = queries.newsletters(filters.over_time(), 50, least=LEAST)
    marks: list[charts.TimeTick] = []
    for row in sorted(rows, key=lambda row: utc(row["first_at"]), reverse=True):
        begun = utc(row["first_at"])
        place = window.place(begun)
        near = any(abs(mark.place - place) < MARK_PERCENT for mark in marks)
        if window.starts[0] <= begun <= window.end and not near:
            marks.append(charts.TimeTick(place, row["name"] or row["id"]))
    return charts.marks(marks)
