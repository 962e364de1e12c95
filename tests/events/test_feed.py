"""The feed: every loaded hit once, in one order, whatever is repeated and wherever one stops."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, update

from app.clock import CLOCK
from app.consent.suppressions import ALL, Suppressions
from app.events import feed as feed_module
from app.events.feed import CORRECTED, UNSETTLED, Cursor, CursorError, Feed, cursor
from app.ingest.loader import Loader
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, encode, now_ms
from app.storage.clickhouse import Storage
from app.storage.state_db import open_state
from app.storage.tables import feed as table
from app.storage.tables import metadata, signed, unsigned

KEY = 2**64 - 5  # one that SQLite's integers hold with a sign


def row(kind: str = "click", verdict: str = "human", **more: Any) -> dict[str, Any]:
    return {
        "workspace": "default",
        "newsletter": KEY,
        "message": new_id().hex(),
        "at": 1.5,
        "kind": kind,
        "recipient": 7,
        "position": 0,
        "link_key": 5,
        "verdict": verdict,
        "segment": str(uuid.UUID(int=1)),
        "line": 0,
        "method": "GET",
        **more,
    }


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in rows)


@given(
    batches=st.lists(st.lists(st.sampled_from(["default", "other"]), min_size=1, max_size=5)),
    limits=st.lists(st.integers(1, 4), min_size=1),
    repeated=st.integers(0, 5),
)
def test_any_steps_give_every_event_once_in_order(
    batches: list[list[str]], limits: list[int], repeated: int
) -> None:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    feed = Feed(engine)
    expected = []
    for number, workspaces in enumerate(batches):
        rows = [row(line=line, workspace=name) for line, name in enumerate(workspaces)]
        for one in rows:
            one["segment"] = str(uuid.UUID(int=number))
        for _ in range(1 + (number == repeated)):
            feed.append(f"s{number}", lines(*rows))
        expected += [(number, line) for line, name in enumerate(workspaces) if name == "default"]
    seen = []
    at, turn = Cursor(), 0
    while True:
        found, following = feed.after(at, "default", limits[turn % len(limits)])
        assert len(found) <= limits[turn % len(limits)]
        seen += [(uuid.UUID(event.row.segment).int, event.row.line) for event in found]
        if following == at:
            break
        at, turn = cursor(str(following)), turn + 1
    assert seen == expected
    assert feed.after(feed.last(), "default", 10)[0] == []
    engine.dispose()


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(open_state(tmp_path))


def test_processes_that_start_together_make_one_state(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from app.storage.state_db import open_state;"
        " open_state(pathlib.Path(sys.argv[1]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 6


@given(st.integers(0, 2**64 - 1))
def test_keys_fit_into_sqlite(key: int) -> None:
    assert -(2**63) <= signed(key) < 2**63
    assert unsigned(signed(key)) == key


def test_a_changed_verdict_is_one_event_and_changed_reasons_are_none(feed: Feed) -> None:
    first = row()
    feed.append("s", lines(first))
    old, new = {**first, "sign": -1}, {**first, "verdict": "scanner", "revision": 1, "sign": 1}
    feed.append("fix", lines(old, new))
    again = {**new, "reasons": ["burst"], "revision": 2}
    feed.append("fix2", lines({**new, "sign": -1}, again))
    found, _ = feed.after(Cursor(), "default", 10)
    assert [(event.type, event.row.verdict, event.before) for event in found] == [
        ("message.clicked", "human", ""),
        ("event.reclassified", "scanner", "human"),
    ]
    assert found[1].id == f"{found[0].id}_1"


def settled(feed: Feed) -> list[tuple[str, str, str]]:
    """Returns type, verdict and the verdict before of all settled events."""
    events, _ = feed.after(Cursor(), "default", 100, settled=True)
    return [(event.type, event.row.verdict, event.before) for event in events]


def test_settled_readers_get_the_verdict_that_is_left(feed: Feed) -> None:
    first, second = row(segment="a"), row(segment="a", line=1)
    feed.append("a", lines(first, second), stage=UNSETTLED)
    assert settled(feed) == []
    new = {**first, "verdict": "scanner", "revision": 1}
    feed.append("fix", lines({**first, "sign": -1}, new), stage=CORRECTED)
    assert settled(feed) == []
    for _ in range(2):
        feed.settle(["a", "unknown"])
        expected = [("message.clicked", "scanner", ""), ("message.clicked", "human", "")]
        assert settled(feed) == expected
    later = {**second, "verdict": "scanner", "revision": 1}
    feed.append("fix2", lines({**second, "sign": -1}, later), stage=CORRECTED)
    assert settled(feed) == [*expected, ("event.reclassified", "scanner", "human")]


def test_no_correction_is_lost_among_many_segments(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries name some segments at a time, in any order; the oldest may be named last."""
    monkeypatch.setattr(feed_module, "MAX_SOURCES", 2)
    first = row(segment="0")
    feed.append("0", lines(first), stage=UNSETTLED)
    new = {**first, "verdict": "scanner", "revision": 1}
    feed.append("fix", lines({**first, "sign": -1}, new), stage=CORRECTED)
    for number in range(1, 6):
        feed.append(str(number), lines(row(segment=str(number))), stage=UNSETTLED)
    feed.settle(["5", "4", "3", "2", "1", "0"])
    assert sorted(verdict for _, verdict, _ in settled(feed)) == ["human"] * 5 + ["scanner"]


