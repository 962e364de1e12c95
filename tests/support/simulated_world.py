"""A world in which the pipeline runs, crashes and runs again, by one seed.

The code of journal, loader, corrections, feed, register and verification is the real one, and so
are the files and state.db. Simulated are the clock, the random bytes of ids, ClickHouse, and the
crashes: before any write, sync, rename or deletion of a file, before any commit of state.db, and
before, within or after any insert. After a crash nothing more reaches the disk, and the next boot
finds what was there. Some crashes are power failures: they also take what was not synced, in the
folder of the journal (simulated_disk.py) and in ClickHouse. A commit of state.db is on the disk, as
SQLite promises with synchronous=FULL. An insert may also fail, or be stored while its answer is
lost. Threads are run in place, so a seed always gives the same history.
"""

import asyncio
import gc
import json
import os
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, TypeVar, cast
from unittest import mock

import msgspec
from msgspec.structs import replace
from sqlalchemy import event

from app.events.feed import Cursor, Event, Feed
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ingest.message_rules import classify_message
from app.ingest.verification import Verifier
from app.model.ids import new_id
from app.model.records import Hit, Message, encode
from app.storage.clickhouse import Row, Storage, StorageError
from app.storage.journal import Journal
from app.storage.journal_segments import DONE, FIX, OPEN, SEALED
from app.storage.rollups import Differences, RollUp
from app.storage.segment_register import SegmentRegister
from app.storage.sql import sql
from app.storage.state_db import open_state
from app.storage.stored_rows import KEYS, plain
from app.storage.verifications import Verifications
from tests.support.simulated_disk import SimulatedDisk

T = TypeVar("T")
START_MS = 1_800_000_000_000
CRASHES, FAILURES = 0.03, 0.05  # chances, at each operation and each insert
POWER_FAILURES = 0.4  # chance that a crash is one
FORGOTTEN = 0.3  # chance that a power failure takes a deduplication record: they are never synced
ROLL_UP = RollUp("roll_up", ("kind", "verdict"), ("hits",), "", "")
NEWSLETTERS = (11, 12)
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0",
    "python-requests/2.32",
    "Barracuda Sentinel (EE)",
)


SCANNER = AGENTS[0].replace("145", "144")


class Crash(KeyboardInterrupt):
    """The process dies here. An event loop lets this kind of exception through at once."""


