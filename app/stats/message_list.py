"""Reads messages as a list: what was sent to whom, and what came of it."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.model.email_address import is_email_address
from app.model.ids import sent_at
from app.stats.filters import FilterError, Filters
from app.stats.messages import LATEST_MS, Place, identity, place
from app.stats.periods import Span
from app.stats.queries import Queries
from app.storage.clickhouse import Row

PAGE = 50
ID_SLACK = timedelta(days=1)  # around the time that a message's id has


@dataclass(frozen=True)
class Criteria:
    """What a text that was searched for selects; empty criteria select everything."""

    text: str = ""
    recipients: list[int] = field(default_factory=list)
    rfc_message_id: str = ""
    messages: list[uuid.UUID] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


def criteria(text: str, recipient_key: Callable[[str], int]) -> Criteria:
    """Returns the criteria of a text: an id, an email address, `key=value`, or any other text."""
    text = text.strip()
    if message := identity(text):
        return Criteria(messages=[message])
    if is_email_address(text):
        return Criteria(recipients=[recipient_key(text)], rfc_message_id=text)
    key, equals, value = text.partition("=")
    if equals and key and not text.startswith("<"):
        return Criteria(keys=[key.strip()], values=[value.strip()])
    return Criteria(text=text.strip("<>"))


def listed(queries: Queries, filters: Filters, of: Criteria) -> dict[str, Any]:
    """Returns a page of messages of the filters' period, the latest first. Raises FilterError.

    Rows are those of messages_page.sql with opens, clicks, unsubscribed and state (empty if no
    outcome is known). A message that is selected by its id is found whatever the period is.
    """
    span = filters.span(datetime.now(UTC))
    if of.messages:
        at = sent_at(of.messages[0].hex)
        known = datetime.fromtimestamp(min(at, LATEST_MS) / 1000, UTC)
        span = Span(known - ID_SLACK, known + ID_SLACK)
    after = place(filters.after) if filters.after else Place()
    if after is None:
        raise FilterError("after", "must be a value from this list's next link")
    rows = queries.run(
        "messages_page",
        **span.parameters,
        newsletters=[],
        recipients=of.recipients,
        rfc_message_id=of.rfc_message_id,
        messages=of.messages,
        keys=of.keys,
        values=of.values,
        text=of.text,
        after_ms=after.at_ms,
        after_message=after.message,
        limit=PAGE + 1,
    )
    more, rows = len(rows) > PAGE, rows[:PAGE]
    last = rows[-1] if more else None
    return {
        "filters": filters,
        "rows": _with_response(queries, filters, rows),
        "after": f"{last['at_ms']}.{uuid.UUID(last['message_id']).hex}" if last else "",
    }


def _with_response(queries: Queries, filters: Filters, rows: list[Row]) -> list[Row]:
    """Returns messages with what came of them."""
    if not rows:
        return []
    bound: dict[str, Any] = {
        "newsletters": sorted({row["newsletter"] for row in rows}),
        "messages": [row["message_id"] for row in rows],
    }
    response = {
        row["message_id"]: row
        for row in queries.run("messages_response", show=filters.show, **bound)
    }
    states = {row["message_id"]: row["state"] for row in queries.run("messages_states", **bound)}
    nothing = {"opens": 0, "clicks": 0, "unsubscribed": 0}
    return [
        {
            **row,
            **response.get(row["message_id"], nothing),
            "state": states.get(row["message_id"], ""),
            "sent_at": datetime.fromtimestamp(row["at_ms"] / 1000, UTC),
        }
        for row in rows
    ]
