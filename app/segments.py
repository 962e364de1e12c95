"""Segments: recipients chosen by what they were sent and what they did with it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from app.queries import Queries
from app.storage import Row

EVERYBODY = 2**63
NAMED = ("newsletter", "opened", "clicked", "not_opened", "not_clicked")
Text = Annotated[str, Meta(max_length=200)]


class Segment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that is set must hold, of people's hits. Newsletters are given by their ids.

    `newsletter`: was sent it; `clicked_tag`: clicked a link with one of these topics; `opened` and
    `clicked`: did so in that newsletter; `not_opened` and `not_clicked`: was sent it and did not.
    `since` bounds what was done.
    """

    newsletter: Text = ""
    clicked_tag: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()
    opened: Text = ""
    clicked: Text = ""
    not_opened: Text = ""
    not_clicked: Text = ""
    since: Annotated[datetime, Meta(tz=True)] | None = None


def chunks(
    queries: Queries, segment: Segment, form: str = "JSONEachRow", neutral: bool = False
) -> Iterator[bytes]:
    """Its recipients by address, in one of ClickHouse's formats. Raises StorageError.

    `neutral`: no text begins like a spreadsheet's formula (OWASP, "CSV Injection").
    """
    return queries.stream("segment", form, **_parameters(queries, segment, EVERYBODY, neutral))


def first(queries: Queries, segment: Segment, limit: int) -> Sequence[Row]:
    """The first recipients by address."""
    return queries.run("segment", **_parameters(queries, segment, limit))


def _parameters(
    queries: Queries, segment: Segment, limit: int, neutral: bool = False
) -> Mapping[str, Any]:
    keys = {name: queries.key(given) if (given := getattr(segment, name)) else 0 for name in NAMED}
    since = int(segment.since.timestamp() * 1000) if segment.since else 0
    return {
        **keys,
        "tags": list(segment.clicked_tag),
        "since_ms": since,
        "limit": limit,
        "neutral": int(neutral),
    }
