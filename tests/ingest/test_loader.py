import json
import random
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.loader import Loader
from app.ingest.rows import TABLES, rows
from app.model import records as events
from app.model.ids import new_id, newsletter_key
from app.model.records import (
    Carried,
    Hit,
    Message,
    Newsletter,
    PlacedLink,
    RecordError,
    encode,
    now_ms,
)
from app.paths import resource
from app.storage import set_aside
from app.storage.clickhouse import INSERTS, Storage, StorageError
from app.storage.clickhouse_migrations import statements
from app.storage.journal_segments import DONE, with_footer, without_footer

THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0"


def hits(newsletter: int, count: int, kind: events.Kind = "open") -> bytes:
    return b"".join(
        encode(
            Hit(kind, now_ms(), "default", newsletter, new_id().hex(), 7, user_agent=THUNDERBIRD)
        )
        for _ in range(count)
    )


def seal(folder: Path, lines: bytes) -> Path:
    path = folder / f"{uuid.UUID(bytes=new_id())}.seg"
    path.write_bytes(lines)
    return path


def count(storage: Storage, table: str, newsletter: int) -> int:
    figure = "sum(sign)" if table == "hits" else "count()"
    sql = f"SELECT {figure} AS n FROM {table} WHERE newsletter = {{newsletter:UInt64}}"
    return int(storage.query(sql, {"newsletter": newsletter})[0]["n"])


def test_a_segment_reaches_its_tables_and_is_deleted(tmp_path: Path, storage: Storage) -> None:
    key = newsletter_key("default", "a segment")
    lines = b"".join(
        [
            encode(Newsletter(now_ms(), "default", key, "a segment", "Näme", tags=("x", "y"))),
            encode(
                PlacedLink(now_ms(), "default", key, 0, "https://example.com/", "Label", ("boots",))
            ),
            encode(Message(now_ms(), "default", key, new_id().hex(), 2**64 - 1, "a@example.com")),
            hits(key, 3),
        ]
    )
    seal(tmp_path, lines)
    work = Loader(tmp_path, storage)
    assert work.load_all() == 6
    assert work.loaded == 6
    names = {path.name for path in tmp_path.iterdir() if path.suffix != DONE}
    assert names == {"origin", "loading.lock"}
    for table, expected in [
        ("newsletters", 1),
        ("newsletter_links", 1),
        ("link_places", 1),
        ("messages", 1),
        ("hits", 3),
    ]:
        assert count(storage, table, key) == expected
    row = storage.query("SELECT * FROM hits WHERE newsletter = {n:UInt64} LIMIT 1", {"n": key})[0]
    assert (row["client"], row["os"], row["device"]) == ("Thunderbird", "Linux", "desktop")
    assert (row["verdict"], row["reasons"]) == ("human", [])


def test_a_segment_that_comes_again_changes_nothing(tmp_path: Path, storage: Storage) -> None:
    key = newsletter_key("default", "again")
    lines = hits(key, 50)
    for _ in range(3):
        path = tmp_path / "01890000-0000-7000-8000-000000000001.seg"
        path.write_bytes(lines)
        Loader(tmp_path, storage).load(path)
        assert count(storage, "hits", key) == 50


def test_equal_segments_with_different_ids_both_count(tmp_path: Path, storage: Storage) -> None:
    key = newsletter_key("default", "equal")
    lines = hits(key, 10)
    seal(tmp_path, lines)
    seal(tmp_path, lines)
    assert Loader(tmp_path, storage).load_all() == 20
    assert count(storage, "hits", key) == 20


