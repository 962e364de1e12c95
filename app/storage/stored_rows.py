"""Finds rows of journal segments that ClickHouse does not have."""

import uuid
from collections.abc import Iterator, Sequence
from itertools import groupby

from app.storage.clickhouse import Row, Storage
from app.storage.sql import sql

# The tables whose rows have a key, with its columns after workspace and newsletter. Rows of
# `link_carried` have none: they are sums.
KEYS = {
    "newsletters": (),
    "newsletter_links": ("link_key", "detail"),
    "link_places": ("link_key", "position"),
    "messages": ("message",),
    "outcomes": ("message", "event"),
}
MESSAGES = 2_000  # in one query


def absent(storage: Storage, table: str, rows: Sequence[Row]) -> list[Row]:
    """Returns those of some rows of a table of KEYS that are not stored. Raises StorageError."""
    columns = ("newsletter", *KEYS[table])
    return [
        row
        for workspace, its_rows in _pages(rows)
        for stored in [_stored(storage, table, workspace, its_rows)]
        for row in its_rows
        if tuple(_key(row.get(column, 0)) for column in columns) not in stored
    ]


def _pages(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yields rows of one workspace, as many as one query looks for."""
    for workspace, group in groupby(
        sorted(rows, key=lambda row: str(row["workspace"])), lambda row: str(row["workspace"])
    ):
        its_rows = list(group)
        for first in range(0, len(its_rows), MESSAGES):
            yield workspace, its_rows[first : first + MESSAGES]


def _stored(
    storage: Storage, table: str, workspace: str, rows: Sequence[Row]
) -> set[tuple[int | str, ...]]:
    them = {"workspace": workspace, "newsletters": sorted({row["newsletter"] for row in rows})}
    if "message" in KEYS[table]:
        them["messages"] = [row["message"] for row in rows]
    columns = ("newsletter", *KEYS[table])
    return {
        tuple(_key(row[column]) for column in columns)
        for row in storage.query(sql(f"stored_{table}"), them)
    }


def _key(value: int | str | uuid.UUID) -> int | str:
    """Returns a column's value as rows of the journal have it."""
    return value.hex if isinstance(value, uuid.UUID) else value
