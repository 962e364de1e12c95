"""The journal: append-only segments of JSON lines, a write-ahead log of what goes to ClickHouse.

Lines of one turn of the event loop are written together, before the requests are answered, so
killing the process loses nothing. `sync_ms` bounds what a power loss may lose. Everything here runs
on the event loop's thread, except fdatasync. Only the writer itself rotates journal segments, so no
line is ever written to a closed one.
"""

import asyncio
import fcntl
import logging
import os
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import NamedTuple

from app.files import sync_folder
from app.model.ids import new_id
from app.storage.journal_segments import (
    OPEN,
    PARTIAL,
    SEALED,
    adopt_orphans,
    begun_at,
    footer,
    lines_of,
    sealed,
    waiting_segments,
)
from app.tasks import Tasks

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 1024 * 1024  # one insert's worth: about 50,000 hits
SEAL_AFTER_SECONDS = 0.4  # a line waits at most so long in a quiet journal; stats promise 2 in all
SEAL_PERIOD_SECONDS = 1.0  # between two seals while lines keep coming: an insert has a fixed cost
QUEUED_SEGMENTS = 4  # while so many sealed ones wait, the open one may grow to SEGMENT_BYTES
HIT_SHARE = 0.9  # of the largest journal: above it only hits are accepted
RETRY_SECONDS = 1.0  # between attempts to write to a disk that failed


