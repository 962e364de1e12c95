"""What ClickHouse has lost or doubled is found and repaired, and nothing else is changed."""

import asyncio
import uuid
from collections.abc import Sequence
from itertools import count, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.demo import agents
from app.events.feed import Feed
from app.ingest import verification
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ingest.verification import Verifier
from app.model.ids import new_id, newsletter_key
from app.model.records import (
    Carried,
    Hit,
    Link,
    Message,
    Newsletter,
    Outcome,
    OutcomeKind,
    Record,
    encode,
)
from app.schemas.verification import Verification, in_words
from app.storage import carried_links
from app.storage.clickhouse import Storage, StorageError
from app.storage.rollups import ROLL_UPS
from app.storage.segment_register import SegmentRegister
from app.storage.state_db import open_state
from app.storage.verifications import Verifications
from tests.support.patience import until
from tests.support.torture import LONG, longer

HOUR_MS = 3_600_000
_hours = count(1)
AGENTS = (agents.THUNDERBIRD, agents.GMAIL_PROXY, agents.APPLE_PRIVACY, agents.BARRACUDA, "")
OUTCOMES: tuple[OutcomeKind, ...] = ("sent", "delivered", "bounced", "complained")
KEYED = ("newsletters", "newsletter_links", "link_places", "messages", "outcomes")
ROLLED_UP = (*(roll_up.table for roll_up in ROLL_UPS), "link_carried")
CHANGES = list(product(ROLLED_UP, ("lose", "double")))
COUNTED = ("link_carried", "outcomes_by_message")  # roll-ups of what is not a hit


