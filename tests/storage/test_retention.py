"""What is kept for some days only: columns really empty, and no figure follows them."""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from app.clock import CLOCK
from app.events.feed import Feed
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.model.ids import new_id, newsletter_key
from app.model.records import Message, Newsletter, Outcome, Record, encode, now_ms
from app.settings.load import load
from app.settings.settings import Settings
from app.stats.filters import Filters
from app.stats.queries import Queries
from app.stats.recipients import recipient, recipients
from app.storage import retention
from app.storage.clickhouse import Storage
from app.storage.retention import Expiry
from app.storage.state_db import open_state
from tests.ingest.test_corrections import click
from tests.support.patience import until

DAY = 86_400_000
ANN = 9_720_000
SETTINGS = load()
NEVER = {"keep_addresses_days": 0, "keep_visitors_days": 0, "keep_hits_days": 0}


def settle(storage: Storage, **days: int) -> list[Expiry]:
    settings: Settings = SETTINGS.model_copy(update={**NEVER, **days})
    with storage.reader() as client:
        changed = retention.apply(client, settings)
        for table in {one.table for one in retention.configured(settings) if one.days}:
            # At once: a service waits for merges.
            client.command(f"ALTER TABLE {table} MATERIALIZE TTL", settings={"mutations_sync": 1})
            client.command(f"OPTIMIZE TABLE {table} FINAL")
    return changed


@pytest.fixture(autouse=True)
def for_ever(storage: Storage) -> Iterator[None]:
    yield
    with storage.reader() as client:
        retention.apply(client, SETTINGS.model_copy(update=NEVER))


def fill(folder: Path, storage: Storage, name: str, at: int) -> int:
    """A message to Ann with a burst of clicks, which has been settled: pairs of rows."""
    key, message = newsletter_key("default", name), new_id(at).hex()
    segments: list[list[Record]] = [
        [
            Newsletter(at, "default", key, name),
            Message(
                at,
                "default",
                key,
                message,
                ANN,
                f"ann@{uuid.uuid4().hex}.example",
                metadata={"order": "A-1"},
                rfc_message_id="a@mailer.example",
            ),
        ],
        [
            Outcome(
                at,
                at,
                "default",
                f"event {key}",
                "bounced",
                message,
                "a@mailer.example",
                permanent=True,
                text="no such user",
            )
        ],
        *([cast(Record, click(key, message, at + n, n))] for n in range(3)),
    ]
    for records in segments:
        path = folder / f"{uuid.UUID(bytes=new_id())}.seg"
        path.write_bytes(b"".join(encode(record) for record in records))
        Loader(folder, storage, feed=Feed(open_state(folder))).load(path)
    assert Corrections(folder, storage).reclassify_recent(after=0) == 3
    return key


def rows(storage: Storage, table: str, key: int) -> list[dict[str, object]]:
    return storage.query(f"SELECT * FROM {table} WHERE newsletter = {{n:UInt64}}", {"n": key})


