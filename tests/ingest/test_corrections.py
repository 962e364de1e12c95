"""Verdicts that change after their hits were stored: figures follow, nothing counts twice."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.demo import agents
from app.events.feed import Cursor, Feed
from app.ingest import corrections
from app.ingest.corrections import Corrections, span
from app.ingest.loader import Loader
from app.ingest.message_rules import classify_message
from app.ingest.touched import (
    origin,
)
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, Message, encode, now_ms
from app.model.verdicts import HUMAN
from app.stats.hit_counts import by_kind
from app.stats.queries import Queries
from app.storage.clickhouse import Row, Storage, StorageError
from app.storage.state_db import open_state

LATER = 10**15


def click(key: int, message: str, at: int, link: int, **more: str) -> Hit:
    url = f"https://example.com/{link}"
    given = {"address": "192.0.2.1", "user_agent": agents.CHROME, "url": url, **more}
    return Hit("click", at, "default", key, message, 7, link, **given)  # type: ignore[arg-type]


def load(folder: Path, storage: Storage, *records: Hit | Message, feed: Feed | None = None) -> None:
    path = folder / f"{uuid.UUID(bytes=new_id())}.seg"
    path.write_bytes(b"".join(map(encode, records)))
    Loader(folder, storage, feed=feed).load(path)


def stored(storage: Storage, key: int) -> dict[str, int]:
    """Verdict to hits."""
    rows = storage.query(
        "SELECT toString(verdict) AS verdict, toInt64(sum(sign)) AS n FROM hits"
        " WHERE newsletter = {n:UInt64} GROUP BY verdict HAVING n != 0",
        {"n": key},
    )
    return {row["verdict"]: row["n"] for row in rows}


def assert_consistent(storage: Storage, newsletter: str, key: int) -> None:
    """Every roll-up says what the hits themselves say, however they are merged."""
    for table in ("hits", "hits_by_message", "hits_by_minute"):
        storage.query(f"SELECT count() FROM {table}", {})
    found = stored(storage, key)
    queries = Queries(storage)
    people = sum(found.get(verdict, 0) for verdict in HUMAN)
    rows = by_kind(queries.counts(key)[1]).values()
    assert sum(row["human_total"] for row in rows) == people
    assert sum(row["all_total"] for row in rows) == sum(found.values())
    for table in ("hits_by_minute", "hits_by_agent"):
        rolled = storage.query(
            f"SELECT toString(verdict) AS verdict, toInt64(sum(hits)) AS n FROM {table}"
            " WHERE newsletter = {n:UInt64} GROUP BY verdict HAVING n != 0",
            {"n": key},
        )
        assert {row["verdict"]: row["n"] for row in rolled} == found, table


def test_a_burst_over_several_segments_settles(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, message, now = newsletter_key("default", "settling"), new_id().hex(), now_ms()
    load(tmp_path, storage, click(key, message, now, 0))
    load(tmp_path, storage, click(key, message, now + 300, 1))
    load(tmp_path, storage, click(key, message, now + 600, 2), click(key, new_id().hex(), now, 2))
    assert stored(storage, key) == {"human": 4}
    work = Corrections(tmp_path, storage)
    age = 1.9
    monkeypatch.setattr(corrections, "age_seconds", lambda _: age)
    assert work.reclassify_recent() == 0, "two seconds are not over"
    age = 2.0
    assert work.reclassify_recent() == 3
    assert stored(storage, key) == {"human": 1, "scanner": 3}
    assert_consistent(storage, "settling", key)
    assert work.reclassify_recent(after=0) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corrections.lock", "origin"]
    row = storage.query(
        "SELECT * FROM hits FINAL WHERE newsletter = {n:UInt64} AND position = 0", {"n": key}
    )[0]
    assert (row["reasons"], row["revision"], row["verdict"]) == (
        ["burst", "soon_after_sending"],
        1,
        "scanner",
    )


def test_another_data_folder_corrects_only_what_it_has_loaded(
    tmp_path: Path, storage: Storage
) -> None:
    key, message, now = newsletter_key("default", "two folders"), new_id().hex(), now_ms()
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    load(one, storage, click(key, message, now, 0))
    load(other, storage, click(key, message, now + 1, 1), click(key, message, now + 2, 2))
    assert origin(one) != origin(other)
    assert Corrections(one, storage).reclassify_recent(after=0) == 1
    assert stored(storage, key) == {"human": 2, "scanner": 1}
    assert Corrections(other, storage).reclassify_recent(after=0) == 2
    assert Corrections(other, storage).reclassify_recent(after=0) == 0
    assert stored(storage, key) == {"scanner": 3}
    assert_consistent(storage, "two folders", key)


def test_a_change_never_comes_before_what_it_changes(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a journal segment whose hits are stored and not in the feed yet, nothing is corrected."""
    key, message, now = newsletter_key("default", "half loaded"), new_id().hex(), now_ms()
    feed = Feed(open_state(tmp_path / "state"))
    load(tmp_path, storage, click(key, message, now, 0), feed=feed)

    def lost(*_: Any) -> None:
        raise StorageError("the answer was lost")

    with monkeypatch.context() as patch, pytest.raises(StorageError):
        patch.setattr(feed, "append", lost)
        load(
            tmp_path,
            storage,
            click(key, message, now + 1, 1),
            click(key, message, now + 2, 2),
            feed=feed,
        )
    work = Corrections(tmp_path, storage, feed=feed)
    assert work.reclassify_recent(after=-1) == 1  # of the first one's hits only
    assert Loader(tmp_path, storage, feed=feed).load_all() == 2
    assert work.reclassify_recent(after=-1) == 2
    assert stored(storage, key) == {"scanner": 3}
    events, _ = feed.after(Cursor(), "default", 99)
    verdicts: dict[float, list[str]] = {}
    for event in events:
        verdicts.setdefault(event.row.at, []).append(event.row.verdict)
    assert [*verdicts.values()] == [["human", "scanner"]] * 3


