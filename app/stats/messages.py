"""Finds recorded messages by the mailer's own data, and the hits of each."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from app.model.errors import NotFoundError
from app.model.ids import sent_at
from app.model.numbers import read_int
from app.stats.explanations import explained
from app.stats.queries import Queries
from app.stats.recipients import HITS
from app.storage.clickhouse import Row

DAY_MS = 86_400_000
OUTCOMES = 100  # of a message that are shown
LATEST_MS = 2**42  # since 1970 UTC: the year 2109


class Search(NamedTuple):
    """Criteria of a search for messages, of which all that are set must match.

    `recipient` is the recipient's key.
    """

    newsletter_id: str = ""
    recipient: int | None = None
    message: uuid.UUID | None = None
    rfc_message_id: str = ""
    metadata: Mapping[str, str] = {}


class Place(NamedTuple):
    """The last message of a page, the latest first; `str` of it is the API's cursor."""

    at_ms: int = LATEST_MS
    message: uuid.UUID = uuid.UUID(int=2**128 - 1)

    def __str__(self) -> str:
        return f"{self.at_ms}.{self.message.hex}"


def place(text: str) -> Place | None:
    """Returns the place of a cursor; None if the text is not a cursor."""
    at_ms, _, message = text.partition(".")
    at, message_id = read_int(at_ms, high=10**13 - 1), identity(message)
    return None if at is None or message_id is None else Place(at, message_id)


def identity(text: str) -> uuid.UUID | None:
    """Returns a message's id, in the form of the API or of a token; None if it is not an id."""
    try:
        return uuid.UUID(text) if len(text) in (32, 36) else None
    except ValueError:
        return None


def search(queries: Queries, criteria: Search, limit: int, after: Place = Place()) -> list[Row]:  # noqa: B008
    """Returns rows of messages.sql, the latest first, with the variant's name.

    Raises StorageError.
    """
    begin, end = 0, LATEST_MS
    if criteria.message:  # its id is a UUIDv7, so its time leaves out the parts of other months
        at = sent_at(criteria.message.hex)
        begin, end = (
            (at - DAY_MS, at + DAY_MS) if DAY_MS < at < LATEST_MS else (LATEST_MS, LATEST_MS)
        )
    pairs = dict(criteria.metadata)
    rows = queries.run(
        "messages",
        newsletters=[queries.key(criteria.newsletter_id)] if criteria.newsletter_id else [],
        recipients=[] if criteria.recipient is None else [criteria.recipient],
        messages=[criteria.message] if criteria.message else [],
        rfc_message_id=criteria.rfc_message_id,
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
    """Returns a message and its latest HITS hits, the earliest first, each with an explanation.

    Opens or clicks whose tracking mode is not full belong to no message. Raises NotFoundError,
    StorageError.
    """
    key = identity(message_id)
    rows = search(queries, Search(message=key), 1) if key else []
    if not rows:
        raise NotFoundError("message_id", f"there is no message {message_id[:100]!r}")
    hits = queries.run(
        "recipient_hits", newsletters=[rows[0]["newsletter"]], messages=[str(key)], limit=HITS
    )
    return rows[0], explained(hits[::-1], at(rows[0]))


def outcomes(queries: Queries, row: Row) -> list[Row]:
    """Returns the latest outcomes of a message, the earliest first, with its present `state`.

    Raises StorageError.
    """
    found = queries.run(
        "message_outcomes",
        newsletters=[row["newsletter"]],
        message=row["message_id"],
        limit=OUTCOMES,
    )
    return found[::-1]


def at(row: Row) -> datetime:
    """Returns when a message was sent."""
    return datetime.fromtimestamp(row["at_ms"] / 1000, UTC)