def test_visitors_and_addresses_go_and_figures_stay(tmp_path: Path, storage: Storage) -> None:
    now, queries = now_ms(), Queries(storage)
    old = fill(tmp_path, storage, "visitors old", now - 40 * DAY)
    new = fill(tmp_path, storage, "visitors new", now - DAY)
    before = queries.stats("visitors old"), queries.agents("visitors old")
    assert before[0].clicks.machine.total == 3
    changed = settle(storage, keep_addresses_days=30, keep_visitors_days=30)
    assert {(one.table, one.column) for one in changed} == {
        ("messages", "address"),
        ("messages", "metadata"),
        ("messages", "rfc_message_id"),
        ("hits", "address"),
        ("hits", "user_agent"),
        ("outcomes", "text"),
        ("outcomes", "event_id"),
        ("outcomes", "rfc_message_id"),
    }
    assert settle(storage, keep_addresses_days=30, keep_visitors_days=30) == []
    for key, kept in ((old, False), (new, True)):
        for column in ("text", "event_id", "rfc_message_id"):
            assert {bool(row[column]) for row in rows(storage, "outcomes", key)} == {kept}, column
        for column in ("address", "metadata", "rfc_message_id"):
            assert {bool(row[column]) for row in rows(storage, "messages", key)} == {kept}, column
        for column in ("address", "user_agent"):
            assert {bool(row[column]) for row in rows(storage, "hits", key)} == {kept}, column
    assert (queries.stats("visitors old"), queries.agents("visitors old")) == before
    shown = recipients(queries, Filters(show="all"), "visitors old")["rows"]
    assert [(row["person"], row["clicked"]) for row in shown] == [("", 1)]
    ann = recipient(queries, ANN, "all")
    assert ann.clicked == 2 and ann.email.startswith("ann@")
    judged = sorted(map(str, rows(storage, "hits", old)))
    list(Corrections(tmp_path, storage).reclassify("default", 0, now + DAY))
    again = sorted(map(str, rows(storage, "hits", old)))
    assert again == judged, "nobody judges what nobody knows any more"
    verdicts = {row["verdict"] for row in rows(storage, "hits", old) if row["sign"] == 1}
    assert verdicts == {"scanner"}
    assert len(settle(storage)) == 8


def test_single_hits_go_with_those_that_take_them_back(tmp_path: Path, storage: Storage) -> None:
    now, queries = now_ms(), Queries(storage)
    old = fill(tmp_path, storage, "hits old", now - 100 * DAY)
    new = fill(tmp_path, storage, "hits new", now - DAY)
    before = queries.stats("hits old")
    changed = settle(storage, keep_hits_days=30)
    assert [(one.table, one.column) for one in changed] == [("hits", ""), ("outcomes", "")]
    assert rows(storage, "hits", old) == rows(storage, "outcomes", old) == []
    assert len(rows(storage, "outcomes", new)) == 1
    assert len(rows(storage, "outcomes_by_message", old)) == 1
    assert sum(int(str(row["sign"])) for row in rows(storage, "hits", new)) == 3
    assert queries.stats("hits old") == before
    assert recipients(queries, Filters(show="all"), "hits old")["rows"][0]["clicked"] == 1
    assert [one.days for one in settle(storage, keep_hits_days=60)] == [60, 60]


def test_a_month_goes_as_a_whole() -> None:
    """A row and the row that takes it back have the same time, so the same month."""
    for table, time in (("hits", "at"), ("outcomes", "received")):
        month_end = f"toDateTime(addMonths(toStartOfMonth({time}), 1))"
        assert month_end in Expiry(table, "", 30).statement
    assert Expiry("hits", "", 0).statement == "ALTER TABLE hits{on}  REMOVE TTL"
    assert "toIntervalDay(9)" in Expiry("hits", "address", 9).statement


def test_the_embedded_engine_expires_nothing_while_the_clock_is_doubtful(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merges by age are stopped in the engine itself, again should it begin again, and started."""
    asked: list[bool] = []
    let_expire = storage.let_expire

    asking = threading.Event()

    def noted(allowed: bool) -> None:
        asking.set()
        let_expire(allowed)  # raises if the engine refuses
        asked.append(allowed)

    monkeypatch.setattr(storage, "let_expire", noted)
    monkeypatch.setattr(retention, "POLL_SECONDS", 0.001)

    async def follow() -> None:
        task = asyncio.create_task(retention.follow_clock(storage))
        await asyncio.sleep(0.05)
        assert asked == []
        monkeypatch.setattr(CLOCK, "_doubtful_since", 0.0)
        await until(lambda: len(asked) > 2)
        assert set(asked) == {False}
        asking.clear()
        await asyncio.to_thread(asking.wait)  # the clock is right again while the engine is asked
        monkeypatch.setattr(CLOCK, "_doubtful_since", None)
        await until(lambda: asked[-1])
        await asyncio.sleep(0.05)
        task.cancel()
        assert asked.count(True) == 1

    asyncio.run(follow())
