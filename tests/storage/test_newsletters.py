"""What is stated of newsletters: kept until stated anew, by any process and in any order."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ingest.loader import Loader
from app.model.errors import NotFoundError
from app.model.ids import new_id, newsletter_key
from app.model.records import Newsletter, encode
from app.stats.queries import Queries
from app.storage import newsletters as catalog
from app.storage.clickhouse import Storage
from app.storage.newsletters import Newsletters, RecordedMetadata, Statement

NOW = 1_764_200_000_000
LINE = st.none() | st.sampled_from(["", "Spring", "Sale", "Zürich", "a"])
TAGS = st.none() | st.sampled_from([(), ("x",), ("x", "y"), ("b",)])
STATED = st.builds(
    Newsletter,
    at=st.integers(NOW, NOW + 5),
    workspace=st.just("default"),
    newsletter=st.just(0),
    id=st.just("n"),
    name=LINE,
    subject=LINE,
    tags=TAGS,
)


def last(records: list[Newsletter]) -> tuple[str, str, tuple[str, ...]]:
    """The obvious way: the newest statement of each field, equal moments by value."""
    found: list[Any] = []
    for field, empty in (("name", ""), ("subject", ""), ("tags", ())):
        stated = [(one.at, value) for one in records if (value := getattr(one, field)) is not None]
        found.append(max(stated)[1] if stated else empty)
    return found[0], found[1], found[2]


@given(st.lists(STATED, min_size=1, max_size=8), st.randoms())
def test_statements_may_be_merged_in_any_order_and_twice(
    records: list[Newsletter], random: Any
) -> None:
    again = [*records, *random.choices(records, k=3)]
    random.shuffle(again)
    merged = Statement("n")
    for record in again:
        merged = merged.merged(record)
    assert (merged.name[1], merged.subject[1], merged.tags[1]) == last(records)
    assert all(
        merged.agrees(msgspec.structs.replace(one, name=None, subject=None, tags=None))
        for one in records
    )


NUMBERS = itertools.count()


@settings(max_examples=20, deadline=None)
@given(records=st.lists(STATED, min_size=1, max_size=6), random=st.randoms())
def test_clickhouse_merges_statements_likewise(
    records: list[Newsletter], random: Any, storage: Storage, tmp_path_factory: Any
) -> None:
    newsletter_id = f"merged {next(NUMBERS)}"
    key = newsletter_key("default", newsletter_id)
    records = [msgspec.structs.replace(one, newsletter=key, id=newsletter_id) for one in records]
    folder = tmp_path_factory.mktemp("merged")
    cuts = sorted(random.choices(range(len(records) + 1), k=2))
    pieces = [records[: cuts[0]], records[cuts[0] : cuts[1]], records[cuts[1] :], records[:2]]
    random.shuffle(pieces)
    load = Loader(folder, storage).load
    for piece in pieces:
        path = folder / f"{new_id().hex()}.seg"
        lines = b"".join(map(encode, piece))
        path.write_bytes(lines)
        load(path)
        if random.random() < 0.5:  # the segment comes again
            path.write_bytes(lines)
            load(path)
    found = Queries(storage).newsletter(newsletter_id)
    assert (found.name, found.subject, found.tags) == last(records)
    with storage.reader() as client:
        client.command("OPTIMIZE TABLE newsletters FINAL")
    assert Queries(storage).newsletter(newsletter_id) == found


class Process:
    """The catalogue of one of several processes of a data folder; `journal` is all of theirs."""

    def __init__(self, folder: Path, journal: list[Newsletter]) -> None:
        self._catalog, self._journal = RecordedMetadata(Newsletters(folder)), journal

    def accept(self, at: int, **stated: Any) -> int:
        """How many records a message that states this is worth."""
        record = Newsletter(at, "default", 7, "n", **stated)
        changed = self._catalog.changed(record)
        if changed:
            self._journal.append(changed)
            self._catalog.remember(changed)
        return int(changed is not None)


def test_what_is_omitted_is_not_journalled_and_changes_nothing(tmp_path: Path) -> None:
    journal: list[Any] = []
    process = Process(tmp_path, journal)
    assert process.accept(NOW, name="Spring", subject="Hi", tags=("a",)) == 1
    assert process.accept(NOW + 1) == 0
    assert process.accept(NOW + 2, name="Spring") == 0
    assert process.accept(NOW + 3, subject="") == 1
    assert last(journal) == ("Spring", "", ("a",))
    assert process.accept(NOW + 4, tags=()) == 1
    assert last(journal) == ("Spring", "", ())
    assert b'"name"' not in encode(journal[-1])


@given(
    st.lists(
        st.tuples(st.integers(0, 2), LINE, TAGS, st.sampled_from(["", "", "", "restart", "lost"])),
        min_size=1,
        max_size=20,
    )
)
def test_the_last_statement_holds_whichever_process_took_it(
    tmp_path_factory: Any, steps: list[tuple[int, Any, Any, str]]
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    journal: list[Any] = []
    processes = [Process(folder, journal) for _ in range(3)]
    expected: dict[str, Any] = {"name": "", "tags": ()}
    for number, (which, name, tags, event) in enumerate(steps):
        if event == "restart":
            processes[which] = Process(folder, journal)
        if event == "lost":  # of a data folder that was restored from a backup
            for path in folder.glob("*"):
                path.unlink()
        at = NOW - number % 3  # the clock is no better than clocks are
        processes[which].accept(at, name=name, tags=tags)
        expected |= {"name": name} if name is not None else {}
        expected |= {"tags": tags} if tags is not None else {}
        known = Newsletters(folder).read(7)
        if event != "lost" and not any(step[3] == "lost" for step in steps):
            assert known and last(journal) == (known.name[1], "", known.tags[1])
            assert last(journal) == (expected["name"], "", expected["tags"])
        assert known


def test_a_host_states_anew_what_another_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts share ClickHouse, not files."""
    journal: list[Any] = []
    here, there = Process(tmp_path / "a", journal), Process(tmp_path / "b", journal)
    assert here.accept(NOW, name="Spring") == there.accept(NOW + 1, name="Sale") == 1
    assert here.accept(NOW + 2, name="Spring") == 0
    monkeypatch.setattr(catalog, "RESTATE_SECONDS", 0.0)
    assert here.accept(NOW + 3, name="Spring") == 1
    assert last(journal)[0] == "Spring"