def test_a_settled_event_has_the_id_of_the_immediate_one(feed: Feed) -> None:
    feed.append("a", lines(row(segment="a")), stage=UNSETTLED)
    feed.settle(["a"])
    (immediate,), _ = feed.after(Cursor(), "default", 100)
    (later,), _ = feed.after(Cursor(), "default", 100, settled=True)
    assert immediate.id == later.id and immediate.row == later.row


def test_what_cannot_change_is_settled_at_once(feed: Feed) -> None:
    feed.append("a", lines(row("open", segment="a")))
    assert settled(feed) == [("message.opened", "human", "")]


@given(data=st.data())
def test_both_ways_end_with_the_same_truth(data: st.DataObject) -> None:
    """Whatever is corrected and settled when, and wherever readers stop between two steps."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    feed = Feed(engine)
    truth: dict[tuple[str, int], dict[str, Any]] = {}  # latest rows
    unsettled: list[str] = []
    heard: dict[bool, dict[str, str]] = {False: {}, True: {}}  # verdicts by event id
    changes: dict[bool, int] = {False: 0, True: 0}
    cursors = {False: Cursor(), True: Cursor()}

    def read(way: bool) -> None:
        events, cursors[way] = feed.after(cursors[way], "default", 2, settled=way)
        for event in events:
            name = event.id
            if event.type == "event.reclassified":
                name = name.rpartition("_")[0]
                assert heard[way][name] == event.before
                changes[way] += 1
            else:
                assert name not in heard[way]
            heard[way][name] = event.row.verdict

    steps = st.sampled_from(["load", "correct", "settle", "read", "read settled"])
    for number in range(data.draw(st.integers(1, 25))):
        step = data.draw(steps)
        if step == "load":
            name = str(uuid.UUID(int=number))
            rows = [row(segment=name, line=line) for line in range(data.draw(st.integers(1, 3)))]
            may_change = data.draw(st.booleans())
            feed.append(name, lines(*rows), stage=UNSETTLED if may_change else "")
            truth.update({(name, one["line"]): one for one in rows})
            unsettled += [name] * may_change
        elif step == "correct" and truth:
            key = data.draw(st.sampled_from(sorted(truth)))
            old = truth[key]
            verdict = data.draw(st.sampled_from(["human", "scanner", "bot"]))
            new = {**old, "verdict": verdict, "revision": old.get("revision", 0) + 1}
            feed.append(f"fix{number}", lines({**old, "sign": -1}, new), stage=CORRECTED)
            truth[key] = new
        elif step == "settle" and unsettled:
            count = data.draw(st.integers(1, len(unsettled)))
            feed.settle(unsettled[:count])
            feed.settle(unsettled[:1])
            del unsettled[:count]
        elif step.startswith("read"):
            read(step == "read settled")
    feed.settle(unsettled)
    for way in (False, True):
        before = None
        while before != cursors[way]:
            before = cursors[way]
            read(way)
    expected = {
        f"evt_{name.replace('-', '')}_{line}": one["verdict"] for (name, line), one in truth.items()
    }
    assert heard[False] == heard[True] == expected
    assert changes[True] <= changes[False]
    engine.dispose()


def test_bad_and_old_cursors_are_told_apart(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("x", "1", "1.x", "-1.0", "1.1.1", "9" * 16 + ".0"):
        with pytest.raises(CursorError):
            cursor(text)
    assert feed.after(Cursor(5, 1), "default", 1)[0] == []  # nothing was kept, nothing is missing
    for number in range(3):
        feed.append(f"s{number}", lines(row()))
    for wrong in (Cursor(1, 2), Cursor(9, 0)):
        with pytest.raises(CursorError) as caught:
            feed.after(wrong, "default", 1)
        assert not caught.value.expired
    engine = open_state(tmp_path)
    with engine.begin() as connection:
        connection.execute(update(table).where(table.c.seq < 3).values(at=1.0))
    monkeypatch.setattr(feed_module, "SWEEP_SECONDS", -1.0)
    feed.append("s3", lines(row()))
    with pytest.raises(CursorError) as caught:
        feed.after(Cursor(1, 1), "default", 1)
    assert caught.value.expired
    assert len(feed.after(Cursor(2, 1), "default", 9)[0]) == 2  # its next one is there
    assert len(feed.after(Cursor(), "default", 9)[0]) == 2


DAY = 86_400.0


@pytest.mark.parametrize(
    ("ages", "kept"),
    [
        ([8, 8, 1], 1),
        ([1, 20_000, 1], 3),  # the clock was wrong for a while: back
        ([1, -5_000, 1], 3),  # and ahead
        ([8, -5_000, 20_000, 8, 1], 1),  # what is older goes with it
        ([8, -5_000, 8], 0),
    ],
)
def test_the_order_decides_what_is_old(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ages: list[float], kept: int
) -> None:
    for number, _ in enumerate(ages):
        feed.append(f"s{number}", lines(row()))
    engine = open_state(tmp_path)
    with engine.begin() as connection:
        for seq, age in enumerate(ages, 1):
            at = time.time() - age * DAY
            connection.execute(update(table).where(table.c.seq == seq).values(at=at))
    monkeypatch.setattr(feed_module, "SWEEP_SECONDS", -1.0)
    monkeypatch.setattr(CLOCK, "_doubtful_since", 0.0)
    feed.append("doubtful", lines(row()))
    assert len(feed.after(Cursor(), "default", 99)[0]) == len(ages) + 1  # nothing expires
    monkeypatch.setattr(CLOCK, "_doubtful_since", None)
    feed.append("now", lines(row()))
    assert len(feed.after(Cursor(), "default", 99)[0]) == kept + 2
    engine.dispose()


def test_a_loader_fills_the_feed_and_a_second_load_adds_nothing(
    storage: Storage, feed: Feed, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    key = newsletter_key("default", "fed")
    hits = [
        Hit("open", now_ms(), "default", key, new_id().hex(), 1, user_agent="curl/8"),
        Hit("unsubscribe", now_ms(), "default", key, new_id().hex(), 2, method="POST"),
    ]
    name = f"{uuid.UUID(bytes=new_id())}.seg"
    for _ in range(2):  # as after a crash between the feed and the deletion
        (journal / name).write_bytes(b"".join(map(encode, hits)))
        Loader(journal, storage, feed=feed).load_all()
    found, _ = feed.after(Cursor(), "default", 10)
    assert [event.type for event in found] == ["message.opened", "message.unsubscribed"]
    assert found[0].row.verdict == "bot" and "library" in " ".join(found[0].row.reasons)
    assert found[0].row.at == hits[0].at / 1000
    suppressions = Suppressions(open_state(tmp_path))
    assert suppressions.among([1, 2], key) == {2}
    assert suppressions.among([1, 2], key + 1) == set()


def test_a_state_that_cannot_be_written_keeps_the_segment(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_state(tmp_path)
    feed = Feed(engine)
    journal = tmp_path / "journal"
    journal.mkdir()
    key = newsletter_key("default", f"unfed {tmp_path.name}")
    path = journal / f"{uuid.UUID(bytes=new_id())}.seg"
    path.write_bytes(encode(Hit("open", now_ms(), "default", key, new_id().hex(), 1)))
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE feed RENAME TO gone")
    with pytest.raises(OSError, match=r"cannot write to the state"):
        Loader(journal, storage, feed=feed).load_all()
    assert path.exists()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO feed")
    assert Loader(journal, storage, feed=feed).load_all() == 1
    assert len(feed.after(Cursor(), "default", 9)[0]) == 1
    counted = storage.query(
        "SELECT toInt64(sum(sign)) AS n FROM hits WHERE newsletter = {key:UInt64}", {"key": key}
    )
    assert counted[0]["n"] == 1  # the second insert of the same segment changed nothing


def test_suppressions_are_of_one_newsletter_or_of_all(tmp_path: Path) -> None:
    suppressions = Suppressions(open_state(tmp_path))
    assert suppressions.add(2**64 - 1, KEY, "api")
    assert not suppressions.add(2**64 - 1, KEY, "api")
    assert suppressions.add(3, ALL, "api")
    assert suppressions.among([2**64 - 1, 3, 4], KEY) == {2**64 - 1, 3}
    assert suppressions.among([2**64 - 1, 3, 4], 12) == {3}
    assert Suppressions(open_state(tmp_path), "other").among([3], KEY) == set()
    page = suppressions.page(0, 10)
    assert [(one.recipient, one.newsletter) for one in page] == [(2**64 - 1, KEY), (3, ALL)]
    assert suppressions.page(page[0].id, 10) == page[1:]
    assert suppressions.remove(3, ALL) and not suppressions.remove(3, ALL)
    assert suppressions.among([3], KEY) == set()