class SimulatedClickHouse:
    """The tables that loading and correcting use: inserts with tokens, and their queries."""

    embedded = starting = False
    settings = SimpleNamespace(keep_hits_days=0)

    def __init__(self, world: "World") -> None:
        self._world = world
        self._tokens: dict[tuple[str, str], None] = {}  # in order
        self._unsynced: list[Callable[[], None]] = []  # take back the parts of one insert
        self.tables: dict[str, list[Row]] = {}
        self.roll_up: Counter[tuple[int, str, str]] = Counter()  # newsletter, kind, verdict

    def insert(self, table: str, lines: bytes, token: str) -> None:
        """Store rows in steps, as ClickHouse does: the record of the insert is the first one.

        Rows of corrections are stored with their record: what a kill between these two takes is
        not promised (docs/architecture.md).
        """
        self._world.point(f"insert into {table}")
        if self._world.fails():
            raise StorageError("refused")
        self._unsynced = []
        if (table, token) not in self._tokens:
            rows = [_typed(json.loads(line)) for line in lines.splitlines()]
            corrects = any("sign" in row for row in rows)
            self._tokens[table, token] = None
            if not corrects:
                self._unsynced.append(lambda: self._forget((table, token)))
                self._world.point("after the record")
            if table == ROLL_UP.table:
                self._count(rows, "hits")
            else:
                self.tables.setdefault(table, []).extend(rows)
                if not corrects:
                    self._unsynced.append(lambda: self._take_back(table, rows))
            if table == "hits":
                if not corrects:
                    self._world.point("before the roll-up")
                self._count(rows, "sign")
                if not corrects:
                    self._unsynced.append(lambda: self._count(rows, "sign", -1))
        if self._world.fails():
            raise StorageError("the answer was lost")
        self._unsynced = []
        self._world.point(f"acknowledged {table}")

    def lose_power(self, chance: random.Random) -> None:
        """Forget records of inserts, and any parts of an insert that was not acknowledged."""
        for take_back in self._unsynced:
            if chance.random() < 0.5:
                take_back()
        self._unsynced = []
        for token in [*self._tokens]:
            if chance.random() < FORGOTTEN:
                self._forget(token)

    def _forget(self, token: tuple[str, str]) -> None:
        self._tokens.pop(token, None)

    def _take_back(self, table: str, rows: list[Row]) -> None:
        taken = {id(row) for row in rows}
        self.tables[table] = [row for row in self.tables[table] if id(row) not in taken]

    def _count(self, rows: list[Row], value: str, factor: int = 1) -> None:
        for row in rows:
            key = row["newsletter"], row["kind"], row["verdict"]
            self.roll_up[key] += factor * row.get(value, 1)

    def query(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        self._world.point("query")
        if self._world.fails():
            raise StorageError("refused")
        for name in ("settle_hits", "settle_messages", "settle_links"):
            if statement == sql(name):
                answer: list[Row] = getattr(self, f"_{name}")(parameters)
                return answer
        for table in ("newsletters", "newsletter_links", "link_places", "messages"):
            if statement == sql(f"stored_{table}"):
                return self._stored(table, parameters["keys"])
        for name in ("segments", "lines", "newsletters", "covered"):
            if statement == sql(f"verify_{name}"):
                return cast("list[Row]", getattr(self, f"_verify_{name}")(parameters))
        if statement == sql("event_newsletters"):
            return []
        if "FROM outcomes_by_message" in statement:
            return []  # nobody reports any
        if "min(minute)" in statement:
            return [{"first": self._first_ms() // 60_000 * 60}]
        assert "segment = {segment:UUID}" in statement, statement
        stored = [row for row in self.hits() if row["segment"] == parameters["segment"]]
        return [{"n": len(stored)}]

    def hits(self) -> list[Row]:
        """Returns the rows that are left when those that cancel each other are gone."""
        latest: dict[tuple[str, int], Row] = {}
        signs: Counter[tuple[str, int, int]] = Counter()
        for row in self.tables.get("hits", []):
            signs[row["segment"], row["line"], row.get("revision", 0)] += row.get("sign", 1)
        for row in self.tables.get("hits", []):
            key = row["segment"], row["line"]
            if row.get("sign", 1) == 1 and signs[*key, row.get("revision", 0)] > 0:
                latest[key] = row
        return [*latest.values()]

    def totals(self) -> Counter[tuple[str, int]]:
        """Returns the sum of signs by journal segment and line."""
        totals: Counter[tuple[str, int]] = Counter()
        for row in self.tables.get("hits", []):
            totals[row["segment"], row["line"]] += row.get("sign", 1)
        return totals

    def differing(
        self, _: Any, __: RollUp, ___: str, newsletters: Sequence[int], from_ms: int
    ) -> dict[int, int]:
        """Stands in for rollups.differing."""
        self._world.point("query")
        if from_ms > START_MS:  # nothing is covered, otherwise every hit of a world
            return {}
        lacking = {key: self._lacking(key) for key in newsletters}
        return {key: hash(frozenset(rows.items())) for key, rows in lacking.items() if rows}

    def differences(self, _: Any, __: RollUp, ___: str, newsletter: int, *____: int) -> Differences:
        """Stands in for rollups.differences."""
        lacking = self._lacking(newsletter)
        rows = [
            {"newsletter": newsletter, "kind": kind, "verdict": verdict, "hits": n}
            for (kind, verdict), n in sorted(lacking.items())
        ]
        return Differences(
            rows,
            sum(n for n in lacking.values() if n > 0),
            -sum(n for n in lacking.values() if n < 0),
        )

    def _lacking(self, newsletter: int) -> dict[tuple[str, str], int]:
        lacking: Counter[tuple[str, str]] = Counter()
        for row in self.tables.get("hits", []):
            if row["newsletter"] == newsletter:
                lacking[row["kind"], row["verdict"]] += row.get("sign", 1)
        for (key, kind, verdict), n in self.roll_up.items():
            if key == newsletter:
                lacking[kind, verdict] -= n
        return {key: n for key, n in lacking.items() if n}

    def _first_ms(self) -> int:
        hits = self.tables.get("hits", [])
        return min((round(row["at"] * 1000) for row in hits), default=0)

    def _verify_covered(self, _: Mapping[str, Any]) -> list[Row]:
        stored = self._first_ms()
        return [{"stored_ms": stored, "counted_ms": START_MS if +self.roll_up else 0}]

    def _verify_segments(self, asked: Mapping[str, Any]) -> list[Row]:
        totals: Counter[tuple[str, int]] = Counter()
        revisions: Counter[tuple[str, int, int]] = Counter()
        corrected: Counter[str] = Counter()
        for row in self._around(asked):
            if row["segment"] in asked["segments"]:
                sign, revision = row.get("sign", 1), row.get("revision", 0)
                totals[row["segment"], row["line"]] += sign
                revisions[row["segment"], row["line"], revision] += sign
                corrected[row["segment"]] += revision * sign
        repeated = {(its, line) for (its, line, _), n in revisions.items() if n not in (0, 1)}
        return [
            {
                "segment": segment,
                "lines": sum(n > 0 for (its, _), n in totals.items() if its == segment),
                "wrong": sum(
                    n != 1 or (its, line) in repeated
                    for (its, line), n in totals.items()
                    if its == segment
                ),
                "corrections": corrected[segment],
            }
            for segment in sorted({segment for segment, _ in totals})
        ]

    def _verify_lines(self, asked: Mapping[str, Any]) -> list[Row]:
        totals: Counter[bytes] = Counter()
        for row in self._around(asked):
            if row["segment"] == asked["segment"]:
                whole = {"revision": 0, **_DEFAULTS, **row, "at_ms": round(row["at"] * 1000)}
                sign = whole.pop("sign", 1)
                del whole["at"]
                totals[msgspec.json.encode(whole, order="sorted")] += sign
        return [_typed({**msgspec.json.decode(row), "total": n}) for row, n in totals.items() if n]

    def _stored(self, table: str, keys: Sequence[Any]) -> list[Row]:
        columns = ("newsletter", *KEYS[table])
        wanted = {str(key if len(columns) > 1 else (key,)) for key in keys}
        return [
            row
            for row in self.tables.get(table, [])
            if str(tuple(plain(row.get(column, 0)) for column in columns)) in wanted
        ]

    def _around(self, asked: Mapping[str, Any]) -> Iterator[Row]:
        for row in self.tables.get("hits", []):
            at = round(row["at"] * 1000)
            if (
                row["newsletter"] in asked["newsletters"]
                and asked["from_ms"] <= at <= asked["to_ms"]
            ):
                yield row

    def _verify_newsletters(self, _: Mapping[str, Any]) -> list[Row]:
        stored: Counter[int] = Counter()
        for row in self.tables.get("hits", []):
            stored[row["newsletter"]] += row.get("sign", 1)
        for key in self.roll_up:
            stored[key[0]] += 0
        return [
            {"workspace": "default", "newsletter": newsletter, "hits": n}
            for newsletter, n in sorted(stored.items())
        ]

    def _settle_hits(self, asked: Mapping[str, Any]) -> list[Row]:
        wanted = {str(uuid.UUID(str(message))) for message in asked["messages"]}
        rows = [
            {"revision": 0, **_DEFAULTS, **row, "at_ms": round(row["at"] * 1000)}
            for row in self.hits()
            if row["newsletter"] in asked["newsletters"] and str(row["message"]) in wanted
        ]
        inside = [
            row
            for row in rows
            if asked["from_ms"] <= row["at_ms"] < asked["to_ms"] and row["recipient"]
        ]
        for row in inside:
            del row["at"]
            row.pop("sign", None)
        key = "newsletter", "message", "at_ms", "segment", "line"
        return sorted(inside, key=lambda row: tuple(row[name] for name in key))

    def _settle_messages(self, asked: Mapping[str, Any]) -> list[Row]:
        by_message: dict[uuid.UUID, list[Row]] = {}
        for row in self.tables.get("hits", []):
            at = round(row["at"] * 1000)
            if (
                row["newsletter"] in asked["newsletters"]
                and asked["near_from_ms"] <= at < asked["near_to_ms"]
            ):
                by_message.setdefault(row["message"], []).append({**row, "at_ms": at})
        found = []
        for message, rows in sorted(by_message.items()):
            clicks = sum(row["kind"] == "click" for row in rows)
            scanned = any(row["verdict"] == "scanner" for row in rows)
            recent = any(asked["from_ms"] <= row["at_ms"] <= asked["to_ms"] for row in rows)
            if recent and (clicks > 1 or (clicks and scanned)):
                found.append({"message": message})
        return found

    def _settle_links(self, asked: Mapping[str, Any]) -> list[Row]:
        wanted = {str(uuid.UUID(str(message))) for message in asked["messages"]}
        return [
            {"message": row["message"], "carried": row["links"]}
            for row in self.tables.get("messages", [])
            if str(row["message"]) in wanted and row.get("links")
        ]


_DEFAULTS: Row = {
    "variant": 0,
    "address": "",
    "user_agent": "",
    "purpose": "",
    "fetch_mode": "",
    "asn": 0,
    "country": "",
    "reasons": [],
    "client": "",
    "os": "",
    "device": "",
    "mode": 0,
    "link_key": 0,
    "family": 0,
    "detail": 0,
    "url": "",
}


def _typed(row: Row) -> Row:
    return {**row, "message": uuid.UUID(row["message"])} if "message" in row else row


class Process(NamedTuple):
    """The parts of the service from one boot to its end; `other` is a second loader."""

    loop: asyncio.AbstractEventLoop
    journal: Journal
    feed: Feed
    loader: Loader
    other: Loader
    corrections: Corrections
    verifier: Verifier


class World:
    """One history. `run()` lives through it, and raises AssertionError if a promise is broken."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._random, self._folder = random.Random(seed), folder
        self._now_ms, self._dead, self._calm = START_MS, False, False
        self.crashes = self.power_failures = 0
        self._process: Process | None = None
        self.database = SimulatedClickHouse(self)
        self._sent: dict[str, Message] = {}  # by message
        self._answered: Counter[tuple[str, int]] = Counter()  # hits by message and time
        self._tried: set[tuple[str, int]] = set()
        self._recorded: list[str] = []  # messages
        self._read: dict[bool, list[Event]] = {False: [], True: []}  # by `settled`
        self._cursors = {False: Cursor(), True: Cursor()}
        shadow = folder / "shadow"
        shadow.mkdir()
        self._disk = SimulatedDisk(folder / "journal", shadow)
        # What a power failure may take: hits that were answered, and messages, before a sync.
        self._unsynced: list[tuple[str, int] | str] = []

    @property
    def _alive(self) -> "Process":
        assert self._process
        return self._process

    def point(self, _: str) -> None:
        """Die here, perhaps."""
        if not self._calm and not self._dead and self._random.random() < CRASHES:
            self._dead = True
            self.crashes += 1
            raise Crash

    def fails(self) -> bool:
        return not self._calm and self._random.random() < FAILURES

    def run(self) -> None:
        """Live through boots until the history ends; then let everything settle, and check."""
        gc.freeze()  # what is older than this world need not be looked at, see `_boot`
        try:
            self._run()
        finally:
            gc.unfreeze()
        self._check()

    def _run(self) -> None:
        with self._simulated():
            for _ in range(self._random.randint(2, 6)):
                self._boot(lambda: self._live(self._random.randint(5, 25)))
                if self._crashed and self._random.random() < POWER_FAILURES:
                    self._lose_power()
            self._calm = True
            for _ in range(3):
                self._boot(self._settle)

    def _lose_power(self) -> None:
        self.power_failures += 1
        self._disk.fail(self._random)
        self.database.lose_power(self._random)
        for lost in self._unsynced:
            if isinstance(lost, str):
                self._recorded.remove(lost)
            else:
                self._answered[lost] -= 1
        self._answered = +self._answered
        self._unsynced = []

    @contextmanager
    def _simulated(self) -> Iterator[None]:
        """Replace the clock, threads, random bytes, and what changes files."""

        async def in_place(work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
            return work(*args, **kwargs)

        with ExitStack() as stack:
            for target, value in (
                ("app.model.ids.now_ms", self._clock),
                ("app.model.ids.os.urandom", self._random.randbytes),
                ("secrets.randbelow", self._random.randrange),
                ("asyncio.to_thread", in_place),
                ("os.write", self._write),
                ("app.ingest.verification.ROLL_UPS", (ROLL_UP,)),
                ("app.storage.rollups.differing", self.database.differing),
                ("app.storage.rollups.differences", self.database.differences),
                ("app.ingest.verification.OTHER_HOSTS_SECONDS", 0),
                ("app.storage.carried_links.differences", lambda *_: {}),  # not simulated
                *((f"os.{name}", self._mortal(getattr(os, name))) for name in _OF_OS),
                *(
                    (f"pathlib.Path.{name}", self._mortal(getattr(Path, name)))
                    for name in ("rename", "replace", "unlink")
                ),
            ):
                stack.enter_context(mock.patch(target, value))
            yield

    def _clock(self) -> int:
        self._now_ms += 1
        return self._now_ms

    def _mortal(self, work: Callable[..., T]) -> Callable[..., T | None]:
        def mortal(*args: Any, **kwargs: Any) -> T | None:
            if self._dead:
                return None
            self.point(work.__name__)
            result = work(*args, **kwargs)
            if work in _SYNCS:
                self._disk.synced(args[0])
            else:
                self._disk.changed()
            return result

        return mortal

    def _write(self, fd: int, data: bytes) -> int:
        if self._dead:
            return len(data)
        try:
            self.point("write")
        except Crash:
            _os_write(fd, data[: self._random.randrange(len(data))])
            raise
        return _os_write(fd, data)

    def _boot(self, life: Callable[[], Any]) -> None:
        """Start the parts, live, and stop: orderly, or by a crash."""
        self._dead, self._crashed = False, False
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        state = open_state(self._folder)
        event.listen(state, "commit", lambda _: self.point("commit"))
        folder = self._folder / "journal"
        database = cast("Storage", self.database)
        try:
            feed, register = Feed(state), SegmentRegister(state, 24, 2**30)
            journal = Journal(folder, sync_ms=self._random.choice([0, 100]))
            loader, other = (
                Loader(folder, database, feed=feed, register=register, https=_https)
                for _ in range(2)
            )
            corrections = Corrections(folder, database, feed=feed, https=_https)
            verifications = Verifications(state)
            verifier = Verifier(database, loader, corrections, register, feed, verifications)
            self._process = Process(loop, journal, feed, loader, other, corrections, verifier)
            del journal, loader, other, corrections, verifier
            life()
            loop.run_until_complete(self._alive.journal.close())
            self._unsynced = []
        except Crash:
            self._crashed = True
        finally:
            self._dead = True
            loop.close()
            self._process = None
            _close_files(folder)
            gc.collect()  # what was suspended ends now, while nothing of it reaches the disk
            state.dispose()

    def _live(self, steps: int) -> None:
        actions = [
            *(self._mail, self._hit, self._sweep, self._sweep, self._seal, self._load),
            *(self._load_elsewhere, self._correct, self._correct, self._read_some, self._verify),
        ]
        for _ in range(steps):
            self._now_ms += self._random.choice([1, 20, 700, 2_500])
            with suppress(StorageError, OSError):  # the service tries again later
                self._random.choice(actions)()

    def _settle(self) -> None:
        self._seal()
        for path in (self._folder / "journal").glob("*"):
            assert not path.name.endswith(".bad"), path
        self._alive.loader.load_all()
        self._correct()
        self._alive.verifier.verify(repair=True)
        self._correct()  # hits that were restored may change the verdicts on others
        self._read_some()
        found = self._alive.verifier.verify().differences
        assert not found, found

    def _mail(self) -> None:
        message = new_id().hex()
        links = self._random.choice([1, 2, 5, 12])
        record = Message(
            self._clock(),
            "default",
            self._random.choice(NEWSLETTERS),
            message,
            7,
            "a@example.com",
            links=links,
        )
        self._sent[message] = record
        self._put(encode(record))
        self._recorded.append(message)
        if self._alive.journal.sync_ms:
            self._unsynced.append(message)

    def _put(self, line: bytes) -> None:
        async def put() -> None:
            await self._alive.journal.write(line)

        self._alive.loop.run_until_complete(put())

    def _hit(self) -> None:
        if self._sent:
            message = self._random.choice([*self._sent])
            self._request(message, self._random.choice(AGENTS))

    def _request(self, message: str, agent: str, position: int | None = None) -> None:
        mail = self._sent[message]
        kind: Literal["open", "click"] = "click"
        if position is None and self._random.random() < 0.3:
            kind = "open"
        place = self._random.randrange(mail.links) if position is None else position
        hit = Hit(
            kind=kind,
            at=self._clock(),
            workspace="default",
            newsletter=mail.newsletter,
            message=message,
            recipient=7,
            address=f"192.0.2.{self._random.randrange(1, 5)}",
            user_agent=agent,
            fetch_mode=self._random.choice(["", "navigate"]) if agent == AGENTS[0] else "",
        )
        if kind == "click":
            hit = _with_link(hit, place)
        self._tried.add((message, hit.at))
        self._put(encode(hit))
        self._answered[message, hit.at] += 1
        if self._alive.journal.sync_ms:
            self._unsynced.append((message, hit.at))

    def _sweep(self) -> None:
        """A scanner follows every link of a mail; each click alone looks like a person's."""
        if self._sent:
            message = self._random.choice([*self._sent])
            for position in range(self._sent[message].links):
                self._request(message, SCANNER, position)

    def _seal(self) -> None:
        async def seal() -> None:
            self._alive.journal._retire()
            while self._alive.journal._syncing:
                await self._alive.journal._syncing

        self._alive.loop.run_until_complete(seal())
        self._unsynced = []

    def _verify(self) -> None:
        self._alive.verifier.verify_loaded()

    def _load(self) -> None:
        self._alive.loader.load_all()

    def _load_elsewhere(self) -> None:
        self._alive.other.load_all()

    def _correct(self) -> None:
        self._alive.corrections.reclassify_recent(after=-1)

    def _read_some(self) -> None:
        for settled in (False, True):
            events, following = self._alive.feed.after(
                self._cursors[settled], "default", 10_000, settled
            )
            self._read[settled] += events
            self._cursors[settled] = following

    def _check(self) -> None:
        names = [path.name for path in (self._folder / "journal").iterdir()]
        assert not [name for name in names if name.endswith((OPEN, SEALED, DONE, FIX))], names
        rows = self.database.hits()
        stored = Counter((row["message"].hex, round(row["at"] * 1000)) for row in rows)
        for hit in self._answered:
            assert stored[hit] == 1, f"an answered hit is stored {stored[hit]} times"
        assert set(stored) <= self._tried and set(stored.values()) <= {1}
        assert set(self.database.totals().values()) <= {1}, "a hit is counted more than once"
        counted = Counter((row["newsletter"], row["kind"], row["verdict"]) for row in rows)
        assert +self.database.roll_up == counted, "a roll-up differs from the hits"
        assert min(self.database.roll_up.values(), default=0) >= 0
        messages = Counter(row["message"].hex for row in self.database.tables.get("messages", []))
        assert all(messages[message] == 1 for message in self._recorded)
        assert set(messages.values()) <= {1}
        self._check_verdicts(rows)
        verdicts = {(row["message"].hex, round(row["at"] * 1000)): row["verdict"] for row in rows}
        for settled, events in self._read.items():
            known: dict[tuple[str, int], str] = {}
            for one in events:
                key = uuid.UUID(one.row.message).hex, round(one.row.at * 1000)
                if one.type == "event.reclassified":
                    assert key in known, "a change came before what it changes"
                else:
                    assert key not in known, f"an event came twice, settled: {settled}"
                known[key] = one.row.verdict
            assert known == verdicts, f"the feed differs from the hits, settled: {settled}"
            assert len({one.id for one in events}) == len(events)

    def _check_verdicts(self, rows: list[Row]) -> None:
        """Compare with the verdicts on all hits of each message at once."""
        by_message: dict[str, list[Row]] = {}
        for row in sorted(rows, key=lambda row: (row["at"], row["segment"], row["line"])):
            by_message.setdefault(row["message"].hex, []).append(row)
        carried = {
            row["message"].hex: row.get("links", 0)
            for row in self.database.tables.get("messages", [])
        }
        for message, its_rows in by_message.items():
            hits = [_hit_of({**_DEFAULTS, **row}) for row in its_rows]
            judged = classify_message(hits, None, True, carried.get(message, 0))
            for row, verdict in zip(its_rows, judged, strict=True):
                assert row["verdict"] == verdict.verdict, (message, row, verdict)


def _https(_: str) -> bool:
    return True


def _hit_of(row: Row) -> Hit:
    names = [
        *("kind", "workspace", "newsletter", "recipient", "position", "url", "variant"),
        *("method", "address", "user_agent", "purpose", "fetch_mode", "mode"),
    ]
    values = {name: row[name] for name in names if name in row}
    return Hit(at=round(row["at"] * 1000), message=row["message"].hex, **values)


def _with_link(hit: Hit, position: int) -> Hit:
    url = f"https://e.example/{position}"
    return replace(hit, position=position, url=url, link=position + 1, detail=0)


def _close_files(folder: Path) -> None:
    """Close what a dead process had open, as the kernel does."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder of this loop itself
            if link.readlink().is_relative_to(folder):
                os.close(int(link.name))


_os_write = os.write
_OF_OS = ("fsync", "fdatasync", "ftruncate", "link")
_SYNCS = (os.fsync, os.fdatasync)
