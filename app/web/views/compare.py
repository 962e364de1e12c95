"""Up to four newsletters side by side, by the time since each was first sent."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.stats import rates
from app.stats.filters import FilterError, Filters
from app.stats.periods import ALWAYS
from app.stats.queries import Queries, utc
from app.web.views import charts
from app.web.views.newsletters import mostly
from app.web.views.reader import UTC_READER, Reader

MAX_NEWSLETTERS = 4
STEPS = 48  # columns of the chart and rows of its table
WIDTHS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)  # seconds
OFFERED = 200  # newsletters to choose from, the latest sent


def compare(
    queries: Queries, ids: Sequence[str], filters: Filters, reader: Reader = UTC_READER
) -> dict[str, Any]:
    """Returns figures and cumulative hits per message. Raises FilterError, NotFoundError."""
    chosen = list(dict.fromkeys(ids))
    if len(chosen) > MAX_NEWSLETTERS:
        raise FilterError("newsletter", f"must be given at most {MAX_NEWSLETTERS} times")
    offered = queries.newsletters(filters.all(), OFFERED)
    rows, hit_filters = [], filters.over_time().hit_filters
    for newsletter_id in chosen:
        described = queries.newsletter(newsletter_id)
        sent = queries.sent(newsletter_id, hit_filters)
        stats = queries.stats(newsletter_id, hit_filters, filters.rates_of, filters.show)
        opened = getattr(stats.opens, filters.show).unique
        clicked = getattr(stats.clicks, filters.show).unique
        unknowable = stats.unknowable if filters.show == "human" else 0
        rows.append(
            {
                "newsletter": described,
                "messages": stats.messages,
                "known": stats.outcomes.known,
                "rates_of": stats.rates_of,
                "rated": stats.rated,
                "open_rate_messages": stats.open_rate_messages,
                "click_rate_messages": stats.click_rate_messages,
                "first_at": utc(sent["first_at"]) if stats.messages else None,
                "opened": opened,
                "unknowable": unknowable,
                "clicked": clicked,
                "click_to_open": rates.click_to_open(
                    opened, unknowable, clicked, stats.opens_tracked, stats.clicks_tracked
                ),
                "unsubscribes": stats.unsubscribes,
            }
        )
    ages = [datetime.now(UTC) - row["first_at"] for row in rows if row["first_at"]]
    # The youngest decides: what only the old ones have lived through compares nothing.
    span = min((age.total_seconds() for age in ages), default=0)
    step = next((width for width in WIDTHS if width * STEPS >= span), WIDTHS[-1])
    lines = {kind: _lines(queries, chosen, filters, step, kind) for kind in ("opens", "clicks")}
    for kind, series in lines.items():
        for row, line in zip(rows, series, strict=True):
            row[kind] = [hits / row["messages"] if row["messages"] else 0.0 for hits in line]
    return {
        "filters": filters,
        "reader": reader,
        "rows": rows,
        **mostly(rows),
        "step": step,
        "offered": [row for row in offered if row["id"] not in chosen],
        "full": len(chosen) == MAX_NEWSLETTERS,
        "charts": {kind: _chart(rows, kind, step, reader) for kind in lines},
    }


def _chart(rows: Sequence[dict[str, Any]], kind: str, step: int, reader: Reader) -> dict[str, Any]:
    """Returns the lines of one kind of hits with their axes."""
    series = [row[kind] for row in rows]
    top = charts.round_up(max((max(line, default=0) for line in series), default=0))
    names = [row["newsletter"].name or row["newsletter"].id for row in rows]
    titles = [
        f"{since(step * (number + 1))} after the first message: "
        + ", ".join(
            f"{name} {reader.decimal(line[number], 3)}"
            for name, line in zip(names, series, strict=True)
        )
        for number in range(STEPS)
    ]
    quarters = [
        charts.TimeTick(25.0 * part, since(step * STEPS * part // 4)) for part in range(1, 5)
    ]
    return {
        "drawn": charts.lines(series, titles, top),
        "ticks": [top * part / 4 for part in range(4, -1, -1)],
        "axis": charts.axis([charts.TimeTick(0, "0"), *quarters]),
    }


def _lines(
    queries: Queries, ids: Sequence[str], filters: Filters, step: int, kind: str
) -> list[list[int]]:
    """Returns hits up to the end of each step, for each newsletter."""
    keys = [queries.key(newsletter_id) for newsletter_id in ids]
    counts = {key: [0] * STEPS for key in keys}
    if keys:
        span = filters.span(datetime.now(UTC))
        asked: dict[str, Any] = {"newsletters": keys, "step": step, "steps": STEPS}
        if span == ALWAYS:
            rows = queries.run("compare", show=filters.show, **asked)
        else:
            rows = queries.run("compare_sent_in", show=filters.show, **span.parameters, **asked)
        for row in rows:
            counts[row["newsletter"]][row["number"]] = row[kind]
    for line in counts.values():
        for number in range(1, STEPS):
            line[number] += line[number - 1]
    return [counts[key] for key in keys]


def since(seconds: int) -> str:
    """Returns a stretch of time as people say it."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and not seconds % size:
            return f"{seconds // size} {unit}{'s' if seconds != size else ''}"
    return f"{seconds} seconds"
