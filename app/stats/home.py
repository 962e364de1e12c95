"""Reads a workspace's last days: what was sent, what came back, and who is to be answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from app.stats.filters import Filters, Show
from app.stats.periods import Span
from app.stats.queries import SLOTS, Queries, like, utc
from app.stats.signals import Kind, Signal, Signals
from app.storage.clickhouse import Row

ANSWER_SECONDS = 86_400  # for which a signal asks for an answer
LATEST_SECONDS = 3600  # of which hits are listed
MOST_SIGNALS = 200  # people who are read; those answered among them are left out


@dataclass(frozen=True)
class Response:
    """Messages sent in a stretch of time, and how many were opened, clicked and unsubscribed from.

    `unknowable` messages may have been opened: see newsletter_stats.sql.
    """

    messages: int = 0
    opens_tracked: int = 0
    clicks_tracked: int = 0
    opened: int = 0
    unknowable: int = 0
    clicked: int = 0
    unsubscribes: int = 0

    def plus(self, other: "Response") -> "Response":
        """Returns the sums."""
        names = self.__dataclass_fields__
        return Response(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Trend(NamedTuple):
    """A period in SLOTS equal slots, as a whole, and the period that it is compared with."""

    slots: Sequence[Response]
    whole: Response
    before: Response


def trend(queries: Queries, show: Show, span: Span, before: Span | None) -> Trend:
    """Returns what came back for the messages sent within two spans, by the time of sending."""
    spans = _spans(span, before)
    slots: dict[int, dict[str, int]] = {}
    rows = [
        *queries.run("workspace_sent", **spans),
        *queries.run("workspace_response", show=show, **spans),
    ]
    for row in rows:
        figures = {name: int(value) for name, value in row.items() if name != "slot"}
        slots.setdefault(row["slot"], {}).update(figures)
    shown = [Response(**slots.get(number, {})) for number in range(SLOTS)]
    whole = Response()
    for slot in shown:
        whole = whole.plus(slot)
    return Trend(shown, whole, Response(**slots.get(-1, {})))


def news(queries: Queries, since: datetime) -> Row:
    """Returns the row of workspace_news.sql: what happened since a time."""
    return queries.run("workspace_news", since_ms=int(since.timestamp() * 1000))[0]


def begun(queries: Queries) -> Row:
    """Returns the row of workspace_begun.sql: whether anything was sent, and opened."""
    return queries.run("workspace_begun")[0]


def latest(queries: Queries, kind: str, now: datetime, limit: int) -> list[Row]:
    """Returns the latest hits of people within the last hour, rows of workspace_latest.sql.

    `kind` is open, click, unsubscribe or all.
    """
    since_ms = int((now.timestamp() - LATEST_SECONDS) * 1000)
    return queries.run(
        "workspace_latest", since_ms=since_ms, kind=kind, limit=limit, newsletters=[]
    )


def wanted(queries: Queries, kind: str, span: Span, before: Span | None, limit: int) -> list[Row]:
    """Returns the `topics` or `links` that most people clicked within a span."""
    return queries.run(
        f"workspace_wanted_{kind}", **_spans(span, before), limit=limit, newsletters=[]
    )


def _spans(span: Span, before: Span | None) -> dict[str, int]:
    """Returns the parameters of queries that compare two spans; without `before` it is empty."""
    earlier = before or Span(span.start, span.start)
    return {
        **span.parameters,
        "before_ms": earlier.since_ms,
        "before_until_ms": earlier.until_ms,
    }


def best(queries: Queries, filters: Filters, least: int, limit: int) -> list[Row]:
    """Returns the newsletters with the highest click rates, of those with `least` messages.

    Rates are of messages sent, as all of the home page.
    """
    ranked = replace(filters.over_time(), sort="click_rate")
    rows = queries.newsletters(ranked, 100, least=least)
    return [row for row in rows if row["clicks_tracked"] >= least][:limit]


def waiting(queries: Queries, signals: Signals, now: datetime) -> list[Row]:
    """Returns people who clicked a signal within a day and have not been answered since.

    The latest comes first; rows of workspace_signals.sql.
    """
    chosen = signals.all()
    if not chosen:
        return []
    rows = queries.run(
        "workspace_signals",
        since_ms=int((now.timestamp() - ANSWER_SECONDS) * 1000),
        limit=MOST_SIGNALS,
        newsletters=[],
        **_patterns(chosen),
    )
    until = signals.answered([row["recipient"] for row in rows])
    return [
        row for row in rows if utc(row["at"]).timestamp() * 1000 > until.get(row["recipient"], 0)
    ]


def _patterns(chosen: Sequence[Signal]) -> Mapping[str, list[str]]:
    def of(kind: Kind) -> list[str]:
        return [signal.pattern for signal in chosen if signal.kind == kind]

    return {
        "topics": [topic.lower() for topic in of("topic")],
        "labels": of("label"),
        "urls": [f"%{like(pattern)}%" for pattern in of("url")],
    }