class KilledError(Exception):
    """The process dies here."""


@pytest.mark.parametrize("kept", [False, True], ids=["insert lost", "answer lost"])
@pytest.mark.parametrize("dies", [False, True], ids=["refused", "killed"])
def test_what_was_cut_off_is_done_once(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, kept: bool, dies: bool
) -> None:
    name = f"cut off {kept} {dies}"
    key, message, now = newsletter_key("default", name), new_id().hex(), now_ms()
    for link in range(4):
        load(tmp_path, storage, click(key, message, now + link, link))
    insert = storage.insert

    def broken(table: str, lines: bytes, token: str) -> None:
        if kept:
            insert(table, lines, token)
        raise KilledError if dies else StorageError("connection reset")

    monkeypatch.setattr(storage, "insert", broken)
    with pytest.raises(KilledError if dies else StorageError):
        Corrections(tmp_path, storage).reclassify_recent(after=0)
    monkeypatch.undo()
    # More has come before anybody looks again.
    load(tmp_path, storage, click(key, message, now + 5, 5))
    Corrections(tmp_path, storage).reclassify_recent(after=0)
    assert stored(storage, key) == {"scanner": 5}
    assert_consistent(storage, name, key)


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_feed_is_settled_once_wherever_the_process_dies(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = f"settled {step}"
    key, message, now = newsletter_key("default", name), new_id().hex(), now_ms()
    journal = tmp_path / "journal"
    journal.mkdir()
    feed = Feed(open_state(tmp_path))
    for link in range(4):  # each in a journal segment of its own
        load(journal, storage, click(key, message, now + link, link), feed=feed)
    settle = feed.settle

    def dying(sources: Any) -> None:
        if step == "after":
            settle(sources)
        raise KilledError

    monkeypatch.setattr(feed, "settle", dying)
    with pytest.raises(KilledError):
        Corrections(journal, storage, feed=feed).reclassify_recent(after=0)
    monkeypatch.undo()
    load(journal, storage, click(key, message, now + 5, 5), feed=feed)
    for _ in range(2):
        Corrections(journal, storage, feed=feed).reclassify_recent(after=0)
    events, _ = feed.after(Cursor(), "default", 100, settled=True)
    assert [(event.type, event.row.verdict) for event in events] == [
        ("message.clicked", "scanner")
    ] * 5
    assert len({event.id for event in events}) == 5
    immediate, _ = feed.after(Cursor(), "default", 100)
    assert {event.id for event in events} <= {event.id for event in immediate}


def old_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the hits had been loaded before any rule was known."""
    from app.ingest import classifier, rows

    def ignorant(hits: list[Hit], *_: object) -> list[classifier.Classification]:
        return [found._replace(verdict="human", reasons=()) for found in classify_message(hits)]

    def alone(hit: Hit, *_: object) -> classifier.Classification:
        return ignorant([hit])[0]

    monkeypatch.setattr(rows, "classify_message", ignorant)
    monkeypatch.setattr(rows, "classify", alone)


def test_reclassifying_may_be_stopped_and_repeated(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, start = newsletter_key("default", "reclassified"), now_ms() - 10**9
    with monkeypatch.context() as patch:
        old_rules(patch)
        for n in range(30):
            message = new_id(start).hex()
            load(
                tmp_path,
                storage,
                *(click(key, message, start + n * 1000 + link, link) for link in range(3)),
                click(key, new_id(start).hex(), start + n * 1000, 0, user_agent="curl/8"),
                click(key, new_id(start).hex(), start + n * 1000 + 90_000, 0),
            )
    for path in tmp_path.glob("*.done"):
        path.unlink()
    assert stored(storage, key) == {"human": 150}
    monkeypatch.setattr(corrections, "PAGE", 7)
    work = Corrections(tmp_path, storage)
    steps = work.reclassify("default", start, start + 10**6)
    first = [next(steps) for _ in range(4)]
    steps.close()
    assert 0 < first[-1].changed < 120
    assert_consistent(storage, "reclassified", key)
    *_, last = work.reclassify("default", start, start + 10**6)
    assert last.done == last.total >= 150
    assert first[-1].changed + last.changed >= 120
    assert stored(storage, key) == {"human": 30, "scanner": 90, "bot": 30}
    assert_consistent(storage, "reclassified", key)
    *_, again = work.reclassify("default", start, start + 10**6)
    assert again.changed == 0


def test_only_the_stretch_that_was_asked_for_is_reclassified(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, start = newsletter_key("default", "a stretch"), 1_600_000_000_000
    with monkeypatch.context() as patch:
        old_rules(patch)
        message = new_id(start).hex()
        load(tmp_path, storage, *(click(key, message, start + n * 100, n) for n in range(6)))
    *_, last = Corrections(tmp_path, storage).reclassify("default", start + 200, start + 400)
    assert last == (2, 2, 2)
    assert stored(storage, key) == {"human": 4, "scanner": 2}
    assert span(None, None)[1] < now_ms() - 200_000


def sent(key: int, message: str, at: int, links: int) -> Message:
    return Message(at, "default", key, message, 7, "ann@example.com", links=links)


def reasons(storage: Storage, key: int) -> list[list[str]]:
    """Of the newsletter's hits, in order of time."""
    rows = storage.query(
        "SELECT reasons FROM hits FINAL WHERE newsletter = {n:UInt64} ORDER BY at", {"n": key}
    )
    return [list(row["reasons"]) for row in rows]


@pytest.mark.parametrize("pace", [50, 400, 2_000])
def test_a_sweep_of_every_link_settles_at_any_pace(
    tmp_path: Path, storage: Storage, pace: int
) -> None:
    """Each click comes in a journal segment of its own, and is settled before the next."""
    name, now = f"every link {pace}", now_ms()
    key, message, other = newsletter_key("default", name), new_id(now).hex(), new_id(now).hex()
    load(tmp_path, storage, sent(key, message, now, 5), sent(key, other, now, 5))
    work = Corrections(tmp_path, storage)
    for link in range(5):
        load(tmp_path, storage, click(key, message, now + 20_000 + link * pace, link))
        work.reclassify_recent(after=0)
        load(tmp_path, storage, *([click(key, other, now + 30_000, link)] if link < 2 else ()))
        work.reclassify_recent(after=0)
    assert stored(storage, key) == {"scanner": 5, "human": 2}
    assert_consistent(storage, name, key)
    found = [names[0] for names in reasons(storage, key) if "every_link" in names]
    assert found == ["every_link"] * 5


def test_a_mail_whose_number_of_links_is_unknown_keeps_the_fixed_counts(
    tmp_path: Path, storage: Storage
) -> None:
    key, now = newsletter_key("default", "unknown links"), now_ms()
    message = new_id(now).hex()
    load(tmp_path, storage, sent(key, message, now, 0))
    load(tmp_path, storage, click(key, message, now + 5_000, 0))
    load(tmp_path, storage, click(key, message, now + 7_000, 1))
    assert Corrections(tmp_path, storage).reclassify_recent(after=0) == 0
    assert stored(storage, key) == {"human": 2}


def test_a_scanners_open_that_is_loaded_later_is_corrected(
    tmp_path: Path, storage: Storage
) -> None:
    key, now = newsletter_key("default", "late companion"), now_ms()
    message = new_id(now).hex()
    load(tmp_path, storage, *(click(key, message, now + link, link) for link in range(3)))
    work = Corrections(tmp_path, storage)
    work.reclassify_recent(after=0)
    pixel = replace(click(key, message, now + 9_000, -1), kind="open")
    load(tmp_path, storage, pixel)
    assert stored(storage, key) == {"scanner": 3, "human": 1}
    assert work.reclassify_recent(after=0) == 1
    assert stored(storage, key) == {"scanner": 4}


def test_messages_that_no_hit_touched_are_not_read_again(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, now = newsletter_key("default", "untouched"), now_ms()
    messages = [new_id(now).hex() for _ in range(4)]
    work = Corrections(tmp_path, storage)
    for message in messages[:3]:
        load(tmp_path, storage, *(click(key, message, now + link, link) for link in range(2)))
    work.reclassify_recent(after=0)
    examined: list[str] = []
    real = storage.query

    def query(text: str, parameters: dict[str, Any]) -> list[Row]:
        examined.extend(parameters.get("messages", ()))
        return real(text, parameters)

    monkeypatch.setattr(storage, "query", query)
    load(tmp_path, storage, click(key, messages[3], now + 5_000, 0))
    load(tmp_path, storage, click(key, messages[0], now + 5_000, 0))
    load(tmp_path, storage, replace(click(key, messages[3], now + 5_000, -1), kind="open"))
    work.reclassify_recent(after=0)
    assert {uuid.UUID(message).hex for message in examined} == {messages[0]}


MOMENTS = st.lists(
    st.tuples(
        st.integers(0, 2),  # segment
        st.integers(0, 1),  # message
        st.one_of(st.integers(0, 2_500), st.integers(0, 200_000)),  # milliseconds
        st.integers(0, 4),  # link
        st.sampled_from([agents.CHROME, agents.BARRACUDA, agents.SAFARI]),
        st.sampled_from(["", "navigate"]),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=25)
@given(MOMENTS, st.booleans(), st.integers(0, 4), st.booleans())
def test_however_hits_are_spread_the_end_is_the_same(
    storage: Storage,
    tmp_path_factory: pytest.TempPathFactory,
    moments: list[tuple[int, int, int, int, str, str]],
    early: bool,
    links: int,
    https: bool,
) -> None:
    folder = tmp_path_factory.mktemp("spread")
    name = uuid.uuid4().hex
    key, now = newsletter_key("default", name), now_ms()
    messages = [new_id().hex(), new_id().hex()]
    hits = [
        (
            segment,
            click(key, messages[message], now + at, link, user_agent=agent, fetch_mode=fetch_mode),
        )
        for segment, message, at, link, agent, fetch_mode in moments
    ]
    work = Corrections(folder, storage, https=lambda _: https)
    load(folder, storage, *(sent(key, message, now, links) for message in messages))
    for number in range(3):
        load(folder, storage, *(hit for segment, hit in hits if segment == number))
        if early:
            work.reclassify_recent(after=0)
    work.reclassify_recent(after=0)
    expected: dict[str, int] = {}
    for message in messages:
        its_hits = [hit for _, hit in hits if hit.message == message]
        for found in classify_message(its_hits, None, https, links):
            expected[found.verdict] = expected.get(found.verdict, 0) + 1
    assert stored(storage, key) == expected
    assert_consistent(storage, name, key)


def test_merging_changes_no_figure(tmp_path: Path, storage: Storage) -> None:
    key, now = newsletter_key("default", "merged"), now_ms()
    for _ in range(5):
        message = new_id().hex()
        for link in range(4):
            load(tmp_path, storage, click(key, message, now + link, link))
    Corrections(tmp_path, storage).reclassify_recent(after=0)
    every = (
        "SELECT message, at, link_key, position, verdict, reasons, revision, sign FROM hits FINAL"
        " WHERE newsletter = {n:UInt64} ORDER BY ALL"
    )
    look: list[Callable[[], object]] = [
        lambda: stored(storage, key),
        lambda: by_kind(Queries(storage).counts(key)[1]),
        lambda: storage.query(every, {"n": key}),
    ]
    before = [one() for one in look]
    assert before[0] == {"scanner": 20}
    for table in (
        "hits",
        "hits_by_message",
        "hits_by_minute",
        "clicks_by_link",
        "clicks_by_place",
        "hits_by_agent",
    ):
        with storage.reader() as client:
            client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert [one() for one in look] == before
    rows = storage.query("SELECT count() AS n FROM hits WHERE newsletter = {n:UInt64}", {"n": key})
    assert rows[0]["n"] == 20, "pairs that cancel each other are merged away"


@pytest.mark.parametrize("left", [b"", b'[{"workspace":"\xff'])  # by a power loss, or a bad disk
def test_a_torn_note_ends_nothing(tmp_path: Path, storage: Storage, left: bytes) -> None:
    key, message, now = newsletter_key("default", f"torn {left!r}"), new_id().hex(), now_ms()
    for link in range(3):
        load(tmp_path, storage, click(key, message, now + link, link))
    next(tmp_path.glob("*.done")).write_bytes(left)
    assert Corrections(tmp_path, storage).reclassify_recent(after=0) == 3
    assert stored(storage, key) == {"scanner": 3}
    assert not list(tmp_path.glob("*.done"))


def test_corrections_that_version_0_1_left_are_computed_anew(
    tmp_path: Path, storage: Storage
) -> None:
    key, message, now = newsletter_key("default", "old fix"), new_id().hex(), now_ms()
    for link in range(3):
        load(tmp_path, storage, click(key, message, now + link, link))
    old = {"workspace": "default", "newsletter": key, "message": message, "link": 2, "sign": -1}
    (tmp_path / f"{uuid.UUID(bytes=new_id())}.fix").write_text(json.dumps(old) + "\n")
    assert Corrections(tmp_path, storage).reclassify_recent(after=0) == 3
    assert stored(storage, key) == {"scanner": 3}
    assert not list(tmp_path.glob("*.fix"))


@pytest.mark.parametrize(
    "end", [b'{"position":1,"li', b'{"position":1}\nx\n', b'{"position":"\xff"}\n']
)
def test_damaged_corrections_are_kept_aside_and_computed_anew(
    tmp_path: Path, storage: Storage, end: bytes
) -> None:
    key, message, now = newsletter_key("default", f"damaged {end!r}"), new_id().hex(), now_ms()
    for link in range(3):
        load(tmp_path, storage, click(key, message, now + link, link))
    path = tmp_path / f"{uuid.UUID(bytes=new_id())}.fix"
    path.write_bytes(b'{"position":1}\n' + end)
    assert Corrections(tmp_path, storage).reclassify_recent(after=0) == 3
    assert stored(storage, key) == {"scanner": 3}
    assert not path.exists() and path.with_name(path.name + ".bad").exists()
