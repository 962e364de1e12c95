"""Loads sealed journal segments into ClickHouse, with one insert per table and segment.

A journal segment's id is the insert's deduplication token and its bytes determine the rows, so
loading it twice changes nothing. The one exception: lines about a person who was erased meanwhile
are loaded without a recipient. A journal segment is deleted only after ClickHouse has acknowledged
every insert. Before that, the messages it touched are noted for `corrections`, its hits are
appended to the feed, and the rest of it is kept in the register: each of them on the disk. A
journal segment that was begun before is doubtful: `verification` compares it with ClickHouse at
once.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from app.events.feed import PLAIN, UNSETTLED, Feed
from app.files import locked
from app.ingest.fetch_metadata import no_https
from app.ingest.networks import Networks
from app.ingest.rows import TABLES, Rows, rows
from app.ingest.touched import may_change, origin, spans_of, touch
from app.model.ids import sent_at
from app.outcomes.loading import TABLE as OUTCOMES
from app.outcomes.loading import OutcomeLoader
from app.storage import journal_segments, set_aside
from app.storage.clickhouse import Storage, StorageError
from app.storage.clickhouse_schema import migrated_at, prepare
from app.storage.disk import DiskReserve
from app.storage.segment_register import SegmentRegister
from app.storage.set_aside import SetAsideError
from app.storage.stored_rows import absent

T = TypeVar("T")
log = logging.getLogger(__name__)

LOCK = "loading.lock"  # loaders share it
POLL_SECONDS = 0.1  # between looks for sealed journal segments
ADOPT_SECONDS = 10.0  # between looks for journal segments of killed processes
ROOM_BYTES = 48 * 2**20  # of free disk, for merges of the embedded engine
ROOM_FACTOR = 4  # times a journal segment, whose rows are in a temporary file, too
DRAIN_SECONDS = 2.0  # for which a stop waits for what is sealed
PROGRESS_SECONDS = 10.0  # between lines of the log while a backlog is loaded
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 30.0  # doubled at each failure, with jitter
_STORED = "SELECT count() AS n FROM hits FINAL WHERE segment = {segment:UUID}"


class Loader:
    """Loads every sealed journal segment in `folder`; several loaders may share one folder.

    `secret` is the key of pseudonyms, which is needed for hits in mode pseudonymous. `https` says
    whether a workspace's links are https.
    """

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        networks: Networks | None = None,
        feed: Feed | None = None,
        secret: str = "",
        https: Callable[[str], bool] = no_https,
        register: SegmentRegister | None = None,
        outcomes: OutcomeLoader | None = None,
    ) -> None:
        self.folder = folder
        self.outcomes = outcomes or OutcomeLoader(folder, storage, feed=feed)
        self.register = register
        self._secret = secret
        self._https = https
        self.feed = feed
        self.storage = storage
        self.networks = networks
        self.origin = origin(folder)
        self.trouble = ""  # why the last attempt failed; empty after a success
        self.doubtful = 0  # journal segments that were loaded though an attempt had begun before
        self.loaded = 0  # lines that ClickHouse has acknowledged
        self.unreadable = 0  # lines that are not records; they are left out and counted
        self.damaged = 0  # journal segments whose checksum was wrong
        self.ready = False  # whether the tables exist and are current
        self._migrated_at = 0.0
        # Called with the duration whenever a journal segment was loaded.
        self.on_load: Callable[[float], object] = lambda seconds: None
        self._adopted_at = time.monotonic()
        self._stopping = asyncio.Event()

    async def run(self, loads: bool = True) -> None:
        """Migrate, then load until `stop()`. Waits, never raises, while ClickHouse is unavailable.

        Without `loads` another process loads, and this one only waits for the tables.
        """
        pause_seconds = FIRST_RETRY_SECONDS
        while not self._stopping.is_set():
            try:
                if not self.ready:
                    await asyncio.to_thread(prepare, self.storage)
                    migrated = await asyncio.to_thread(migrated_at, self.storage)
                    self._migrated_at = min(migrated, time.time())  # the clock may have been wrong
                    self.ready = True
                    self.storage.starting = False
                    self.trouble = ""
                if not loads:
                    return
                loaded = await asyncio.to_thread(self.load_all, self._stopping.is_set)
                self.trouble = ""  # also if another process has loaded everything
                if not loaded:
                    await self._wait(POLL_SECONDS)
                pause_seconds = FIRST_RETRY_SECONDS
            except (StorageError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("loading is waiting for ClickHouse: %s", error)
                self.trouble = str(error)
                self.storage.starting = False  # it is not the start that takes its time
                await self._wait(pause_seconds * random.uniform(0.5, 1))  # noqa: S311
                pause_seconds = min(pause_seconds * 2, LAST_RETRY_SECONDS)

    def stop(self) -> None:
        """Let `run()` end after the current journal segment."""
        self._stopping.set()

    async def drain(self) -> None:
        """Load what is sealed for DRAIN_SECONDS, at a stop; the rest waits for the next start."""
        end = time.monotonic() + DRAIN_SECONDS
        try:
            if self.ready:
                await asyncio.to_thread(self.load_all, lambda: time.monotonic() > end)
        except (StorageError, OSError) as error:
            log.warning("not loaded now, left in the journal for the next start: %s", error)
        if left := len(journal_segments.sealed(self.folder)):
            log.info("%d journal segments wait for the next start", left)

    def load_all(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Load sealed journal segments, the oldest first, until `stopped`; returns how many lines.

        Raises StorageError.
        """
        if time.monotonic() - self._adopted_at > ADOPT_SECONDS:
            journal_segments.adopt_orphans(self.folder)
            self._adopted_at = time.monotonic()
        waiting, count = journal_segments.sealed(self.folder), 0
        shown_at = time.monotonic()
        for number, path in enumerate(waiting):
            if stopped():
                break
            count += self._load_shared(path)
            if time.monotonic() - shown_at > PROGRESS_SECONDS:
                shown_at = time.monotonic()
                log.info("loaded %d of %d waiting journal segments", number + 1, len(waiting))
        return count

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Load what is sealed, then prevent loading in this or another process meanwhile.

        No journal segment is then half loaded. Raises StorageError.
        """
        self.load_all()  # most of it before the lock is exclusive
        with locked(self.folder / LOCK):
            for path in journal_segments.sealed(self.folder):
                self.load(path)
            yield

    def _load_shared(self, path: Path) -> int:
        with locked(self.folder / LOCK, shared=True):
            return self.load(path)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def load(self, path: Path) -> int:
        """Load one journal segment and delete it; returns how many lines.

        Returns 0 when another loader has it. Raises StorageError.
        """
        with journal_segments.claim(path) as fd:
            if fd is None:
                return 0
            self._check_room(path)
            start = time.perf_counter()
            erasures = self.feed.erasures if self.feed else None
            if erasures:
                erasures.refresh()
            content, sound = journal_segments.without_footer(path.read_bytes())
            if not sound:
                self.damaged += 1
                log.error("journal segment %s is damaged: its checksum is wrong", path.stem)
            parsed = rows(
                content,
                path.stem,
                self.origin,
                self.networks,
                erasures,
                self._secret,
                self._https,
            )
            if parsed.unreadable:
                log.error(
                    "journal segment %s: %d lines are not valid records",
                    path.stem,
                    len(parsed.unreadable),
                )
                self._set_aside(set_aside.keep, path, parsed.unreadable)
            if not sound:
                self._set_aside(set_aside.keep_damaged, path, content)
            doubtful = self._begin(path.stem, parsed)
            if not self._was_migrated(path.stem, len(parsed.hits)):
                tables = self._not_stored(parsed.tables) if doubtful else parsed.tables
                for table in TABLES:
                    if tables[table]:
                        self.storage.insert(table, tables[table], path.stem)
            # The feed first: what is noted as touched can then be settled there.
            if self.feed and parsed.hits:
                stage = UNSETTLED if may_change(parsed.hits) else PLAIN
                self.feed.append(path.stem, parsed.tables["hits"], parsed.erased, stage)
            touch(self.folder, path.stem, parsed.hits)
            outcomes = self.outcomes.load(path.stem, parsed.outcomes)
            if self.register:
                kept = {table: parsed.tables[table] for table in TABLES if table != "hits"}
                kept[OUTCOMES] = outcomes
                self.register.acknowledge(path.stem, kept)
            path.unlink()
        self.on_load(time.perf_counter() - start)
        self.trouble = ""
        self.doubtful += doubtful
        self.loaded += parsed.records
        self.unreadable += len(parsed.unreadable)
        return parsed.records

    def _check_room(self, path: Path) -> None:
        """Raises StorageError while the embedded engine may not have the disk that it needs.

        It has acknowledged inserts whose writes failed, so none is begun then.
        """
        if not self.storage.embedded:
            return
        free = DiskReserve(self.folder, 0).free_bytes
        needed = ROOM_BYTES + ROOM_FACTOR * path.stat().st_size
        if free < needed:
            raise StorageError(
                f"loading needs {needed // 2**20:,} MB of free disk, and {free // 2**20:,} are"
            )

    def _set_aside(self, keep: Callable[[Path, T], None], path: Path, what: T) -> None:
        """Keep what cannot be loaded. Raises StorageError when too much of it is kept already."""
        try:
            keep(path, what)
        except SetAsideError as error:
            raise StorageError(str(error)) from None

    def _begin(self, segment_id: str, parsed: Rows) -> bool:
        """Enter a journal segment into the register; returns whether it is doubtful.

        One from before the last migration is: an earlier version may have begun to load it.
        """
        if not self.register:
            return False
        spans = msgspec.json.encode(spans_of(parsed.hits))
        earlier = sent_at(segment_id.replace("-", "")) / 1000 <= self._migrated_at
        lines = parsed.records + len(parsed.unreadable)
        return self.register.begin(segment_id, lines, len(parsed.hits), spans, earlier)

    def _not_stored(self, tables: dict[str, bytes]) -> dict[str, bytes]:
        """Returns the rows of a doubtful journal segment without what must not be doubled.

        A power failure may take an insert's deduplication record and leave its rows. Doubled hits
        are taken back by `verification`; doubled messages, and how many carried a link, could not
        be. These numbers are inserted before the messages.
        """
        messages = [msgspec.json.decode(line) for line in tables["messages"].splitlines()]
        lacking = absent(self.storage, "messages", messages)
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in lacking)
        carried = tables["link_carried"] if len(lacking) == len(messages) else b""
        return {**tables, "messages": lines, "link_carried": carried}

    def _was_migrated(self, segment_id: str, hits: int) -> bool:
        """Returns whether a journal segment was already inserted before the last migration.

        A roll-up that a migration builds from stored hits does not deduplicate earlier inserts:
        loading the same journal segment again would count its hits twice there. Roll-ups that lack
        its hits, because the insert was cut off, are repaired by `verification`.
        """
        if not hits or sent_at(segment_id.replace("-", "")) / 1000 > self._migrated_at:
            return False
        return int(self.storage.query(_STORED, {"segment": segment_id})[0]["n"]) == hits