class Folder:
    """A data folder with its parts; all of its hits are in an hour of their own."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self.path, self.storage = path, storage
        self.start = 1_700_000_000_000 + next(_hours) * HOUR_MS
        self.end = self.start + HOUR_MS
        self.state = state = open_state(path / "state")
        (path / "journal").mkdir(exist_ok=True)
        self.feed, self.register = Feed(state), SegmentRegister(state)
        self.loader = Loader(path / "journal", storage, feed=self.feed, register=self.register)
        self.corrections = Corrections(path / "journal", storage, feed=self.feed)
        self.verifications = Verifications(state)
        self.verifier = Verifier(
            storage, self.loader, self.corrections, self.register, self.feed, self.verifications
        )
        self.newsletters = [newsletter_key("default", f"{path} {n}") for n in range(2)]

    def seal(self, records: Sequence[Record]) -> Path:
        path = self.loader.folder / f"{uuid.UUID(bytes=new_id(self.start))}.seg"
        path.write_bytes(b"".join(map(encode, records)))
        return path

    def load(self, records: Sequence[Record]) -> None:
        self.loader.load(self.seal(records))

    def records(self, segment: int, messages: int = 6) -> list[Record]:
        """Mail and hits on it, several of them on the same messages, so that verdicts change."""
        records: list[Record] = []
        for key in self.newsletters:
            ids = [uuid.uuid5(uuid.UUID(int=key), str(n)).int for n in range(messages)]
            stamp = (self.start << 80) | (7 << 76)
            names = [f"{stamp | (i & ((1 << 76) - 1)):032x}" for i in ids]
            at = self.start + 100 * segment
            records.append(Newsletter(at, "default", key, f"{key}", "Name"))
            # In an hour of which it is certain that every segment is known.
            later = self.start + 3 * HOUR_MS
            records += [
                Carried(later, "default", key, (1, 2), 3),
                Carried(later, "default", key, (2,), 1, 1),
            ]
            for position in range(3):
                url = f"https://example.com/{position}"
                records.append(
                    Link(at, "default", key, position + 1, position + 1, position, url, url)
                )
            for number, name in enumerate(names):
                if segment == 0:
                    records.append(Message(at, "default", key, name, number + 1, f"{number}@x"))
                agent = AGENTS[(number + segment) % len(AGENTS)]
                records.append(Hit("open", at + number, "default", key, name, 7, user_agent=agent))
                position = segment % 3  # a link in each segment: together they are a sweep
                url = f"https://example.com/{position}"
                click = Hit("click", at + 10, "default", key, name, 7, position, url)
                click = replace(click, user_agent=agents.CHROME, link=position + 1)
                records += [click] * (1 + number % 2)
                kind = OUTCOMES[(number + segment) % len(OUTCOMES)]
                event = f"{key} {segment} {number}"
                report = Outcome(at + number, at, "default", event, kind, name, permanent=True)
                records.append(report)
        return records

    def verify(self, repair: bool = True) -> Verification:
        them = {"newsletters": self.newsletters}
        some = "SELECT count() AS stored FROM hits WHERE newsletter IN {newsletters:Array(UInt64)}"
        (row,) = self.storage.query(some, them)
        result = self.verifier.verify(self.start, self.end, repair=repair)
        assert result.hits or not row["stored"]  # a test may have lost them all
        assert result.newsletters == len(self.newsletters)
        return result

    def figures(self) -> dict[str, Any]:
        """Everything that is counted, however rows are merged."""
        them = {"newsletters": self.newsletters}
        where = "WHERE newsletter IN {newsletters:Array(UInt64)}"
        figures: dict[str, Any] = {}
        for roll_up in ROLL_UPS:
            keys = ", ".join(("newsletter", *roll_up.keys))
            sums = [f"sum({value}) AS {value}_sum" for value in roll_up.values]
            some = " OR ".join(f"{value}_sum != 0" for value in roll_up.values)
            figures[roll_up.table] = self.storage.query(
                f"SELECT {keys}, {', '.join(sums)} FROM {roll_up.table} {where}"
                f" GROUP BY {keys} HAVING {some} ORDER BY {keys}",
                them,
            )
        figures["hits"] = self.storage.query(
            "SELECT newsletter, toString(segment) AS segment, line, revision, toString(verdict),"
            f" toInt64(sum(sign)) AS n FROM hits {where} GROUP BY ALL HAVING n != 0 ORDER BY ALL",
            them,
        )
        figures["link_carried"] = self.storage.query(
            "SELECT newsletter, link_key, variant, hour, sum(carried) AS carried_sum"
            f" FROM link_carried {where} GROUP BY ALL HAVING carried_sum != 0 ORDER BY ALL",
            them,
        )
        states = self.storage.query(
            f"SELECT * EXCEPT workspace FROM outcomes_by_message FINAL {where} ORDER BY ALL", them
        )
        figures["outcomes_by_message"] = states
        for table in KEYED:
            figures[table] = self.storage.query(
                f"SELECT count() FROM {table} FINAL {where}"
                if table != "messages"
                else f"SELECT count(), uniqExact(message) FROM {table} {where}",
                them,
            )
        return figures

    def lose(self, table: str, share: str) -> None:
        """Delete rows of a table, as if a block of them had never been written."""
        with self.storage.own_client(60) as client:
            client.command(
                f"ALTER TABLE {table} DELETE WHERE newsletter IN {tuple(self.newsletters)}"
                f" AND {share}",
                settings={"mutations_sync": 2},
            )

    def double(self, table: str, share: str) -> None:
        """Insert rows of a table again, for `hits` with what follows from them."""
        with self.storage.own_client(60) as client:
            client.command(
                f"INSERT INTO {table} SELECT * FROM {table}"
                f" WHERE newsletter IN {tuple(self.newsletters)} AND {share}",
                settings={"insert_deduplicate": 0},
            )


@pytest.fixture
def folder(tmp_path: Path, storage: Storage) -> Folder:
    return Folder(tmp_path, storage)


def loaded(folder: Folder) -> dict[str, Any]:
    for segment in range(3):
        folder.load(folder.records(segment))
    assert folder.corrections.reclassify_recent(0)
    return folder.figures()


def places(result: Verification) -> set[str]:
    return {difference.table for difference in result.differences}


def test_nothing_is_found_and_changed_where_nothing_is_lost(folder: Folder) -> None:
    before = loaded(folder)
    for repair in (False, True, True):
        result = folder.verify(repair)
        assert result.differences == [] and result.segments == 3
    assert folder.figures() == before
    assert folder.verifier.verify_loaded() == []
    assert folder.register.unverified(9) == []


@longer
@pytest.mark.parametrize(("table", "change"), CHANGES if LONG else CHANGES[::3])
def test_a_roll_up_becomes_what_the_hits_are(folder: Folder, table: str, change: str) -> None:
    before = loaded(folder)
    getattr(folder, change)(table, "1")
    assert folder.figures() != before
    found = folder.verify(repair=False)
    assert places(found) == {table} and found.unrepaired == len(folder.newsletters)
    assert all(("missing" in in_words(one)) == (change == "lose") for one in found.differences)
    repaired = folder.verify()
    assert places(repaired) == {table} and repaired.unrepaired == 0
    assert folder.figures() == before
    assert folder.verify().differences == []


@pytest.mark.parametrize("table", ["hits", *KEYED])
def test_what_a_segment_contained_is_restored(folder: Folder, table: str) -> None:
    before = loaded(folder)
    folder.lose(table, "1")
    result = folder.verify()
    assert table in places(result) and result.unrepaired == 0
    assert folder.figures() == before
    assert folder.verify().differences == []
    if table == "hits":  # their messages are classified once more, now with all of them
        assert list(folder.loader.folder.glob("*.done"))
        assert folder.corrections.reclassify_recent(0) == 0


def test_states_of_messages_become_what_was_reported(folder: Folder) -> None:
    before = loaded(folder)
    assert before["outcomes_by_message"]
    folder.double("outcomes_by_message", "1")
    assert folder.figures() == before  # its values are the latest times
    folder.lose("outcomes_by_message", "1")
    assert folder.figures() != before
    found = folder.verify(repair=False)
    assert places(found) == {"outcomes_by_message"} and found.unrepaired == len(folder.newsletters)
    assert places(folder.verify()) == {"outcomes_by_message"}
    assert folder.figures() == before
    assert folder.verify().differences == []


def test_states_stay_when_single_outcomes_have_expired(folder: Folder) -> None:
    before = loaded(folder)
    folder.lose("outcomes", "1")
    with folder.state.begin() as connection:
        connection.exec_driver_sql("UPDATE segments SET rows = ''")
    assert folder.verify().differences == []
    after = folder.figures()
    assert after["outcomes_by_message"] == before["outcomes_by_message"]


def test_a_lost_correction_is_stored_again(folder: Folder) -> None:
    before = loaded(folder)
    folder.lose("hits", "(revision > 0 OR sign < 0)")  # merges may have removed the others
    result = folder.verify()
    assert "hits" in places(result)
    assert folder.figures() == before
    assert folder.verify().differences == []


def test_a_doubled_correction_is_found(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power failure may take the record of its insert: each hit is still one, of two verdicts."""
    inserts: list[tuple[str, bytes]] = []
    insert = folder.storage.insert

    def remembered(table: str, lines: bytes, token: str) -> None:
        inserts.append((table, lines))
        insert(table, lines, token)

    with monkeypatch.context() as patch:
        patch.setattr(folder.storage, "insert", remembered)
        before = loaded(folder)
    table, lines = inserts[-1]
    assert b'"sign":-1' in lines
    insert(table, lines, str(uuid.uuid4()))
    assert folder.figures() != before
    assert "hits" in places(folder.verify())
    assert folder.figures() == before
    assert folder.verify().differences == []


