"""Searches a workspace: mailings, people and links that contain a text."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.links import identity
from app.links.families import FEW, FEW_MASKED
from app.stats.filters import Filters
from app.stats.queries import Queries
from app.storage.clickhouse import Row

MIN_CHARS, MAX_CHARS = 2, 200
FOUND = 10  # of each kind that are shown
PEOPLE_FOR = timedelta(days=365)  # since they were last sent a message


class Found(NamedTuple):
    """What contains the text, at most FOUND of each kind; `more` has the kinds with others."""

    mailings: Sequence[Row] = ()
    people: Sequence[Row] = ()
    links: Sequence[Row] = ()
    more: frozenset[str] = frozenset()


def search(queries: Queries, text: str) -> Found:
    """Returns what contains a text of MIN_CHARS and more. Raises StorageError."""
    asked = {"search": text, "limit": FOUND + 1}
    since = datetime.now(UTC) - PEOPLE_FOR
    mailings = queries.newsletters(Filters(search=text), FOUND + 1)
    people = queries.run("search_people", since_ms=int(since.timestamp() * 1000), **asked)
    links = [
        {**row, "link": identity.shown_id(row["link_key"])}
        for row in queries.run("search_links", few=FEW, few_masked=FEW_MASKED, **asked)
    ]
    kinds = {"mailings": mailings, "people": people, "links": links}
    return Found(
        mailings[:FOUND],
        people[:FOUND],
        links[:FOUND],
        frozenset(kind for kind, rows in kinds.items() if len(rows) > FOUND),
    )