def test_a_failed_insert_keeps_the_segment(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = newsletter_key("default", "failed")
    path = seal(tmp_path, encode(PlacedLink(now_ms(), "default", key, 0, "u")) + hits(key, 5))
    insert = storage.insert

    def dies_after_the_first(table: str, lines: bytes, token: str) -> None:
        if table == "hits":
            insert(table, lines, token)  # kept, but the acknowledgement is lost
            raise StorageError("connection reset")
        insert(table, lines, token)

    monkeypatch.setattr(storage, "insert", dies_after_the_first)
    with pytest.raises(StorageError):
        Loader(tmp_path, storage).load_all()
    assert path.exists()
    monkeypatch.undo()
    assert Loader(tmp_path, storage).load_all() == 6
    assert count(storage, "hits", key) == 5


def test_lines_that_are_no_record_are_counted_and_kept_aside(
    tmp_path: Path, storage: Storage
) -> None:
    key = newsletter_key("default", "unreadable")
    path = seal(tmp_path, b"{}\n" + hits(key, 2) + b'{"record":"hit","kind":"open"}\nnonsense\n')
    work = Loader(tmp_path, storage)
    assert work.load(path) == 2
    assert work.unreadable == 3
    lines = b'{}\n{"record":"hit","kind":"open"}\nnonsense\n'
    assert path.with_suffix(".bad").read_bytes() == lines
    assert count(storage, "hits", key) == 2


def test_a_segment_whose_checksum_is_wrong_is_reported_and_loaded(
    tmp_path: Path, storage: Storage
) -> None:
    key = newsletter_key("default", "checksum")
    content = bytearray(with_footer(hits(key, 3)))
    content[content.index(b"Thunderbird")] ^= 1  # still a record, and another user agent
    path = seal(tmp_path, bytes(content))
    work = Loader(tmp_path, storage)
    assert (work.load(path), work.damaged, work.unreadable) == (3, 1, 0)
    assert path.with_suffix(".damaged.bad").read_bytes() == without_footer(bytes(content))[0]
    assert count(storage, "hits", key) == 3
    sound = seal(tmp_path, with_footer(hits(key, 2)))
    assert (work.load(sound), work.damaged, work.unreadable) == (2, 1, 0)
    assert not [*tmp_path.glob(f"{sound.stem}*.bad")]
    assert count(storage, "hits", key) == 5


def test_every_table_of_rows_is_synced(storage: Storage) -> None:
    tables = storage.query(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"
        " AND engine LIKE '%MergeTree'",
        {},
    )
    assert {row["name"] for row in tables} > set(TABLES)
    for row in tables:
        assert "fsync_after_insert = 1" in row["engine_full"], row["name"]
        assert "fsync_part_directory = 1" in row["engine_full"], row["name"]


def test_no_file_of_rows_outlives_its_insert(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """chDB's client writes rows to a file, with email addresses; a kill leaves it behind."""
    folder, names = storage.settings.data_dir / INSERTS, []
    folder.mkdir(exist_ok=True)
    left = folder / "tmp_of_a_killed_process.jsoneachrow"
    left.write_text("{}")
    monkeypatch.setattr(storage, "_writer", None)  # as in a new process
    create = tempfile.NamedTemporaryFile

    def recorded(*args: Any, **kwargs: Any) -> Any:
        file = create(*args, **kwargs)
        names.append(Path(file.name))
        return file

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", recorded)
    before = tempfile.tempdir
    seal(tmp_path, hits(newsletter_key("default", "no file"), 2))
    assert Loader(tmp_path, storage).load_all() == 2
    assert names and {path.parent for path in names} == {folder}
    assert list(folder.iterdir()) == [] and tempfile.tempdir == before


def test_damaged_lines_hold_up_no_other(tmp_path: Path, storage: Storage) -> None:
    """One bit of each line changed, as by a bad disk: whatever it is then, the rest is loaded."""
    key, dice = newsletter_key("default", "damaged"), random.Random(7)
    sound = hits(key, 150) + hits(key, 50, "click")
    more = [
        encode(Newsletter(now_ms(), "default", key, "damaged", "Näme", tags=("x", "y"))),
        encode(PlacedLink(now_ms(), "default", key, 0, "https://example.com/", "Label")),
        encode(Message(now_ms(), "default", key, new_id().hex(), 2**64 - 1, "a@example.com")),
        encode(Carried(now_ms(), "default", key, (1, 2**64 - 1), 7)),
    ]
    lines = sound.splitlines(keepends=True) + more * 20
    damaged = []
    for line in lines:
        changed = bytearray(line[:-1])
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        damaged.append(bytes(changed).replace(b"\n", b"?") + b"\n")
    special = [
        b'{"record":"hit","kind":"open","at":1,"workspace":"\xff","newsletter":1,'
        b'"message":"' + b"0" * 32 + b'","recipient":1}\n',
        b"[" * 100_000 + b"\n",
        sound.splitlines(keepends=True)[-1].replace(b'"message":"', b'"message":"zz'),
        sound.splitlines(keepends=True)[0].replace(b'"recipient":7', b'"recipient":-7'),
        b'{"record":"hit"}\n',
    ]
    mixed = [line for pair in zip(lines, damaged, strict=True) for line in pair] + special
    path = seal(tmp_path, b"".join(mixed))
    work = Loader(tmp_path, storage)
    work.load(path)
    assert not path.exists() and path.with_suffix(".bad").exists()
    assert work.unreadable > len(damaged) / 2
    found = f"SELECT uniqExact(line) AS n FROM hits WHERE segment = '{path.stem}' AND line % 2 = 0"
    (row,) = storage.query(f"{found} AND line < 400", {})
    assert row["n"] == 200  # every sound one, at even lines


TEXT = st.text(max_size=20)
U64 = st.integers(0, 2**64 - 1)
RECORDS = st.one_of(
    st.builds(
        Hit,
        kind=st.sampled_from(["open", "click", "unsubscribe"]),
        at=st.integers(0, 2**42),
        workspace=TEXT,
        newsletter=U64,
        message=st.binary(min_size=16, max_size=16).map(bytes.hex),
        recipient=U64,
        position=st.integers(-1, 65535),
        link=st.just(0) | U64,
        detail=st.integers(0, 2**32 - 1),
        flags=st.integers(0, 3),
        url=TEXT,
        variant=st.integers(0, 255),
        method=st.sampled_from(["GET", "HEAD"]),
        address=TEXT,
        user_agent=st.text(max_size=600),
        purpose=TEXT,
        fetch_mode=TEXT,
    ),
    st.builds(
        Newsletter,
        at=st.integers(0, 2**42),
        workspace=TEXT,
        newsletter=U64,
        id=TEXT,
        name=TEXT,
        tags=st.lists(TEXT, max_size=3).map(tuple),
    ),
)


@given(st.lists(RECORDS, max_size=20))
def test_rows_follow_from_the_bytes_alone(records: list[events.Record]) -> None:
    segment = b"".join(map(encode, records))
    assert segment.count(b"\n") == len(records)
    assert [events.decode(line) for line in segment.splitlines()] == records
    first = rows(segment, "id", 9)
    assert first == rows(segment, "id", 9)
    tables = first.tables
    assert (first.records, first.unreadable) == (len(records), [])
    assert first.hits == [record for record in records if isinstance(record, Hit)]
    rows_of = {table: lines.count(b"\n") for table, lines in tables.items()}
    assert sum(rows_of[table] for table in ("hits", "newsletters", "messages")) == len(records)
    unkeyed = any(hit.kind == "click" and not hit.link for hit in first.hits)
    assert bool(rows_of["newsletter_links"]) == bool(rows_of["link_places"]) == unkeyed
    for line in tables["hits"].splitlines():
        assert json.loads(line)["segment"] == "id"


def test_every_table_has_a_deduplication_window_and_a_workspace() -> None:
    for path in (resource("clickhouse") / "migrations").glob("*.sql"):
        for statement in statements(path):
            if "CREATE TABLE" in statement:
                assert "non_replicated_deduplication_window" in statement
                assert "workspace" in statement
        replicated = "\n".join(statements(path, "main"))
        assert replicated.count("ENGINE = Replicated") == replicated.count("CREATE TABLE")
        assert "non_replicated" not in replicated


def test_the_tables_are_loaded_with_what_events_refer_to_first() -> None:
    assert TABLES[-1] == "hits"


def test_a_fault_that_reads_nothing_diverts_not_everything(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_aside, "MAX_BYTES", 100)
    paths = [seal(tmp_path, b"x" * 60 + b"\n") for _ in range(3)]
    work = Loader(tmp_path, storage)
    with pytest.raises(StorageError, match="mailwake set-aside list"):
        work.load_all()
    assert sum(path.exists() for path in paths) == 2
    (entry,) = set_aside.entries(tmp_path)
    set_aside.drop(tmp_path, entry.name)
    monkeypatch.setattr(set_aside, "MAX_BYTES", 1_000)
    assert work.load_all() == 0 and not any(path.exists() for path in paths)


def test_lines_that_a_newer_version_reads_are_loaded_once(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = newsletter_key("default", "read by a newer version")
    path = seal(tmp_path, hits(key, 3))

    def refuse(_: bytes) -> None:
        raise RecordError("of a newer version")

    monkeypatch.setattr("app.ingest.rows.decode", refuse)
    work = Loader(tmp_path, storage)
    assert (work.load_all(), work.unreadable) == (0, 3)
    monkeypatch.undo()
    name = f"{path.stem}.bad"
    content = (tmp_path / name).read_bytes()
    set_aside.load_again(tmp_path, name)
    assert work.load_all() == 3
    (tmp_path / name).write_bytes(content)  # as if a kill had left it
    set_aside.load_again(tmp_path, name)
    work.load_all()
    assert count(storage, "hits", key) == 3


def test_nothing_is_loaded_without_room_on_the_disk(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = newsletter_key("default", "room")
    path = seal(tmp_path, hits(key, 2))
    monkeypatch.setattr("app.ingest.loader.ROOM_BYTES", 2**60)
    with pytest.raises(StorageError, match=r"loading needs [\d,]+ MB of free disk"):
        Loader(tmp_path, storage).load_all()
    assert path.exists() and count(storage, "hits", key) == 0
    monkeypatch.undo()
    assert Loader(tmp_path, storage).load_all() == 2
