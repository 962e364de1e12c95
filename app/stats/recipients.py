"""Reads recipients: their email addresses, messages, hits and preferences."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import urlsplit

from app.model.errors import NotFoundError
from app.model.numbers import read_int
from app.model.tracking_modes import modes
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.recipients import Counted
from app.stats.engagement import Received, score
from app.stats.explanations import explained
from app.stats.filters import FilterError, Filters, Show
from app.stats.periods import ALWAYS, Span
from app.stats.queries import Queries, utc
from app.storage.clickhouse import Row

PAGE = 50
MESSAGES, HITS = 200, 1000  # of one recipient, the latest
PREFERRED = 8
# The kind of hits by which a list is sorted, if any.
_SORTED_BY: dict[str, list[str]] = {"address": [], "opened": ["open"], "clicked": ["click"]}


def recipients(queries: Queries, filters: Filters, newsletter_id: str = "") -> dict[str, Any]:
    """Returns a page of recipients of one newsletter or of all, sorted by `filters.by`.

    They were sent messages in the filters' period, and figures are of these messages.
    Raises FilterError.
    """
    figure, recipient = _cursor(filters)
    them = {
        "newsletter": queries.key(newsletter_id) if newsletter_id else 0,
        "show": filters.show,
        "search": filters.search,
        **filters.span(datetime.now(UTC)).parameters,
    }
    page = queries.run(
        "recipients_page",
        kinds=_SORTED_BY[filters.by],
        after_figure=figure,
        after_recipient=recipient,
        limit=PAGE + 1,
        **them,
    )
    # The hits of those alone are read that are shown.
    keys = [row["recipient"] for row in page]
    by_key = {row["recipient"]: row for row in queries.run("recipients", recipients=keys, **them)}
    rows = [by_key[key] | row for row in page if (key := row["recipient"]) in by_key]
    more, rows = len(rows) > PAGE, rows[:PAGE]
    last = rows[-1] if more else None
    return {
        "newsletter": queries.newsletter(newsletter_id) if newsletter_id else None,
        "filters": filters,
        "rows": rows,
        "after": f"{last['figure']}:{last['recipient']}" if last else "",
    }


def _cursor(filters: Filters) -> tuple[int, int]:
    """Returns figure and key of the previous page's last row.

    For the first page, returns values before those of any row. Earlier versions put the email
    address behind the key, where it is ignored.
    """
    if not filters.after:
        return (0 if filters.by == "address" else 2**62), 0
    figure, key, *_ = [*filters.after.split(":"), ""]
    figure_number, key_number = read_int(figure, high=2**63 - 1), read_int(key)
    if figure_number is None or key_number is None:
        raise FilterError("after", "must be a value from this list's next link")
    return figure_number, key_number


@dataclass(frozen=True)
class RecipientRecord:
    """A recipient: the latest messages, each row with its `hits` and `state`, and preferences.

    The state is that of the message's outcomes, empty without any. The hits show what is preferred.

    `opened` and `clicked` count messages. `topics` and `sites` are those of the clicked links,
    `hours` are of the day in one time zone; each is sorted by hits. `active_at` has the time of
    each hit, and `engagement` is the score of app/stats/engagement.py, None with too few messages.
    """

    key: int
    email: str
    sent: list[Row]
    opened: int
    clicked: int
    last_seen_at: datetime | None
    topics: list[Counted]
    sites: list[Counted]
    clients: list[Counted]
    hours: list[Counted]
    active_at: list[datetime]
    engagement: int | None


def recipient(
    queries: Queries,
    key: int,
    show: Show = "human",
    span: Span = ALWAYS,
    zone: tzinfo = UTC,
) -> RecipientRecord:
    """Returns one recipient, with the hits of people, machines or all. Raises NotFoundError.

    Only messages that were sent within `span` and their hits are read.
    """
    sent = queries.run("recipient_messages", recipient=key, limit=MESSAGES, **span.parameters)
    latest = sent or queries.run("recipient_messages", recipient=key, limit=1, **ALWAYS.parameters)
    if not latest:
        raise NotFoundError("recipient", "no messages were sent to this recipient")
    of = {
        "newsletters": sorted({row["newsletter"] for row in sent}),
        "messages": [str(row["message"]) for row in sent],
    }
    hits = queries.run("recipient_hits", **of, limit=HITS)
    states = {row["message_id"]: row["state"] for row in queries.run("messages_states", **of)}
    groups = {"human": HUMAN, "machine": MACHINE, "all": (*HUMAN, *MACHINE)}
    shown = [hit for hit in hits if hit["verdict"] in groups[show]]
    by_message: dict[Any, list[Row]] = {}
    for hit in hits:
        by_message.setdefault(hit["message"], []).append(hit)
    for row in sent:
        its_hits = explained(by_message.get(row["message"], []), row["sent_at"])
        by_message[row["message"]] = [hit for hit in its_hits if hit["verdict"] in groups[show]]
    clicks = [hit for hit in shown if hit["kind"] == "click"]
    opened = {hit["message"] for hit in shown if hit["kind"] == "open"}
    clicked = {hit["message"] for hit in clicks}
    received = [
        Received(utc(row["sent_at"]), row["message"] in opened, row["message"] in clicked)
        for row in sent
        if modes(row["flags"]).personal
    ]
    return RecipientRecord(
        key=key,
        email=latest[0]["address"],
        sent=[
            {
                **row,
                "hits": by_message.get(row["message"], []),
                "state": states.get(str(row["message"]), ""),
            }
            for row in sent
        ],
        opened=len(opened),
        clicked=len(clicked),
        last_seen_at=utc(shown[0]["at"]) if shown else None,
        topics=_counted(tag for hit in clicks for tag in hit["tags"]),
        sites=_counted(urlsplit(hit["url"]).hostname or "" for hit in clicks if hit["url"]),
        clients=_counted(hit["client"] for hit in shown if hit["client"]),
        hours=_counted(f"{utc(hit['at']).astimezone(zone).hour:02}:00" for hit in shown),
        active_at=[utc(hit["at"]) for hit in shown if hit["kind"] != "unsubscribe"],
        engagement=score(received, datetime.now(UTC)),
    )


def _counted(names: Iterable[str]) -> list[Counted]:
    """Returns the most frequent names, each with its number of hits."""
    return [Counted(name, hits) for name, hits in Counter(names).most_common(PREFERRED)]
