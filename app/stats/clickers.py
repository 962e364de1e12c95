"""Reads who clicked a link: of one mailing, or a URL in all of them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.model.numbers import read_int
from app.stats.filters import FilterError, Filters
from app.stats.periods import ALWAYS
from app.stats.queries import Queries, utc

PAGE = 50
MAX_PERSON_CHARS = 40
_FIRST = 2**62, "~"  # before any row


def clickers(queries: Queries, filters: Filters, newsletter_id: str = "") -> dict[str, Any]:
    """Returns a page of people who clicked, the latest first: rows of link_clickers.sql.

    Of one mailing, filters select links, and the period selects by the time of sending. Of all
    mailings, `filters.url` is the whole URL, and the period is that of the clicks: it must have a
    beginning.
    Raises FilterError, NotFoundError.
    """
    after_ms, after_person = _cursor(filters.after)
    span = filters.span(datetime.now(UTC))
    newsletter = queries.newsletter(newsletter_id) if newsletter_id else None
    if newsletter:
        key = queries.key(newsletter_id)
        bound = {**queries.filtered(key, filters.hit_filters), "exact_url": ""}
        clicked = ALWAYS
    else:
        if not filters.url:
            raise FilterError("url", "is required on this page")
        key, clicked = 0, span
        everything = replace(filters.all(), zone=filters.zone)
        bound = {**queries.filtered(0, everything.hit_filters), "exact_url": filters.url}
    rows = queries.run(
        "link_clickers",
        **bound,
        newsletters=[key] if key else [],
        show=filters.show,
        from_ms=clicked.since_ms,
        to_ms=clicked.until_ms,
        after_ms=after_ms,
        after_person=after_person,
        limit=PAGE + 1,
    )
    more, rows = len(rows) > PAGE, rows[:PAGE]
    last = rows[-1] if more else None
    return {
        "newsletter": newsletter,
        "filters": filters,
        "rows": rows,
        "people": rows[0]["people"] if rows and not filters.after else 0,
        "after": f"{round(utc(last['last_at']).timestamp() * 1000)}.{last['person']}"
        if last
        else "",
    }


def _cursor(after: str) -> tuple[int, str]:
    """Returns time (ms) and person of the previous page's last row. Raises FilterError."""
    if not after:
        return _FIRST
    at, _, person = after.partition(".")
    at_ms = read_int(at, high=10**13)
    digits = person.isascii() and person.isdigit() and len(person) <= MAX_PERSON_CHARS
    if at_ms is None or not digits:
        raise FilterError("after", "must be a value from this list's next link")
    return at_ms, person
