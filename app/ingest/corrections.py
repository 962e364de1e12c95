"""Corrections: verdicts that change once more is known than a segment could tell.

A segment's hits are classified as it is loaded, each beside the segment's other hits of its
message. What belongs together may have come in several segments, or to several workers: so two
seconds later its messages are looked at once more, with all their hits (`settle`). `reclassify`
does the same for any stretch of time, by the newest rules.

A correction is two rows: one takes the old verdict back, one counts the new. They are written to
a file first and inserted from there under the file's id, like a segment, so that no crash and no
repetition counts them twice:

    <id>.done   what a loaded segment touched; waits to be settled
    <id>.fix    rows of corrections; deleted when ClickHouse has acknowledged them

One lock makes all of this happen one at a time in a data folder; `origin` keeps data folders that
share a database from settling each other's hits.
"""

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from app.events.feed import Feed
from app.files import locked
from app.ingest.classifier import VERSION, Classification
from app.ingest.message_rules import CONTEXT_MS, classify_message
from app.ingest.networks import Networks
from app.ingest.touched import (
    PARTIAL,
    TouchedSpan,
    age_seconds,
    merged_spans,
    origin,
)
from app.model.ids import new_id
from app.model.records import Hit, now_ms
from app.storage.clickhouse import Row, Storage, StorageError
from app.storage.journal_segments import DONE, FIX
from app.storage.sql import sql

log = logging.getLogger(__name__)

SETTLE_AFTER_SECONDS = 2.0  # seconds; a burst lasts one, and its last segment must have been loaded
POLL_SECONDS = 0.5  # seconds between looks for segments to settle
RETRY_SECONDS = 5.0  # seconds, while ClickHouse is away
MESSAGES = 500  # asked for at once when settling
PAGE = 2_000  # messages at once when reclassifying
SETTLED_MS = 300_000  # milliseconds after which nobody settles a hit any more
FOREVER_MS = 2**42  # milliseconds, in the year 2109

_encode = msgspec.json.encode


class Progress(NamedTuple):
    """Hits looked at so far, of how many, and how many verdicts have changed."""

    done: int
    total: int
    changed: int


