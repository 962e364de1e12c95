"""What is absent is found, and no more is read than what is asked for."""

import uuid
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from app.storage.clickhouse import Row, Storage
from app.storage.stored_rows import KEYS, absent

AT = "2026-11-28 10:00:00.000"
COLUMNS: dict[str, dict[str, Any]] = {
    "newsletters": {"id": "n", "at": AT},
    "newsletter_links": {"family": 1, "url": "https://example.com/", "at": AT},
    "link_places": {"at": AT},
    "messages": {"recipient": 1, "address": "a@example.com", "at": AT},
    "outcomes": {"kind": "sent", "at": AT, "received": AT, "segment": uuid.uuid4().hex, "line": 0},
}


def row(table: str, key: int, number: int) -> Row:
    """Returns a row of the table with a key that differs by its last column."""
    columns = ("newsletter", *KEYS[table])
    values: dict[str, Any] = dict.fromkeys(columns, key)
    if "message" in columns:
        values["message"] = f"{key:032x}"
    last = columns[-1]
    values[last] = f"{number:032x}" if last in ("message", "event") else number
    return {"workspace": "default", **COLUMNS[table], **values}


def lines(rows: Iterable[Row]) -> bytes:
    return b"\n".join(map(msgspec.json.encode, rows))


@pytest.mark.parametrize("table", KEYS)
def test_what_is_absent_is_found_and_nothing_else_is_read(
    table: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = 4_000_000_000 + [*KEYS].index(table)
    stored = [row(table, key, number) for number in range(1, 6)]
    storage.insert(table, lines(stored), uuid.uuid4().hex)
    read: list[Row] = []
    query = storage.query

    def counted(text: str, given: dict[str, Any]) -> list[Row]:
        found = query(text, given)
        read.extend(found)
        return found

    monkeypatch.setattr(storage, "query", counted)
    missing = row(table, key, 9)
    assert absent(storage, table, [stored[2], missing, stored[0]]) == [missing]
    assert len(read) == 2
    elsewhere = {**stored[0], "workspace": "another"}
    assert absent(storage, table, [elsewhere, *stored]) == [elsewhere]
