"""Corrects verdicts once more is known than one journal segment could show.

Hits are classified as their journal segment is loaded, each together with the segment's other hits
of its message. The hits of a message may arrive in several journal segments, or at several workers:
so its messages are classified again two seconds later, with all their hits (`reclassify_recent`).
`reclassify` does the same for any period, by the newest rules.

A correction is two rows: one cancels the old verdict, one counts the new. They are written to a
file first and inserted from there under the file's id, like a journal segment, so that no crash and
no repetition counts them twice:

    <id>.done   what a loaded journal segment touched; waits to be classified again
    <id>.fix    rows of corrections; deleted when ClickHouse has acknowledged them

A lock lets one process of a data folder at a time do this; `origin` keeps data folders that share a
database from correcting each other's recent hits.
"""

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from app.events.feed import CORRECTED, Feed
from app.files import locked, sync_folder
from app.ingest.classifier import VERSION, Classification
from app.ingest.fetch_metadata import no_https
from app.ingest.message_rules import CONTEXT_MS, classify_message
from app.ingest.networks import Networks
from app.ingest.touched import (
    PARTIAL,
    TouchedSpan,
    age_seconds,
    merged_spans,
    origin,
)
from app.model.errors import UNREADABLE
from app.model.ids import new_id
from app.model.records import Hit, now_ms
from app.storage.clickhouse import Row, Storage, StorageError
from app.storage.journal_segments import BAD, DONE, FIX, sealed
from app.storage.sql import sql

log = logging.getLogger(__name__)

# The last journal segment of a burst must have been loaded. A slower sweep is corrected with each
# of its clicks, which is classified together with those of the minutes before.
SETTLE_AFTER_SECONDS = 2.0
POLL_SECONDS = 0.5  # between looks for loaded journal segments
RETRY_SECONDS = 5.0  # between attempts while ClickHouse is unavailable
MESSAGES = 500  # read at once by `reclassify_recent`
PAGE = 2_000  # messages read at once by `reclassify`
SETTLED_MS = 300_000  # after that, no data folder corrects a hit as a recent one
FOREVER_MS = 2**42  # since 1970 UTC: the year 2109

_encode = msgspec.json.encode


class Progress(NamedTuple):
    """How many hits were classified again, of how many, and how many verdicts changed."""

    done: int
    total: int
    changed: int


