"""The register of journal segments, as the loader and verification use it."""

import time
import uuid
from pathlib import Path

import pytest

from app.model.ids import new_id
from app.storage.segment_register import SegmentRegister, pack, unpack
from app.storage.state_db import StateError, open_state
from app.storage.tables import segments

ROWS = {"messages": b'{"a":1}\n{"a":2}\n', "newsletters": b'{"b":"\\n"}\n'}


def name(at_ms: int | None = None) -> str:
    return str(uuid.UUID(bytes=new_id(at_ms)))


def test_a_segment_that_was_begun_before_is_doubtful(tmp_path: Path) -> None:
    register, first, second = SegmentRegister(open_state(tmp_path)), name(), name()
    assert register.begin(first, 3, 2, b"[]") is False
    assert register.half_loaded() == [first] and register.unverified(9) == []
    assert SegmentRegister(open_state(tmp_path)).begin(first, 3, 2, b"[]") is True  # after a kill
    assert register.begin(second, 1, 0, b"[]", doubtful=True) is True
    for segment in (first, second):
        register.acknowledge(segment, ROWS)
    assert register.half_loaded() == []
    assert [segment.id for segment in register.unverified(9, doubtful=True)] == [first, second]
    register.verify([first])
    assert [segment.id for segment in register.unverified(9)] == [second]
    register.begin(first, 3, 2, b"[]")  # acknowledged, and killed before its file was deleted
    assert register.half_loaded() == [first]


def test_what_was_inserted_is_kept_until_it_is_verified_and_then_for_some_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, segments = (
        SegmentRegister(open_state(tmp_path), keep_hours=1),
        sorted([name(), name()]),
    )
    for segment in segments:
        register.begin(segment, 3, 2, b"[]")
        register.acknowledge(segment, ROWS)
        assert register.rows(segment) == ROWS
    register.verify(segments[:1])
    register.sweep()
    now = time.time()
    assert [segment.id for segment in register.within(0, now + 1, "", 9)] == segments
    assert [segment.id for segment in register.within(0, now + 1, segments[0], 9)] == segments[1:]
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    register.sweep()
    assert [segment.id for segment in register.within(0, now + 1, "", 9)] == segments[1:]
    assert register.rows(segments[0]) == {} and register.rows(segments[1]) == ROWS
    assert register.oldest() < now + 1


def test_the_newest_rows_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    register = SegmentRegister(open_state(tmp_path), max_bytes=2 * len(pack(ROWS)))
    segments = [name(1_700_000_000_000 + n) for n in range(3)]
    for segment in segments:
        register.begin(segment, 3, 2, b"[]")
        register.acknowledge(segment, ROWS)
    register.sweep()
    assert [register.rows(segment) for segment in segments] == [{}, ROWS, ROWS]
    assert len(register.unverified(9)) == 3
    assert register.complete_since() == 1_700_000_000.0, "the first one's rows are gone"
    register.begin(name(1_700_000_000_002), 1, 1, b"[]")
    assert register.complete_since() == 1_700_000_000.002, "not acknowledged"


def test_rows_are_packed_by_table() -> None:
    assert unpack(pack(ROWS)) == ROWS
    assert unpack(pack({"messages": b""})) == unpack(b"") == {}


def test_a_database_that_cannot_be_written_is_an_error_of_the_loader(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    register = SegmentRegister(engine)
    with engine.begin() as connection:
        segments.drop(connection)
    with pytest.raises(StateError, match="cannot write to the state"):
        register.begin(name(), 1, 1, b"[]")