def test_hits_are_classified_again_with_a_message_that_was_restored(folder: Folder) -> None:
    """Whether every link was followed is known by the message."""
    journal = folder.loader.folder
    folder.loader = Loader(
        journal, folder.storage, feed=folder.feed, register=folder.register, https=lambda _: True
    )
    corrections = Corrections(journal, folder.storage, feed=folder.feed, https=lambda _: True)
    key, name = folder.newsletters[0], new_id(folder.start).hex()
    folder.load([Message(folder.start, "default", key, name, 7, "7@x", links=2)])
    folder.lose("messages", "1")
    for position in range(2):
        url, at = f"https://example.com/{position}", folder.start + 5_000 + 2_000 * position
        click = Hit("click", at, "default", key, name, 7, position, url)
        folder.load([replace(click, user_agent=agents.CHROME, link=position + 1)])
    assert corrections.reclassify_recent(0) == 0
    result = folder.verifier.verify(folder.start - HOUR_MS, folder.end, repair=True)
    # What is inserted again is summed up again, and taken back there.
    assert places(result) == {"messages", "messages_by_newsletter"} and not result.unrepaired
    assert corrections.reclassify_recent(0) == 2
    assert {row["toString(verdict)"] for row in folder.figures()["hits"]} == {"scanner"}


