"""The loader: takes sealed segments to ClickHouse, one insert per table and segment.

A segment's id is the insert's deduplication token and its bytes alone decide the rows, so loading
it twice changes nothing. It is deleted only after ClickHouse has acknowledged every insert.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec

from app import journal
from app.classify import RULES, classify
from app.events import Hit, Link, Newsletter, Record, decode
from app.storage import Storage, StorageError

log = logging.getLogger(__name__)

POLL = 0.1  # seconds between looks for sealed segments
ADOPT = 10.0  # seconds between looks for segments of killed processes
FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds; doubled at each failure, with jitter
TABLES = ("newsletters", "links", "messages", "events")  # what events refer to goes first

_encode = msgspec.json.Encoder(decimal_format="number").encode


class _Event(msgspec.Struct, omit_defaults=True):
    """A row of events; what the table fills in by itself is left out where it is empty."""

    workspace: str
    newsletter: int
    kind: str
    at: Decimal
    message: str
    recipient: int
    link: int
    method: str
    verdict: str
    rules: int
    segment: str
    line: int
    variant: int = 0
    address: str = ""
    user_agent: str = ""
    purpose: str = ""
    fetch_mode: str = ""
    reasons: tuple[str, ...] = ()
    client: str = ""
    os: str = ""
    device: str = ""


class Loader:
    """Loads whatever is sealed in `folder`; several loaders may share one folder."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.folder = folder
        self.storage = storage
        self.trouble = ""  # why the last attempt failed; empty while all is well
        self.loaded = 0  # lines that ClickHouse has acknowledged
        self.unreadable = 0  # lines that are no record; they are left out and counted
        self.ready = False  # whether the tables are there
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
                    await asyncio.to_thread(self.storage.migrate)
                    self.ready = True
                    self.trouble = ""
                if not loads:
                    return
                if not await asyncio.to_thread(self.load_all):
                    await self._wait(POLL)
                pause = FIRST_RETRY
            except (StorageError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("loading waits for ClickHouse: %s", error)
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
            log.warning("left in the journal for the next start: %s", error)

    def load_all(self) -> int:
        """Load every sealed segment, oldest first; returns how many lines. Raises StorageError."""
        if time.monotonic() - self._adopted_at > ADOPT:
            journal.adopt_orphans(self.folder)
            self._adopted_at = time.monotonic()
        return sum(self.load(path) for path in journal.sealed(self.folder))

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def load(self, path: Path) -> int:
        """Load one segment and delete it; 0 when another loader has it. Raises StorageError."""
        with journal.claim(path) as fd:
            if fd is None:
                return 0
            start = time.perf_counter()
            tables, count, unreadable = rows(path.read_bytes(), path.stem)
            if unreadable:
                log.error("segment %s: %d lines are no records", path.stem, unreadable)
                path.with_suffix(".bad").write_bytes(path.read_bytes())
            for table in TABLES:
                if tables[table]:
                    self.storage.insert(table, b"".join(tables[table]), path.stem)
            path.unlink()
        self.on_load(time.perf_counter() - start)
        self.trouble = ""
        self.loaded += count
        self.unreadable += unreadable
        return count


def rows(segment: bytes, segment_id: str) -> tuple[dict[str, list[bytes]], int, int]:
    """A segment as JSON lines per table, the number of records, and of lines that are none."""
    tables: dict[str, list[bytes]] = {table: [] for table in TABLES}
    count = unreadable = 0
    for number, line in enumerate(segment.splitlines()):
        try:
            record = decode(line)
        except msgspec.DecodeError:
            unreadable += 1
            continue
        table, row = _row(record, segment_id, number)
        tables[table].append(_encode(row) + b"\n")
        count += 1
    return tables, count, unreadable


def _row(record: Record, segment_id: str, number: int) -> tuple[str, object]:
    if isinstance(record, Hit):
        verdict, reasons, agent = classify(record)
        return "events", _Event(
            record.workspace, record.newsletter, record.kind, _seconds(record.at),
            _uuid(record.message), record.recipient, record.link, record.method, verdict, RULES,
            segment_id, number, record.variant, record.address, record.user_agent, record.purpose,
            record.fetch_mode, reasons, agent.client, agent.os, agent.device,
        )  # fmt: skip
    row = msgspec.structs.asdict(record)
    row["at"] = _seconds(record.at)
    if isinstance(record, Newsletter):
        return "newsletters", row
    if isinstance(record, Link):
        return "links", row
    row["message"] = _uuid(record.message)
    return "messages", row


def _seconds(at: int) -> Decimal:
    """Milliseconds as seconds with three decimals, as DateTime64(3) reads them."""
    return Decimal(f"{at // 1000}.{at % 1000:03}")


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
