"""Reads recipients: their email addresses, messages, hits and preferences."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from app.model.errors import NotFoundError
from app.model.verdicts import HUMAN, MACHINE
from app.stats.filters import FilterError, Filters
from app.stats.queries import Queries, utc
from app.storage.clickhouse import Row

PAGE = 50
MESSAGES, HITS = 200, 1000  # of one recipient, the latest
PREFERRED = 8


def recipients(queries: Queries, filters: Filters, newsletter_id: str = "") -> dict[str, Any]:
    """Returns a page of recipients of one newsletter or of all, sorted by `filters.by`.

    Raises FilterError.
    """
    figure, recipient, address = _cursor(filters)
    rows = queries.run(
        "recipients",
        newsletter=queries.key(newsletter_id) if newsletter_id else 0,
        show=filters.show,
        search=filters.search,
        sort=filters.by,
        after_figure=figure,
        after=address,
        after_recipient=recipient,
        limit=PAGE + 1,
    )
    more, rows = len(rows) > PAGE, rows[:PAGE]
    last = rows[-1] if more else None
    return {
        "newsletter": queries.newsletter(newsletter_id) if newsletter_id else None,
        "filters": filters,
        "rows": rows,
        "after": f"{last['figure']}:{last['recipient']}:{last['person']}" if last else "",
    }


def _cursor(filters: Filters) -> tuple[int, int, str]:
    """Returns figure, key and email address of the previous page's last row.

    For the first page, returns values before those of any row.
    """
    if not filters.after:
        return (0 if filters.by == "address" else 2**62), 0, ""
    figure, _, rest = filters.after.partition(":")
    key, _, address = rest.partition(":")
    for number, below in ((figure, 2**63), (key, 2**64)):
        plain = number.isascii() and number.isdigit() and len(number) <= 20
        if not plain or int(number) >= below:
            raise FilterError("after", "must be a page's own")
    return int(figure), int(key), address


def recipient(queries: Queries, key: int, filters: Filters) -> dict[str, Any]:
    """Returns one recipient with messages, hits and preferences. Raises NotFoundError."""
    sent = queries.run("recipient_messages", recipient=key, limit=MESSAGES)
    if not sent:
        raise NotFoundError("recipient", "no messages were sent to this recipient")
    hits = queries.run(
        "recipient_hits",
        newsletters=sorted({row["newsletter"] for row in sent}),
        messages=[str(row["message"]) for row in sent],
        limit=HITS,
    )
    groups = {"human": HUMAN, "machine": MACHINE, "all": (*HUMAN, *MACHINE)}
    shown = [hit for hit in hits if hit["verdict"] in groups[filters.show]]
    by_message: dict[Any, list[Row]] = {}
    for hit in shown:
        by_message.setdefault(hit["message"], []).append(hit)
    return {
        "filters": filters,
        "address": sent[0]["address"],
        "key": key,
        "sent": [{**row, "hits": by_message.get(row["message"], [])} for row in sent],
        "opened": len({hit["message"] for hit in shown if hit["kind"] == "open"}),
        "clicked": len({hit["message"] for hit in shown if hit["kind"] == "click"}),
        "latest": shown[0]["at"] if shown else None,
        "prefers": preferences(shown),
    }


def preferences(hits: Sequence[Row]) -> dict[str, list[tuple[str, int]]]:
    """Returns the most frequent topics and hosts of clicked links, clients and hours (UTC)."""
    clicks = [hit for hit in hits if hit["kind"] == "click"]
    hours = Counter(utc(_at(hit)).hour for hit in hits)
    counters = {
        "Topics": Counter(tag for hit in clicks for tag in hit["tags"]),
        "Sites": Counter(urlsplit(hit["url"]).hostname or "" for hit in clicks if hit["url"]),
        "Clients": Counter(hit["client"] for hit in hits if hit["client"]),
        "Hours of day (UTC)": Counter({f"{hour:02}:00": n for hour, n in hours.items()}),
    }
    return {name: counted.most_common(PREFERRED) for name, counted in counters.items() if counted}


def _at(hit: Row) -> datetime:
    at: datetime = hit["at"]
    return at