class Corrections:
    """Blocking, but for `run()`: call from threads."""

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        networks: Networks | None = None,
        feed: Feed | None = None,
    ) -> None:
        self.folder = folder
        self.feed = feed
        self.storage = storage
        self.networks = networks
        self.origin = origin(folder)
        self.changed = 0  # verdicts

    async def run(self) -> None:
        """Settle what was loaded, until cancelled. ClickHouse being away is waited out."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.reclassify_recent)
            except (StorageError, OSError) as error:
                log.debug("corrections are waiting: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def reclassify_recent(self, after: float = SETTLE_AFTER_SECONDS) -> int:
        """Look again at what was loaded `after` seconds ago; returns how many verdicts changed.

        Raises StorageError; nothing is lost then, and nothing done twice when it is called again.
        """
        if not any(path.suffix in (DONE, FIX) for path in self.folder.iterdir()):
            return 0
        changed = 0
        with self._alone():
            self._load_pending()
            due = [path for path in self.folder.glob("*" + DONE) if age_seconds(path) >= after]
            for touched in merged_spans(due):
                changed += self._settle(touched)
            for path in due:
                path.unlink()
        return changed

    def reclassify(self, workspace: str, start: int, end: int) -> Generator[Progress, None, None]:
        """Recompute the verdicts on hits from `start` to before `end` (ms) by the newest rules.

        May be stopped at any step, and repeated. Raises StorageError.
        """
        span = {"workspace": workspace, "from_ms": start, "to_ms": end}
        newsletters = self.storage.query(sql("reclassify_newsletters"), span)
        total, done, changed = sum(row["hits"] for row in newsletters), 0, 0
        yield Progress(0, total, 0)
        for newsletter in [row["newsletter"] for row in newsletters]:
            last = str(uuid.UUID(int=0))
            while True:
                found = self.storage.query(
                    sql("reclassify_messages"),
                    {**span, "newsletter": newsletter, "after": last, "limit": PAGE},
                )
                if not found:
                    break
                last = str(found[-1]["message"])
                done += sum(row["hits"] for row in found)
                with self._alone():
                    self._load_pending()
                    changed += self._correct(
                        TouchedSpan(workspace, [newsletter], start, end),
                        [str(row["message"]) for row in found],
                        lambda row: start <= row["at_ms"] < end,
                    )
                yield Progress(min(done, total), total, changed)
        yield Progress(total, total, changed)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is corrected meanwhile, here or in another process; what was under way is done.

        Raises StorageError.
        """
        with self._alone():
            self._load_pending()
            (self.folder / PARTIAL).unlink(missing_ok=True)
            yield

    def _settle(self, touched: TouchedSpan) -> int:
        """Only hits that this data folder has loaded are corrected, and only recent ones."""
        near = TouchedSpan(
            touched.workspace,
            touched.newsletters,
            touched.start - CONTEXT_MS,
            touched.end + CONTEXT_MS,
        )
        found = self.storage.query(sql("settle_messages"), _parameters(near))
        messages = [str(row["message"]) for row in found]
        return sum(
            self._correct(
                near,
                messages[first : first + MESSAGES],
                lambda row: row["origin"] == self.origin and near.start <= row["at_ms"] < near.end,
            )
            for first in range(0, len(messages), MESSAGES)
        )

    def _correct(
        self, touched: TouchedSpan, messages: Sequence[str], mine: Callable[[Row], bool]
    ) -> int:
        """Bring the stored verdicts on these messages' hits up to what the rules say now."""
        around = TouchedSpan(
            touched.workspace,
            touched.newsletters,
            touched.start - CONTEXT_MS,
            touched.end + CONTEXT_MS,
        )
        rows = self.storage.query(sql("settle_hits"), {**_parameters(around), "messages": messages})
        lines: list[bytes] = []
        for _, group in groupby(rows, key=lambda row: row["message"]):
            hits = list(group)
            for row, found in zip(
                hits, classify_message(map(_hit, hits), self.networks), strict=True
            ):
                if mine(row) and not _forgotten(row) and not _same(row, found):
                    lines += map(_line, _pair(row, found))
        if lines:
            self._write(lines)
            self._load_pending()
        self.changed += len(lines) // 2
        return len(lines) // 2

    def _write(self, lines: Iterable[bytes]) -> None:
        partial = self.folder / PARTIAL  # under the lock: one at a time
        with partial.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.folder / f"{uuid.UUID(bytes=new_id())}{FIX}")

    def _load_pending(self) -> None:
        """Before anything is read: what a crash has left half done is done first."""
        for path in sorted(self.folder.glob("*" + FIX)):
            rows = path.read_bytes()
            if b'"position":' not in rows:
                log.warning("%s is from version 0.1 and is recomputed", path.name)
                path.unlink()
                continue
            self.storage.insert("hits", rows, path.stem)
            if self.feed:
                self.feed.append(path.stem, rows)
            path.unlink()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self.folder / "corrections.lock"):
            yield


def span(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """Milliseconds to reclassify: all there is, but what other data folders may still settle."""
    settled = now_ms() - SETTLED_MS
    last = settled if end is None else min(int(end.timestamp() * 1000), settled)
    return 0 if start is None else int(start.timestamp() * 1000), last


def _parameters(touched: TouchedSpan) -> dict[str, Any]:
    return {
        "workspace": touched.workspace,
        "newsletters": touched.newsletters,
        "from_ms": max(0, touched.start),
        "to_ms": min(FOREVER_MS, touched.end),
    }


def _hit(row: Row) -> Hit:
    return Hit(
        kind=row["kind"],
        at=row["at_ms"],
        workspace=row["workspace"],
        newsletter=row["newsletter"],
        message=row["message"].hex,
        recipient=row["recipient"],
        position=row["position"],
        url="",
        variant=row["variant"],
        method=row["method"],
        address=row["address"],
        user_agent=row["user_agent"],
        purpose=row["purpose"],
        fetch_mode=row["fetch_mode"],
        mode=row["mode"],
    )


def _columns(found: Classification) -> Row:
    return {
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "client": found.agent.client,
        "os": found.agent.os,
        "device": found.agent.device,
        "asn": found.network.asn,
        "country": found.network.country,
    }


def _forgotten(row: Row) -> bool:
    """Whether what the visitor told is not kept any more: then the verdict is all there is."""
    return not row["address"] and not row["user_agent"]


def _same(row: Row, found: Classification) -> bool:
    return all(row[name] == value for name, value in _columns(found).items())


def _pair(row: Row, found: Classification) -> tuple[Row, Row]:
    old = {**row, "sign": -1}
    new = {**row, **_columns(found), "rules": VERSION, "revision": row["revision"] + 1, "sign": 1}
    return old, new


def _line(row: Row) -> bytes:
    columns = {name: value for name, value in row.items() if name != "at_ms"}
    return _encode({**columns, "at": row["at_ms"] / 1000}) + b"\n"