def test_a_repair_that_is_interrupted_has_noted_what_it_changes(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(folder)
    folder.lose("hits", "1")

    def killed(*_: object) -> None:
        raise StorageError("killed")

    monkeypatch.setattr(folder.storage, "insert", killed)
    with pytest.raises(StorageError, match="killed"):
        folder.verify()
    assert list(folder.loader.folder.glob("*.done"))


TABLES = ("hits", *COUNTED, *(roll_up.table for roll_up in ROLL_UPS), *KEYED)
DAMAGE = st.tuples(
    st.sampled_from(TABLES), st.sampled_from(["lose", "double"]), st.integers(2, 5), st.integers()
).filter(lambda damage: damage[1] == "lose" or damage[0] not in KEYED)


@longer
@settings(
    max_examples=150 if LONG else 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(DAMAGE, min_size=1, max_size=3))
def test_whatever_is_lost_or_doubled_is_found_and_repaired(
    storage: Storage, tmp_path_factory: pytest.TempPathFactory, damages: list[Any]
) -> None:
    folder = Folder(tmp_path_factory.mktemp("damaged"), storage)
    before = loaded(folder)
    for table, change, modulus, salt in damages:
        columns = {
            "hits": "segment, line",
            "newsletters": "newsletter",
            "newsletter_links": "link_key",
            "link_places": "link_key",
            "messages": "message",
            "link_carried": "link_key, variant",
            "outcomes": "event",
            "outcomes_by_message": "message",
        }.get(table) or ", ".join(next(r.keys for r in ROLL_UPS if r.table == table))
        getattr(folder, change)(table, f"cityHash64({columns}, {salt % 2**32}) % {modulus} = 0")
    changed = folder.figures() != before
    result = folder.verify()
    assert bool(result.differences) == changed and result.unrepaired == 0
    assert folder.figures() == before
    assert folder.verify().differences == []


def test_a_repeated_segment_is_verified_at_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deduplication record was written and the part was not: the repeated insert is ignored."""
    path = folder.seal(folder.records(0))
    lines, insert = path.read_bytes(), folder.storage.insert

    def is_lost(table: str, lines: bytes, token: str) -> None:
        insert(table, lines, token)
        if table == "hits":
            folder.lose("hits", "1")
            folder.lose("hits_by_agent", "1")
            folder.lose("clicks_by_place", "1")
            raise StorageError("the connection was reset")

    monkeypatch.setattr(folder.storage, "insert", is_lost)
    with pytest.raises(StorageError):
        folder.loader.load(path)
    monkeypatch.undo()
    assert path.read_bytes() == lines and folder.register.half_loaded() == [path.stem]
    folder.loader.load(path)
    assert folder.loader.doubtful == 1 and folder.register.half_loaded() == []
    assert {d.table for d in folder.verifier.verify_loaded(doubtful=True)} >= {"hits"}
    latest = folder.verifications.latest()
    assert latest and latest.unrepaired == 0 and latest.segments == 1
    assert folder.verify().differences == []
    hits = lines.count(b'"record":"hit"')
    assert sum(row["n"] for row in folder.figures()["hits"]) == hits
    assert sum(row["hits_sum"] for row in folder.figures()["hits_by_agent"]) == hits


def test_a_repeated_segment_without_a_deduplication_record_doubles_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure may take the record, which ClickHouse does not sync, and leave the rows."""
    path = folder.seal(folder.records(0))
    lines, insert = path.read_bytes(), folder.storage.insert
    folder.loader.load(path)
    before = folder.figures()
    path.write_bytes(lines)
    monkeypatch.setattr(
        folder.storage, "insert", lambda table, lines, _: insert(table, lines, str(new_id()))
    )
    folder.loader.load(path)
    monkeypatch.undo()
    assert folder.figures() != before and folder.loader.doubtful == 1
    assert folder.verifier.verify_loaded(doubtful=True)
    assert folder.figures() == before


@pytest.mark.parametrize("change", ["lose", "double"])
def test_carried_links_are_compared_at_once_where_a_segment_is_doubtful(
    folder: Folder, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, insert = loaded(folder), folder.storage.insert
    assert before["link_carried"]
    path = folder.seal(folder.records(3))

    def answer_is_lost(table: str, lines: bytes, token: str) -> None:
        insert(table, lines, token)
        if table == "hits":
            raise StorageError("the connection was reset")

    monkeypatch.setattr(folder.storage, "insert", answer_is_lost)
    with pytest.raises(StorageError):
        folder.loader.load(path)
    monkeypatch.undo()
    folder.loader.load(path)
    whole = folder.figures()
    getattr(folder, change)("link_carried", "link_key = 2")
    found = folder.verifier.verify_loaded(doubtful=True)
    assert {(one.table, one.repaired) for one in found} == {("link_carried", True)}
    assert all("compared with journal segments" in in_words(one) for one in found)
    assert folder.figures() == whole


def test_carried_links_of_hours_that_are_not_known_whole_are_left_alone(folder: Folder) -> None:
    """Rows that are kept up to a limit only, or of a segment that is not loaded yet."""
    loaded(folder)
    folder.double("link_carried", "1")
    doubled = folder.figures()
    folder.register.begin(str(uuid.UUID(bytes=new_id(folder.start + 2 * HOUR_MS))), 5, 0, b"[]")
    assert folder.verify().differences == []
    assert folder.figures() == doubled


def test_other_hosts_may_have_carried_more(folder: Folder) -> None:
    loaded(folder)
    folder.double("link_carried", "1")
    assert min(carried_links.differences(folder.storage, folder.register).values()) < 0
    server = cast("Storage", SimpleNamespace(embedded=False, query=folder.storage.query))
    assert carried_links.differences(server, folder.register) == {}
    folder.lose("link_carried", "1")
    assert min(carried_links.differences(server, folder.register).values()) > 0


def test_a_segment_cut_off_before_a_migration_gets_its_roll_ups(folder: Folder) -> None:
    """The loader skips what is in `hits`; roll-ups that the migration did not build lack it."""
    path = folder.seal(folder.records(0))
    again = path.read_bytes()
    folder.loader.load(path)
    before = folder.figures()
    for table in ("hits_by_minute", "hits_by_agent"):
        folder.lose(table, "1")
    state = open_state(folder.path / "of another version")  # which had no register
    register = SegmentRegister(state)
    loader = Loader(folder.loader.folder, folder.storage, feed=folder.feed, register=register)
    loader._migrated_at = 10**10
    path.write_bytes(again)
    loader.load(path)
    assert loader.doubtful == 1
    verifier = Verifier(
        folder.storage, loader, folder.corrections, register, folder.feed, Verifications(state)
    )
    tables = {difference.table for difference in verifier.verify_loaded(doubtful=True)}
    assert tables == {"hits_by_minute", "hits_by_agent"}
    assert folder.figures() == before


def test_half_loaded_segments_are_finished_before_anything_is_compared(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(folder)
    path, insert = folder.seal(folder.records(5)), folder.storage.insert

    def fails(table: str, lines: bytes, token: str) -> None:
        insert(table, lines, token)
        if table == "hits":
            folder.lose("hits_by_minute", "1")
            raise StorageError("the connection was reset")

    monkeypatch.setattr(folder.storage, "insert", fails)
    with pytest.raises(StorageError):
        folder.loader.load(path)
    monkeypatch.undo()
    assert folder.verify().unrepaired == 0
    assert not path.exists() and folder.verify().differences == []


def test_counts_of_expired_hits_stay(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roll-ups rightly hold more than the hits once hits have expired."""
    before = loaded(folder)
    folder.lose("hits", "1")
    kept = folder.storage.settings.model_copy(update={"keep_hits_days": 1})
    monkeypatch.setattr(folder.storage, "settings", kept)
    result = folder.verifier.verify(folder.start, folder.end, repair=True)
    assert result.differences == [] and result.segments == 3
    after = folder.figures()
    assert after.pop("hits") == [] and before.pop("hits")
    assert after == before


def test_a_roll_up_that_knows_more_is_not_reduced_by_itself(folder: Folder) -> None:
    """Hits that nobody can restore may have been lost: then the roll-up is right."""
    loaded(folder)
    folder.double("hits_by_agent", "1")
    doubled = folder.figures()
    newsletters = [("default", key) for key in folder.newsletters]
    folder.register._keep_seconds = -1  # the register begins later than the newsletters
    folder.register.verify([segment.id for segment in folder.register.unverified(99)])
    folder.register.sweep()
    found = folder.verifier._verify_roll_ups(newsletters, True, set())
    assert {difference.repaired for difference in found} == {False}
    assert folder.figures() == doubled
    assert folder.verify().unrepaired == 0  # an operator decides
    assert folder.figures() != doubled


def test_the_nightly_run_is_due_once_a_night(folder: Folder) -> None:
    loaded(folder)
    result = folder.verifier.verify_nightly()
    assert result and folder.verifications.latest(nightly=True) == result
    assert folder.verifier.verify_nightly() is None


def test_a_comparison_ends_soon_when_the_service_stops(folder: Folder) -> None:
    """A task that failed begins again; one that was cancelled does not."""

    async def test() -> None:
        task = asyncio.create_task(folder.verifier.run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = loaded(folder)
    folder.lose("hits_by_agent", "1")
    asyncio.run(test())
    with pytest.raises(StorageError, match="stopping"):
        folder.verify()
    assert folder.figures() != before


def test_what_is_kept_expires_though_nothing_is_loaded(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of messages have email addresses: a quiet service keeps them no longer than a busy."""
    monkeypatch.setattr(verification, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(verification, "PERIOD_SECONDS", 0.01)
    loaded(folder)
    folder.register._keep_seconds = -1
    folder.loader.ready = True

    async def test() -> None:
        task = asyncio.create_task(folder.verifier.run())
        await until(lambda: not folder.register.within(0, 1e12, "", 9))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert folder.register.within(0, 1e12, "", 9)
    asyncio.run(test())
