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
ROWS = 2_000  # in one query


def absent(storage: Storage, table: str, rows: Sequence[Row]) -> list[Row]:
    """Returns those of some rows of a table of KEYS that are not stored. Raises StorageError."""
    columns = ("newsletter", *KEYS[table])

    def key(row: Row) -> tuple[int | str, ...]:
        return tuple(plain(row.get(column, 0)) for column in columns)

    lacking = list[Row]()
    for workspace, its_rows in _pages(rows):
        keys = [key(row) for row in its_rows]
        # By whole keys: a newsletter may have millions of links, and a message many outcomes.
        wanted = keys if len(columns) > 1 else [number for (number,) in keys]
        found = storage.query(sql(f"stored_{table}"), {"workspace": workspace, "keys": wanted})
        stored = {key(row) for row in found}
        lacking += [
            row for row, its_key in zip(its_rows, keys, strict=True) if its_key not in stored
        ]
    return lacking


def _pages(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yields rows of one workspace, as many as one query looks for."""
    for workspace, group in groupby(
        sorted(rows, key=lambda row: str(row["workspace"])), lambda row: str(row["workspace"])
    ):
        its_rows = list(group)
        for first in range(0, len(its_rows), ROWS):
            yield workspace, its_rows[first : first + ROWS]


def plain(value: int | str | uuid.UUID) -> int | str:
    """Returns a column's value as rows of the journal have it."""
    return value.hex if isinstance(value, uuid.UUID) else value