class Corrections:
    """Classifies stored hits again and stores the verdicts that differ.

    Blocking, except `run()`: call it from threads.
    """

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        networks: Networks | None = None,
        feed: Feed | None = None,
        https: Callable[[str], bool] = no_https,
    ) -> None:
        self.folder = folder
        self._https = https  # whether a workspace's links are
        self.feed = feed
        self.storage = storage
        self.networks = networks
        self.origin = origin(folder)
        self.changed = 0  # verdicts
        self._seen: dict[str, float] = {}  # when notes were first seen, monotonic, by name

    async def run(self) -> None:
        """Correct what was loaded, until cancelled; waits while ClickHouse is unavailable."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.reclassify_recent)
            except (StorageError, OSError) as error:
                log.debug("corrections are waiting: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def reclassify_recent(self, after: float = SETTLE_AFTER_SECONDS) -> int:
        """Classify again what was loaded at least `after` seconds ago.

        Returns how many verdicts changed. Raises StorageError; a later call then resumes without
        losing or repeating anything.
        """
        if not any(path.suffix in (DONE, FIX) for path in self.folder.iterdir()):
            return 0
        changed = 0
        with self._exclusive_lock():
            self._load_pending()
            due = self._due(after)
            for touched in merged_spans(due):
                changed += self._settle(touched)
            if self.feed:
                self.feed.settle([path.stem for path in due])
            for path in due:
                path.unlink()
        return changed

    def _due(self, after: float) -> list[Path]:
        """Returns the notes of what was loaded at least `after` seconds ago.

        A note may have been written while the clock was wrong: then the time since this process
        has seen it decides.
        """
        notes, now = [*self.folder.glob("*" + DONE)], time.monotonic()
        self._seen = {note.name: self._seen.get(note.name, now) for note in notes}
        return [
            note
            for note in notes
            if age_seconds(note) >= after or now - self._seen[note.name] >= after
        ]

    def reclassify(self, workspace: str, start: int, end: int) -> Generator[Progress, None, None]:
        """Recompute the verdicts on hits from `start` to before `end` (ms) by the newest rules.

        May be stopped after any step, and repeated. Raises StorageError.
        """
        span = {"workspace": workspace, "from_ms": start, "to_ms": end}
        newsletters = self.storage.query(sql("reclassify_newsletters"), span)
        total, done, changed = sum(row["hits"] for row in newsletters), 0, 0
        yield Progress(0, total, 0)
        for newsletter in [row["newsletter"] for row in newsletters]:
            last = str(uuid.UUID(int=0))
            while True:
                messages = self.storage.query(
                    sql("reclassify_messages"),
                    {**span, "newsletter": newsletter, "after": last, "limit": PAGE},
                )
                if not messages:
                    break
                last = str(messages[-1]["message"])
                done += sum(row["hits"] for row in messages)
                with self._exclusive_lock():
                    self._load_pending()
                    changed += self._correct(
                        TouchedSpan(workspace, [newsletter], start, end),
                        [str(row["message"]) for row in messages],
                        lambda row: start <= row["at_ms"] < end,
                    )
                yield Progress(min(done, total), total, changed)
        yield Progress(total, total, changed)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Complete pending corrections, then prevent any in this or another process meanwhile.

        Raises StorageError.
        """
        with self._exclusive_lock():
            self._load_pending()
            (self.folder / PARTIAL).unlink(missing_ok=True)
            yield

    def _settle(self, touched: TouchedSpan) -> int:
        """Correct recent hits, and of these only those that this data folder has loaded."""
        near = _with_context(touched)
        around = _parameters(near)
        rows = self.storage.query(
            sql("settle_messages"),
            {
                **around,
                "near_from_ms": around["from_ms"],
                "near_to_ms": around["to_ms"],
                "from_ms": touched.start,
                "to_ms": touched.end,
            },
        )
        messages = [str(row["message"]) for row in rows]
        return sum(
            self._correct(
                near,
                messages[first : first + MESSAGES],
                lambda row: row["origin"] == self.origin and near.start <= row["at_ms"] < near.end,
            )
            for first in range(0, len(messages), MESSAGES)
        )

    def _correct(
        self, touched: TouchedSpan, messages: Sequence[str], may_correct: Callable[[Row], bool]
    ) -> int:
        """Update the stored verdicts on the hits of some messages by the current rules."""
        if not messages:
            return 0
        around = {**_parameters(_with_context(touched)), "messages": messages}
        rows = self.storage.query(sql("settle_hits"), around)
        ledger = self.storage.query(sql("settle_links"), around)
        links = {row["message"]: row["carried"] for row in ledger}
        # Hits that are stored and not in the feed yet: a change must not come there before them.
        # Their journal segments are corrected once they are loaded.
        loading = {path.stem for path in sealed(self.folder)}
        https = self._https(touched.workspace)
        lines: list[bytes] = []
        for message, group in groupby(rows, key=lambda row: row["message"]):
            hits = list(group)
            verdicts = classify_message(
                map(_hit, hits), self.networks, https, links.get(message, 0)
            )
            for row, classified in zip(hits, verdicts, strict=True):
                if (
                    may_correct(row)
                    and str(row["segment"]) not in loading
                    and not _expired(row)
                    and not _same_verdict(row, classified)
                ):
                    lines += map(_line, _correction_rows(row, classified))
        if lines:
            self._write(lines)
            self._load_pending()
        self.changed += len(lines) // 2
        return len(lines) // 2

    def _write(self, lines: Iterable[bytes]) -> None:
        partial = self.folder / PARTIAL  # one at a time, thanks to the lock
        with partial.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.folder / f"{uuid.UUID(bytes=new_id())}{FIX}")
        sync_folder(self.folder)

    def _load_pending(self) -> None:
        """Insert the corrections that a crash has left. Call it before reading any verdict."""
        for path in sorted(self.folder.glob("*" + FIX)):
            rows = path.read_bytes()
            if b'"position":' not in rows:
                log.warning("%s is from version 0.1 and is recomputed", path.name)
                path.unlink()
                continue
            if not _is_json_lines(rows):  # a bad disk; the verdicts are classified once more
                log.error("%s is damaged: kept with the suffix %s, and recomputed", path.name, BAD)
                path.rename(path.with_name(path.name + BAD))
                continue
            self.storage.insert("hits", rows, path.stem)
            if self.feed:
                self.feed.append(path.stem, rows, stage=CORRECTED)
            path.unlink()

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        with locked(self.folder / "corrections.lock"):
            yield


def _is_json_lines(lines: bytes) -> bool:
    try:
        msgspec.json.Decoder(dict[str, Any]).decode_lines(lines)
    except UNREADABLE:
        return False
    return lines.endswith(b"\n")


def span(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """Returns the period to reclassify, in milliseconds since 1970 UTC.

    Excludes hits so recent that other data folders may still correct them.
    """
    settled = now_ms() - SETTLED_MS
    last = settled if end is None else min(int(end.timestamp() * 1000), settled)
    return 0 if start is None else int(start.timestamp() * 1000), last


def _with_context(touched: TouchedSpan) -> TouchedSpan:
    """Returns a span with the time around it in which hits may change each other's verdicts."""
    return msgspec.structs.replace(
        touched, start=touched.start - CONTEXT_MS, end=touched.end + CONTEXT_MS
    )


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
        url=row["url"],
        variant=row["variant"],
        method=row["method"],
        address=row["address"],
        user_agent=row["user_agent"],
        purpose=row["purpose"],
        fetch_mode=row["fetch_mode"],
        mode=row["mode"],
    )


def _columns(classified: Classification) -> Row:
    return {
        "verdict": classified.verdict,
        "reasons": list(classified.reasons),
        "client": classified.agent.client,
        "os": classified.agent.os,
        "device": classified.agent.device,
        "asn": classified.network.asn,
        "country": classified.network.country,
    }


def _expired(row: Row) -> bool:
    """Returns whether IP address and user agent are no longer kept: then the verdict is final."""
    return not row["address"] and not row["user_agent"]


def _same_verdict(row: Row, classified: Classification) -> bool:
    return all(row[name] == value for name, value in _columns(classified).items())


def _correction_rows(row: Row, classified: Classification) -> tuple[Row, Row]:
    columns = _columns(classified)
    old = {**row, "sign": -1}
    new = {**row, **columns, "rules": VERSION, "revision": row["revision"] + 1, "sign": 1}
    return old, new


def _line(row: Row) -> bytes:
    columns = {name: value for name, value in row.items() if name != "at_ms"}
    return _encode({**columns, "at": row["at_ms"] / 1000}) + b"\n"
