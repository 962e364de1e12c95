"""The ledger: messages by what their mailer knows them by, and what came of each."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from app.model.errors import NotFoundError
from app.model.ids import sent_at
from app.model.numbers import read_int
from app.stats.queries import Queries
from app.stats.recipients import HITS
from app.storage.clickhouse import Row

DAY_MS = 86_400_000  # milliseconds
LATEST_MS = 2**42  # milliseconds since 1970: the year 2109


class Search(NamedTuple):
    """What is known of a message: all that is given must hold; `recipient` is a key."""

    newsletter_id: str = ""
    recipient: int | None = None
    message: uuid.UUID | None = None
    rfc_message_id: str = ""
    metadata: Mapping[str, str] = {}


class Place(NamedTuple):
    """After which message a page goes on, the latest first; `str` is the API's cursor."""

    at_ms: int = LATEST_MS
    message: uuid.UUID = uuid.UUID(int=2**128 - 1)

    def __str__(self) -> str:
        return f"{self.at_ms}.{self.message.hex}"


def place(text: str) -> Place | None:
    """What `str` gave; None where it is nothing of the kind."""
    at_ms, _, message = text.partition(".")
    at, found = read_int(at_ms, high=10**13 - 1), identity(message)
    return None if at is None or found is None else Place(at, found)


def identity(text: str) -> uuid.UUID | None:
    """A message's id, as the API or a token writes it; None where it is none."""
    try:
        return uuid.UUID(text) if len(text) in (32, 36) else None
    except ValueError:
        return None


def search(queries: Queries, wanted: Search, limit: int, after: Place = Place()) -> list[Row]:  # noqa: B008
    """Rows of messages.sql, the latest first, with the variant's name. Raises StorageError."""
    begin, end = 0, LATEST_MS
    if wanted.message:  # ids are UUIDs of version 7: the others are of other months
        at = sent_at(wanted.message.hex)
        begin, end = (
            (at - DAY_MS, at + DAY_MS) if DAY_MS < at < LATEST_MS else (LATEST_MS, LATEST_MS)
        )
    pairs = dict(wanted.metadata)
    rows = queries.run(
        "messages",
        newsletters=[queries.key(wanted.newsletter_id)] if wanted.newsletter_id else [],
        recipients=[] if wanted.recipient is None else [wanted.recipient],
        messages=[wanted.message] if wanted.message else [],
        rfc_message_id=wanted.rfc_message_id,
        keys=list(pairs),
        values=list(pairs.values()),
        from_ms=begin,
        to_ms=end,
        after_ms=after.at_ms,
        after_message=after.message,
        limit=limit,
    )
    return [{**row, "variant": queries.variant(row["newsletter"], row["variant"])} for row in rows]


def message(queries: Queries, message_id: str) -> tuple[Row, list[Row]]:
    """A message and what came of it, the earliest first: its latest HITS hits.

    Hits of opens or clicks whose mode is not full lead to no message. Raises NotFoundError,
    StorageError.
    """
    found = identity(message_id)
    rows = search(queries, Search(message=found), 1) if found else []
    if not rows:
        raise NotFoundError("message_id", f"there is no message {message_id[:100]!r}")
    hits = queries.run(
        "recipient_hits", newsletters=[rows[0]["newsletter"]], messages=[str(found)], limit=HITS
    )
    return rows[0], hits[::-1]


def at(row: Row) -> datetime:
    """When a message was sent."""
    return datetime.fromtimestamp(row["at_ms"] / 1000, UTC)