def test_a_file_that_was_cut_off_is_stated_anew(tmp_path: Path) -> None:
    journal: list[Any] = []
    process = Process(tmp_path, journal)
    process.accept(NOW, name="Spring")
    (path,) = tmp_path.iterdir()
    for content in (b"", b'{"id":"n","na', b"\xff\xfe", b"[]"):
        path.write_bytes(content)
        assert Newsletters(tmp_path).read(7) is None
        assert process.accept(NOW, name="Spring") == 1
        assert process.accept(NOW, name="Spring") == 0


def test_a_folder_that_cannot_be_written_costs_lines_only(tmp_path: Path) -> None:
    journal: list[Any] = []
    (tmp_path / "file").write_text("")
    process = Process(tmp_path / "file", journal)
    assert process.accept(NOW, name="Spring") == process.accept(NOW, name="Spring") == 1
    assert last(journal)[0] == "Spring"


def test_statements_of_many_at_once_are_all_kept(tmp_path: Path) -> None:
    """Each thread with files of its own, as processes have; two newsletters in turn."""
    last_of = {"name": NOW + 399, "subject": NOW + 398}

    def state(first: int) -> None:
        newsletters = Newsletters(tmp_path)
        for number in range(first, 400, 4):
            field = "name" if number % 2 else "subject"
            stated: Any = {field: str(NOW + number)}
            for key in (1, 2):
                newsletters.keep(Newsletter(NOW + number, "default", key, f"n{key}", **stated))
                known = newsletters.read(key)
                assert known and known.id == f"n{key}"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(state, range(4)))
    shared = Newsletters(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(shared.read, [1, 2] * 500))
    assert [one.id for one in read if one] == ["n1", "n2"] * 500
    for known in read:
        assert known and {name: getattr(known, name)[0] for name in last_of} == last_of


def test_files_that_nobody_states_any_more_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(tmp_path, [])
    process.accept(NOW, name="Spring")
    assert Newsletters(tmp_path).sweep() == 0 and Newsletters(tmp_path).read(7)
    monkeypatch.setattr(catalog, "KEPT_DAYS", -1)
    assert Newsletters(tmp_path).sweep() == 1 and Newsletters(tmp_path).read(7) is None


def test_a_newsletter_is_known_before_clickhouse_has_it(tmp_path: Path, storage: Storage) -> None:
    newsletters = Newsletters(tmp_path)
    queries = Queries(storage, "default", stated=newsletters)
    with pytest.raises(NotFoundError):
        queries.newsletter("just accepted")
    key = newsletter_key("default", "just accepted")
    newsletters.keep(Newsletter(NOW, "default", key, "just accepted", "Spring", tags=("a",)))
    found = queries.newsletter("just accepted")
    assert (found.id, found.name, found.subject, found.tags) == (
        "just accepted",
        "Spring",
        "",
        ("a",),
    )
    with pytest.raises(NotFoundError):
        Queries(storage, "other", stated=newsletters).newsletter("just accepted")
