"""The loader: takes sealed segments to ClickHouse, one insert per table and segment.

A segment's id is the insert's deduplication token and its bytes decide the rows, so loading it
twice changes nothing; only what is about somebody erased meanwhile is loaded as nobody's. It is
deleted only after ClickHouse has acknowledged every insert; what its hits touched is noted first,
for `corrections` to settle, and the rows go into the feed.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.events.feed import Feed
from app.files import locked
from app.ingest.networks import Networks
from app.ingest.rows import (
    TABLES,
    rows,
)
from app.ingest.touched import origin, touch
from app.model.ids import sent_at
from app.storage import journal_masking, journal_segments
from app.storage.clickhouse import Storage, StorageError
from app.storage.clickhouse_schema import migrated_at, prepare

log = logging.getLogger(__name__)

LOCK = "loading.lock"  # shared by who loads
POLL_SECONDS = 0.1  # seconds between looks for sealed segments
ADOPT_SECONDS = 10.0  # seconds between looks for segments of killed processes
FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds; doubled at each failure, with jitter
_STORED = "SELECT count() AS n FROM hits FINAL WHERE segment = {segment:UUID}"


class Loader:
    """Loads whatever is sealed in `folder`; several loaders may share one folder.

    `secret` is the key of pseudonyms, without which none can be made.
    """

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        networks: Networks | None = None,
        feed: Feed | None = None,
        secret: str = "",
    ) -> None:
        self.folder = folder
        self._secret = secret
        self.feed = feed
        self.storage = storage
        self.networks = networks
        self.origin = origin(folder)
        self.trouble = ""  # why the last attempt failed; empty while all is well
        self.loaded = 0  # lines that ClickHouse has acknowledged
        self.unreadable = 0  # lines that are no record; they are left out and counted
        self.ready = False  # whether the tables are there
        self._migrated_at = 0.0
        self.on_load: Callable[[float], object] = lambda seconds: None  # a segment was loaded
        self._adopted_at = time.monotonic()
        self._stopping = asyncio.Event()

    async def run(self, loads: bool = True) -> None:
        """Migrate, then load until `stop()`. ClickHouse being away is waited out, never raised.

        Without `loads` another process loads: only the tables are waited for.
        """
        pause = FIRST_RETRY
        while not self._stopping.is_set():
            try:
                if not self.ready:
                    await asyncio.to_thread(prepare, self.storage)
                    self._migrated_at = await asyncio.to_thread(migrated_at, self.storage)
                    self.ready = True
                    self.trouble = ""
                if not loads:
                    return
                loaded = await asyncio.to_thread(self.load_all)
                self.trouble = ""  # nothing may be left because another process has loaded it
                if not loaded:
                    await self._wait(POLL_SECONDS)
                pause = FIRST_RETRY
            except (StorageError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("loading is waiting for ClickHouse: %s", error)
                self.trouble = str(error)
                await self._wait(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, LAST_RETRY)

    def stop(self) -> None:
        """Let `run()` end after the segment at hand."""
        self._stopping.set()

    async def drain(self) -> None:
        """Load what is sealed once more, at shutdown; what cannot be loaded stays for later."""
        try:
            if self.ready:
                await asyncio.to_thread(self.load_all)
        except (StorageError, OSError) as error:
            log.warning("not loaded now, left in the journal for the next start: %s", error)

    def load_all(self) -> int:
        """Load every sealed segment, oldest first; returns how many lines. Raises StorageError."""
        if time.monotonic() - self._adopted_at > ADOPT_SECONDS:
            journal_segments.adopt_orphans(self.folder)
            self._adopted_at = time.monotonic()
        return sum(self._load_shared(path) for path in journal_segments.sealed(self.folder))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No segment is loaded meanwhile, here or in another process, and none is half loaded.

        Raises StorageError.
        """
        self.load_all()  # most of it while others may load too
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
        """Load one segment and delete it; 0 when another loader has it. Raises StorageError."""
        with journal_segments.claim(path) as fd:
            if fd is None:
                return 0
            start = time.perf_counter()
            erasures = self.feed.erasures if self.feed else None
            if erasures:
                erasures.refresh()
            content = path.read_bytes()
            found = rows(content, path.stem, self.origin, self.networks, erasures, self._secret)
            if found.unreadable:
                log.error(
                    "journal segment %s: %d lines are not valid records",
                    path.stem,
                    found.unreadable,
                )
                path.with_suffix(".bad").write_bytes(journal_masking.masked(content))
            if not self._was_migrated(path.stem, len(found.hits)):
                for table in TABLES:
                    if found.tables[table]:
                        self.storage.insert(table, found.tables[table], path.stem)
            touch(self.folder, path.stem, found.hits)
            if self.feed and found.hits:
                self.feed.append(path.stem, found.tables["hits"], found.erased)
            path.unlink()
        self.on_load(time.perf_counter() - start)
        self.trouble = ""
        self.loaded += found.records
        self.unreadable += found.unreadable
        return found.records

    def _was_migrated(self, segment_id: str, hits: int) -> bool:
        """Whether a segment from before the last migration was inserted before it as well.

        A roll-up that a migration builds from the stored hits has no memory of inserts: there the
        same segment would count twice.
        """
        if not hits or sent_at(segment_id.replace("-", "")) / 1000 > self._migrated_at:
            return False
        return int(self.storage.query(_STORED, {"segment": segment_id})[0]["n"]) == hits