class JournalError(Exception):
    """Lines could not be written: `reason` is disk_full, disk_error, disk_cap or closed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Lag(NamedTuple):
    """How much waits for ClickHouse; `seconds` is the age of the oldest journal segment."""

    segments: int
    bytes: int
    lines: int
    seconds: float


class _Segment:
    """One open journal segment, locked by this process."""

    def __init__(self, folder: Path) -> None:
        self.id = str(uuid.UUID(bytes=new_id()))
        self.path = folder / (self.id + OPEN)
        partial = folder / (self.id + PARTIAL)
        self.fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            # Locked before it gets the suffix by which other processes look for orphans.
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.rename(self.path)
        except OSError:
            os.close(self.fd)
            raise
        self.size = 0
        self.since = time.monotonic()
        self.synced = 0
        self._lines, self._crc = 0, 0
        self._named = False  # whether its name is on the disk
        self._ended = False
        self.broken = False  # whether fdatasync has failed

    def write(self, data: bytes) -> None:
        """Write all of `data` or nothing: a partial write is cut off before OSError is raised."""
        try:
            written = os.write(self.fd, data)
            while written < len(data):
                written += os.write(self.fd, data[written:])
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += len(data)
        self._lines += data.count(b"\n")
        self._crc = zlib.crc32(data, self._crc)

    def end(self) -> None:
        """Write the footer, after which no line follows; without room for it there is none."""
        if self.size and not self._ended and not self.broken:
            self._ended = True
            with suppress(OSError):
                self.write(footer(self._lines, self._crc))

    def sync(self) -> int:
        """Run fdatasync; returns how many bytes are then on the disk. Call it in a thread.

        The file's name is put on the disk too, once: fdatasync does not (fsync(2)).
        """
        size = self.size
        os.fdatasync(self.fd)
        if not self._named:
            sync_folder(self.path.parent)
            self._named = True
        return size

    def seal(self) -> None:
        """Give the file its final name and close it; an empty file is removed.

        A file that cannot be renamed is closed as well: as an orphan it is adopted later.
        """
        try:
            if self.size:
                self.path.rename(self.path.with_suffix(SEALED))
            else:
                self.path.unlink()
        finally:
            os.close(self.fd)


class _Turn(asyncio.Future[None]):
    """Resolves when the lines of one turn of the event loop are written.

    All writers of these lines await the same future, so none of them may cancel it. A task that is
    cancelled ends once the lines are written.
    """

    def cancel(self, msg: object = None) -> bool:
        return False


class Journal:
    """Writes records before their requests are answered.

    Call `start()` on a running loop, and `close()` at the end. `folder` is created (0700) where it
    is missing. Raises JournalError when it cannot be used.
    """

    def __init__(self, folder: Path, sync_ms: int = 100, max_bytes: int = 10 * 2**30) -> None:
        self.folder = folder
        self.sync_ms = sync_ms
        self.max_bytes = max_bytes
        # A thread of its own: answers that wait for the disk wait for nothing else.
        self._syncer = ThreadPoolExecutor(1, "journal")
        self._unwritten = ""  # why the last lines could not be written; empty after a success
        self._unsafe = ""  # why the last fdatasync failed; empty after a success
        self._segment: _Segment | None = None
        self._retired: set[_Segment] = set()
        self._backlog_bytes = 0
        self._backlog = 0
        self._counted: dict[str, int] = {}  # lines of sealed journal segments, by file name
        self._refused_at = -RETRY_SECONDS
        self._refusal = JournalError("closed", "journal: closed")
        self._lines: list[bytes] = []  # of this turn of the loop
        self._turn: _Turn | None = None
        self._unsynced: list[_Turn] = []
        self._syncing: asyncio.Task[None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False
        self._sealed_at = -SEAL_PERIOD_SECONDS  # when the last one was sealed because it was due
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            adopt_orphans(folder)
            self._count_backlog()
        except OSError as error:
            raise JournalError("disk_error", f"journal {folder}: {error.strerror}") from error

    def start(self, tasks: Tasks) -> None:
        """Start syncing and sealing periodically. Call it on the running loop."""
        self._ticker = tasks.start("journal", self._tick)

    def write(self, lines: bytes) -> asyncio.Future[None]:
        """Write one or more whole lines. Call it on the running loop.

        Once the returned future is done, the lines survive the process, and with `sync_ms` 0 a
        power loss too. This call or the future raises JournalError when the disk is full or
        broken: then none of the lines is kept.
        """
        if self._segment is None:
            self._check()
        if self._turn is None:
            loop = asyncio.get_running_loop()
            self._turn = _Turn(loop=loop)
            loop.call_soon(self._flush)
        self._lines.append(lines)
        return self._turn

    def _flush(self) -> None:
        """Write all lines of this turn at once."""
        data, turn = b"".join(self._lines), self._turn
        self._lines, self._turn = [], None
        if turn is None:
            return
        try:
            segment = self._segment or self._begin()
            if segment.size + len(data) + self._backlog_bytes > self.max_bytes:
                raise self._refuse("disk_cap", "has reached MAILWAKE_JOURNAL_MAX_MB")
            try:
                segment.write(data)
            except OSError as error:
                self._retire()
                raise self._record_failure(error) from error
        except JournalError as error:
            turn.set_exception(error)
            return
        self._unwritten = ""
        if self.sync_ms == 0:
            self._unsynced.append(turn)
            self._start_sync()
        else:
            turn.set_result(None)
        if segment.size >= SEGMENT_BYTES:
            self._retire()

    async def close(self) -> None:
        """Sync and seal the open journal segment; nothing may be written afterwards."""
        self._flush()
        self._closed = True
        if self._ticker:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker
        self._retire()
        while self._retired or self._syncing:
            await (self._syncing or asyncio.sleep(0.01))

    @property
    def trouble(self) -> str:
        """Returns what is wrong with the disk; empty if nothing is."""
        return self._unwritten or self._unsafe

    @property
    def backlog(self) -> tuple[int, int]:
        """Returns how many journal segments and bytes wait for ClickHouse, open ones included."""
        own = [*self._retired, *([self._segment] if self._segment else [])]
        sizes = [segment.size for segment in own if segment.size]
        return self._backlog + len(sizes), self._backlog_bytes + sum(sizes)

    def check_room(self) -> None:
        """Raises JournalError if the journal's last part is reserved: it is for hits."""
        if self.backlog[1] > HIT_SHARE * self.max_bytes:
            raise JournalError(
                "disk_cap", "journal: is nearly full, and the rest of it is kept for hits"
            )

    def lag(self) -> Lag:
        """Measure the whole folder, journal segments of other processes included.

        Blocking: reads the journal segments that have no footer, to count their lines.
        """

        def measure(path: Path) -> tuple[int, int]:
            lines = self._counted.get(path.name)
            return path.stat().st_size, lines_of(path) if lines is None else lines

        seen = {path.name: sizes for path, sizes in waiting_segments(self.folder, measure)}
        waiting = {name: sizes for name, sizes in seen.items() if sizes[0]}
        self._counted = {name: n for name, (_, n) in waiting.items() if name.endswith(SEALED)}
        sizes, counts = [size for size, _ in waiting.values()], [n for _, n in waiting.values()]
        age = max((time.time() - begun_at(name) for name in waiting), default=0.0)
        return Lag(len(waiting), sum(sizes), sum(counts), max(0.0, age))

    def _check(self) -> None:
        """Raises JournalError at once if it is already known that nothing can be written."""
        if self._closed:
            raise JournalError("closed", "journal: closed")
        if time.monotonic() - self._refused_at < RETRY_SECONDS:
            raise self._refusal

    def _begin(self) -> _Segment:
        self._check()
        try:
            self._segment = _Segment(self.folder)
        except OSError as error:
            raise self._record_failure(error) from error
        return self._segment

    def _record_failure(self, error: OSError) -> JournalError:
        self._refused_at = time.monotonic()
        reason = "disk_full" if error.errno in (ENOSPC, EDQUOT) else "disk_error"
        self._refusal = self._refuse(reason, error.strerror or str(error))
        return self._refusal

    def _refuse(self, reason: str, why: str) -> JournalError:
        if not self._unwritten:
            log.error("journal: %s", why)
        self._unwritten = f"journal: {why}"
        return JournalError(reason, self._unwritten)

    def _start_sync(self) -> None:
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())

    async def _sync(self) -> None:
        """Run one fdatasync for all lines written so far; later lines get the next one."""
        try:
            while True:
                turns, self._unsynced = self._unsynced, []
                retired = list(self._retired)
                for segment in retired:
                    segment.end()
                for segment in [*retired, *([self._segment] if self._segment else [])]:
                    await self._put_on_disk(segment)
                for segment in retired:
                    self._seal(segment)
                for turn in turns:
                    turn.set_result(None)
                if not self._unsynced and not self._retired:
                    return
        finally:
            self._syncing = None

    async def _put_on_disk(self, segment: _Segment) -> None:
        """Sync one journal segment; after an error, stop writing to it.

        After a failed fdatasync the kernel discards what it could not write, so a second attempt
        would succeed without having written it. The lines are still in the page cache: the journal
        segment ends here and is loaded into ClickHouse from there.
        """
        if segment.size == segment.synced:
            return
        try:
            loop = asyncio.get_running_loop()
            segment.synced = await loop.run_in_executor(self._syncer, segment.sync)
            self._unsafe = ""
        except OSError as error:
            log.error("journal: fdatasync: %s", error.strerror)
            self._unsafe = f"journal: fdatasync: {error.strerror}"
            segment.synced, segment.broken = segment.size, True
            if segment is self._segment:
                self._retire()

    def _seal(self, segment: _Segment) -> None:
        self._retired.discard(segment)
        try:
            segment.seal()
            self._backlog += bool(segment.size)
            self._backlog_bytes += segment.size
        except OSError as error:  # the file keeps its .open name until a loader adopts it
            log.error("journal: cannot seal %s: %s", segment.id, error.strerror)

    def _retire(self) -> None:
        """Stop writing to the open journal segment; it is sealed once it is on the disk."""
        if self._segment is None:
            return
        self._retired.add(self._segment)
        self._segment = None
        self._start_sync()

    def _count_backlog(self) -> None:
        sizes = [entry.stat().st_size for entry in sealed(self.folder)]
        self._backlog, self._backlog_bytes = len(sizes), sum(sizes)

    async def _tick(self) -> None:
        pause = min(self.sync_ms / 1000 or SEAL_AFTER_SECONDS, SEAL_AFTER_SECONDS)
        while True:
            await asyncio.sleep(pause)
            try:
                self._count_backlog()
            except FileNotFoundError:
                pass  # the loader may delete files meanwhile
            except OSError as error:  # such as too many open files: what is written must be synced
                log.warning("journal: cannot list %s: %s", self.folder, error.strerror)
            segment, now = self._segment, time.monotonic()
            due = (
                segment
                and segment.size
                and now - segment.since >= SEAL_AFTER_SECONDS
                and now - self._sealed_at >= SEAL_PERIOD_SECONDS
            )
            if due and self._backlog < QUEUED_SEGMENTS:
                self._sealed_at = now
                self._retire()
            if segment and segment.size > segment.synced:
                self._start_sync()
