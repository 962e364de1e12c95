"""Verifies that ClickHouse holds what it has acknowledged, and repairs what it has lost.

An acknowledgement is no proof: a process killed between an insert's deduplication record and its
part makes the repeated insert a duplicate of nothing, and the embedded engine has acknowledged
parts whose writes failed. So each journal segment of the register is compared with the rows in
ClickHouse, and the roll-ups of the newsletters that it touched with their hits: doubtful segments
at once, all others every minute, and everything each night.

A comparison reads while hits are being loaded. What seems to differ is compared again while nothing
is inserted, and only then reported. A repair inserts exactly the difference, so it may be
interrupted and repeated: the next comparison finds what is left.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec

from app.events.feed import SETTLED_SOURCE, Feed
from app.files import locked
from app.ingest.corrections import Corrections
from app.ingest.loader import LOCK, Loader
from app.ingest.touched import TouchedSpan, merged_spans, note
from app.model.ids import new_id, sent_at
from app.schemas.verification import Difference, Verification, in_words
from app.storage import carried_links, outcome_states, rollups
from app.storage.clickhouse import Row, Storage, StorageError
from app.storage.journal_segments import DONE, SEALED
from app.storage.leases import alone
from app.storage.rollups import ROLL_UPS, RollUp
from app.storage.segment_register import RegisteredSegment, SegmentRegister
from app.storage.sql import sql
from app.storage.stored_rows import KEYS, absent
from app.storage.verifications import Verifications

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between looks for doubtful segments
PERIOD_SECONDS = 60.0  # between comparisons of what was loaded
SWEEP_SECONDS = 600.0  # between deletions of what need not be kept any longer
SHARE = 0.02  # of the time that comparisons may take
NIGHTLY_HOUR = 3  # UTC
SEGMENTS, NEWSLETTERS, ROWS = 200, 200, 20_000  # read at once
OTHER_HOSTS_SECONDS = 2.0  # between two looks at a server that other hosts may be inserting into
FOREVER_MS = 2**42  # since 1970 UTC: the year 2109
Newsletter = tuple[str, int]  # workspace and key
_encode = msgspec.json.encode


class Verifier:
    """Verifies one data folder. Blocking, except `run()`; one process of the folder verifies.

    Raises StorageError and StateError, after which another attempt continues.
    """

    def __init__(
        self,
        storage: Storage,
        loader: Loader,
        corrections: Corrections,
        register: SegmentRegister,
        feed: Feed,
        verifications: Verifications,
    ) -> None:
        self._storage, self._loader, self._corrections = storage, loader, corrections
        self._register, self._feed, self.verifications = register, feed, verifications
        self._folder = loader.folder
        self._stopping = threading.Event()

    async def run(self) -> None:
        """Verify what is loaded, until cancelled; waits while ClickHouse is unavailable."""
        try:
            await self._run()
        except asyncio.CancelledError:
            self._stopping.set()  # a thread that compares ends at its next step
            raise

    async def _run(self) -> None:
        due, doubtful = time.monotonic() + PERIOD_SECONDS, -1
        swept = -SWEEP_SECONDS
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._loader.ready:
                continue
            try:
                if self._loader.doubtful != doubtful:
                    seen = self._loader.doubtful
                    await asyncio.to_thread(self.verify_loaded, True)
                    doubtful = seen
                if time.monotonic() < due:
                    continue
                began = time.monotonic()
                await asyncio.to_thread(self.verify_loaded)
                await asyncio.to_thread(self.verify_nightly)
                took = time.monotonic() - began
                # By time, not with what is loaded: rows of messages have email addresses.
                if began - swept >= SWEEP_SECONDS:
                    await asyncio.to_thread(self._register.sweep)
                    swept = began
            except (StorageError, OSError) as error:
                log.debug("verification is waiting: %s", error)
                took = 0.0
            due = time.monotonic() + max(PERIOD_SECONDS, took / SHARE)

    def verify_loaded(self, doubtful: bool = False) -> list[Difference]:
        """Verify and repair what was loaded and is not verified; or only what is doubtful."""
        started, found, count, hits = time.time(), list[Difference](), 0, 0
        newsletters: set[Newsletter] = set()
        with self._alone() as alone:
            while alone and (segments := self._register.unverified(SEGMENTS, doubtful)):
                touched = _newsletters(segments) | self._mailed(segments)
                found += self._verify_segments(segments, repair=True)
                found += self._verify_roll_ups(touched, True, _restored(found))
                if any(segment.doubtful for segment in segments):
                    found += self._verify_carried(repair=True)
                    found += self._verify_outcome_states(repair=True)
                self._register.verify([segment.id for segment in segments])
                count += len(segments)
                hits += sum(segment.hits for segment in segments)
                newsletters |= touched
        if found:
            now = time.time()
            found = self._named(found)
            result = Verification(
                started, now - started, started, now, count, hits, len(newsletters), found
            )
            self.verifications.record(result)
            _log(result)
        return found

    def verify_nightly(self) -> Verification | None:
        """Verify and repair everything, unless that was done since the hour when it is due."""
        with self._alone() as alone:
            if alone and self.verifications.nightly_due(_latest_night()):
                result = self._verify(0, FOREVER_MS, repair=True, nightly=True)
                _log(result)
                return result
        return None

    def verify(
        self, start_ms: int = 0, end_ms: int = FOREVER_MS, *, repair: bool = False
    ) -> Verification:
        """Compare all that belongs to a period, and repair it with `repair`.

        Of journal segments that are those written in it, of roll-ups those of the newsletters that
        had hits in it. Roll-ups that count too many hits are reduced.
        """
        with self._alone(wait=True):
            return self._verify(start_ms, end_ms, repair=repair, nightly=False)

    def _verify(self, start_ms: int, end_ms: int, *, repair: bool, nightly: bool) -> Verification:
        started, last = time.time(), ""
        found, segments = list[Difference](), 0
        while page := self._register.within(start_ms / 1000, end_ms / 1000, last, SEGMENTS):
            last, segments = page[-1].id, segments + len(page)
            found += self._verify_segments(page, repair)
        rows = self._storage.query(
            sql("verify_newsletters"), {"from_ms": start_ms, "to_ms": end_ms}
        )
        hits = sum(int(row["hits"]) for row in rows)
        newsletters = {(row["workspace"], int(row["newsletter"])) for row in rows}
        may_reduce = _restored(found) if nightly else newsletters
        found += self._verify_roll_ups(newsletters, repair, may_reduce)
        found += self._verify_carried(repair)
        found += self._verify_outcome_states(repair)
        result = Verification(
            started,
            time.time() - started,
            start_ms / 1000,
            end_ms / 1000,
            segments,
            hits,
            len(newsletters),
            self._named(found),
            self._register.oldest(),
        )
        self.verifications.record(result, nightly)
        return result

    def _named(self, found: Sequence[Difference]) -> list[Difference]:
        """Returns differences with the ids of their newsletters."""
        ids: dict[Newsletter, str] = {}
        newsletters = {(one.workspace, int(one.newsletter, 16)) for one in found}
        for workspace, keys in _pages(newsletters):
            them = {"workspace": workspace, "newsletters": keys}
            for row in self._storage.query(sql("event_newsletters"), them):
                ids[workspace, int(row["newsletter"])] = row["id"]
        return [
            msgspec.structs.replace(
                one, newsletter_id=ids.get((one.workspace, int(one.newsletter, 16)), "")
            )
            for one in found
        ]

    # Journal segments

    def _verify_segments(
        self, segments: Sequence[RegisteredSegment], repair: bool
    ) -> list[Difference]:
        """Compare journal segments with `hits`, with other tables and with the feed."""
        self._check_stop()
        suspects = self._suspects(segments)
        if not suspects:
            return []
        with self._undisturbed():
            return [
                difference
                for segment in self._suspects(suspects)
                for difference in self._compared(segment, repair)
            ]

    def _suspects(self, segments: Sequence[RegisteredSegment]) -> list[RegisteredSegment]:
        stored: dict[str, tuple[int, int, int]] = {}  # lines, wrong ones, corrections
        ids = [segment.id for segment in segments]
        for workspace, spans in _spans(segments).items():
            for row in self._storage.query(
                sql("verify_segments"), {**_around(workspace, spans), "segments": ids}
            ):
                lines, wrong, corrections = stored.get(str(row["segment"]), (0, 0, 0))
                stored[str(row["segment"])] = (
                    lines + row["lines"],
                    wrong + row["wrong"],
                    corrections + row["corrections"],
                )
        from_ms, in_feed = self._covered_from(), self._feed.lines(ids)

        def is_suspect(segment: RegisteredSegment) -> bool:
            lines, wrong, corrections = stored.get(segment.id, (0, 0, 0))
            if _is_covered(segment, from_ms) and (
                (lines, wrong) != (segment.hits, 0)
                or corrections < sum(row["revision"] for row in self._settled(segment.id))
            ):
                return True
            if in_feed.get(segment.id, segment.hits) != segment.hits:
                return True
            kept = self._kept(segment)
            return any(absent(self._storage, table, rows) for table, rows in kept.items())

        return [segment for segment in segments if is_suspect(segment)]

    def _settled(self, segment_id: str) -> list[Row]:
        """Returns the rows of hits whose verdicts changed within seconds after loading."""
        lines = self._feed.rows(SETTLED_SOURCE + segment_id).splitlines()
        return [msgspec.json.decode(line) for line in lines]

    def _compared(self, segment: RegisteredSegment, repair: bool) -> Iterator[Difference]:
        """Yields a segment's differences, each after its repair. Call it undisturbed."""
        for table, rows in self._kept(segment).items():
            if lacking := absent(self._storage, table, rows):
                if repair:
                    if table == "messages":  # their hits were classified without them
                        self._note(segment, _since(lacking))
                    self._insert(table, lacking)
                for newsletter, its_rows in _by_newsletter(lacking):
                    yield _difference(table, newsletter, len(its_rows), 0, repair, segment.id)
        yield from self._compared_hits(segment, repair)
        in_feed = self._feed.lines([segment.id]).get(segment.id)
        if in_feed is not None and in_feed != segment.hits:
            for newsletter in sorted(_newsletters([segment]))[:1]:
                fewer, more = max(segment.hits - in_feed, 0), max(in_feed - segment.hits, 0)
                yield _difference("feed", newsletter, fewer, more, False, segment.id)

    def _compared_hits(self, segment: RegisteredSegment, repair: bool) -> Iterator[Difference]:
        stored: dict[int, list[Row]] = {}
        for workspace, spans in _spans([segment]).items():
            for row in self._storage.query(
                sql("verify_lines"), {**_around(workspace, spans), "segment": segment.id}
            ):
                stored.setdefault(row["line"], []).append(row)
        kept: dict[int, Row] = {}
        for line in self._feed.with_latest_verdicts(segment.id):
            row = msgspec.json.decode(line)
            kept[row["line"]] = row
        changes = [
            change
            for line in sorted(stored.keys() | kept.keys())
            for change in _repairs(stored.get(line, ()), kept.get(line))
        ]
        if repair and changes:
            # Other hits of their messages may have been classified without them.
            self._note(segment, _touched(segment))
            self._insert("hits", changes)
        counts: dict[Newsletter, Counter[int]] = {}
        for row in changes:
            counts.setdefault((row["workspace"], row["newsletter"]), Counter())[row["sign"]] += 1
        for newsletter, signs in counts.items():
            yield _difference("hits", newsletter, signs[1], signs[-1], repair, segment.id)
        # Lines of which nothing is kept any more.
        lost = segment.hits - len(stored.keys() | kept.keys())
        if lost > 0 and _is_covered(segment, self._covered_from()):
            newsletter = min(_newsletters([segment]))
            yield _difference("hits", newsletter, lost, 0, False, segment.id)

    def _note(self, segment: RegisteredSegment, spans: Sequence[TouchedSpan]) -> None:
        """Note where a repair changes verdicts. Call it first: the repair may be interrupted.

        Corrections are paused meanwhile. What was noted for the journal segment before stays.
        """
        before = [path] if (path := self._folder / (segment.id + DONE)).exists() else []
        note(self._folder, segment.id, [*merged_spans(before), *spans])

    def _kept(self, segment: RegisteredSegment) -> dict[str, list[Row]]:
        return {
            table: [msgspec.json.decode(line) for line in lines.splitlines()]
            for table, lines in self._register.rows(segment.id).items()
            if table in KEYS
        }

    def _mailed(self, segments: Iterable[RegisteredSegment]) -> set[Newsletter]:
        """Returns the newsletters of messages in doubtful segments, whose roll-up may lack them."""
        return {
            (row["workspace"], row["newsletter"])
            for segment in segments
            if segment.doubtful
            for row in self._kept(segment).get("messages", ())
        }

    def _verify_carried(self, repair: bool) -> list[Difference]:
        """Compare how many messages carried each link, in all hours of which that is known."""
        self._check_stop()
        if not carried_links.differences(self._storage, self._register):
            return []
        with self._undisturbed():
            lacking = carried_links.differences(self._storage, self._register)
            rows = [{**one._asdict(), "carried": n} for one, n in lacking.items()]
            if repair and rows:
                self._insert(carried_links.TABLE, rows)
            return [
                _difference(
                    carried_links.TABLE,
                    newsletter,
                    sum(row["carried"] for row in its_rows if row["carried"] > 0),
                    -sum(row["carried"] for row in its_rows if row["carried"] < 0),
                    repair,
                )
                for newsletter, its_rows in _by_newsletter(rows)
            ]

    def _verify_outcome_states(self, repair: bool) -> list[Difference]:
        """Compare what messages were reported to be with the outcomes that are stored."""
        found: list[Difference] = []
        while True:
            self._check_stop()
            if not outcome_states.differences(self._storage, 1):
                return found
            with self._undisturbed():
                rows = outcome_states.differences(self._storage, ROWS)
                if repair and rows:
                    self._insert(outcome_states.TABLE, rows)
            found += [
                _difference(outcome_states.TABLE, newsletter, len(its_rows), 0, repair)
                for newsletter, its_rows in _by_newsletter(rows)
            ]
            if not repair or len(rows) < ROWS:
                return found

    # Roll-ups

    def _verify_roll_ups(
        self, newsletters: Iterable[Newsletter], repair: bool, may_reduce: set[Newsletter]
    ) -> list[Difference]:
        """Compare the roll-ups of newsletters with their hits.

        `may_reduce` are newsletters whose roll-ups may be reduced, see `_may_reduce`.
        """
        found: list[Difference] = []
        from_ms = self._covered_from()
        for workspace, keys in _pages(newsletters):
            for roll_up in ROLL_UPS:
                self._check_stop()
                suspects = rollups.differing(self._storage, roll_up, workspace, keys, from_ms)
                if suspects:
                    found += self._compared_roll_up(
                        roll_up, workspace, suspects, from_ms, repair, may_reduce
                    )
        return found

    def _compared_roll_up(
        self,
        roll_up: RollUp,
        workspace: str,
        suspects: dict[int, int],
        from_ms: int,
        repair: bool,
        may_reduce: set[Newsletter],
    ) -> list[Difference]:
        with self._undisturbed():
            seen = rollups.differing(self._storage, roll_up, workspace, list(suspects), from_ms)
            if seen and not self._storage.embedded:
                time.sleep(OTHER_HOSTS_SECONDS)
                again = rollups.differing(self._storage, roll_up, workspace, list(seen), from_ms)
                seen = {key: n for key, n in again.items() if seen.get(key) == n}
            return [
                self._repaired_roll_up(
                    roll_up,
                    (workspace, newsletter),
                    from_ms,
                    repair,
                    (workspace, newsletter) in may_reduce,
                )
                for newsletter in seen
            ]

    def _repaired_roll_up(
        self,
        roll_up: RollUp,
        newsletter: Newsletter,
        from_ms: int,
        repair: bool,
        may_reduce: bool,
    ) -> Difference:
        missing = extra = 0
        while True:
            self._check_stop()
            rows, more, fewer = rollups.differences(
                self._storage, roll_up, *newsletter, from_ms, ROWS
            )
            missing, extra = missing + more, extra + fewer
            repair = repair and (more >= fewer or may_reduce or self._may_reduce(newsletter))
            if repair and rows:
                self._insert(roll_up.table, rows)
            if not repair or len(rows) < ROWS:
                return _difference(roll_up.table, newsletter, missing, extra, repair)

    def _may_reduce(self, newsletter: Newsletter) -> bool:
        """Returns whether the register knows all hits of a newsletter.

        If a roll-up counts more than the stored hits, hits may have been lost that nobody can
        restore, and the roll-up is right. It is reduced by itself only if that is impossible:
        every hit is in a journal segment that was compared with `hits`. Otherwise the difference
        is reported, and an operator decides.
        """
        workspace, key = newsletter
        (row,) = self._storage.query(
            "SELECT toUnixTimestamp(min(minute)) AS first FROM hits_by_minute"
            " WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}",
            {"workspace": workspace, "newsletter": key},
        )
        return int(row["first"]) >= self._register.oldest()

    def _covered_from(self) -> int:
        """Returns from when on all hits are stored, in milliseconds since 1970 UTC.

        Earlier ones may have expired, of which the roll-ups keep the figures; 0 if none have. Rows
        expire some days after the end of their month, so none of this month has, whatever the
        setting is or was: what is not stored of it is lost, even if nothing else is stored.
        """
        (row,) = self._storage.query(sql("verify_covered"), {})
        days, now = self._storage.settings.keep_hits_days, datetime.now(UTC)
        stored, counted = row["stored_ms"], row["counted_ms"]
        first = _month(datetime.fromtimestamp(stored / 1000, UTC)) if stored else FOREVER_MS
        bounds = [first, _month(now - timedelta(days=days - 1)) if days else 0]
        expired = [bound for bound in bounds if counted < bound]
        return min(_month(now), max(expired)) if counted and expired else 0

    def _check_stop(self) -> None:
        """Raises StorageError once the service stops; a later comparison begins again."""
        if self._stopping.is_set():
            raise StorageError("the service is stopping")

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        """Insert rows under a name of their own: an equal repair later is another insert."""
        lines = b"".join(_encode(row) + b"\n" for row in rows)
        self._storage.insert(table, lines, f"repair {uuid.UUID(bytes=new_id())}")

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Finish what is half inserted, then prevent inserts of this data folder meanwhile."""
        with self._corrections.paused(), locked(self._folder / LOCK):
            for segment_id in self._register.half_loaded():
                path = self._folder / f"{segment_id}{SEALED}"
                if path.exists():
                    self._loader.load(path)
            yield

    @contextmanager
    def _alone(self, wait: bool = False) -> Iterator[bool]:
        """Yield whether no other process verifies what the state has of loaded segments."""
        with alone(self._feed.engine, self._folder / "verifying.lock", wait) as held:
            yield held


def _log(result: Verification) -> None:
    for difference in result.differences:
        log.error("verification: %s", in_words(difference))


def period(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """Returns a period in milliseconds since 1970 UTC, by default all of it."""
    return (
        int(start.timestamp() * 1000) if start else 0,
        int(end.timestamp() * 1000) if end else FOREVER_MS,
    )


def _latest_night() -> float:
    """Returns when the last nightly run was due, in seconds since 1970 UTC."""
    now = datetime.now(UTC)
    due = now.replace(hour=NIGHTLY_HOUR, minute=0, second=0, microsecond=0)
    return (due if due <= now else due - timedelta(days=1)).timestamp()


def _month(at: datetime) -> int:
    """Returns the start of a month in milliseconds since 1970 UTC."""
    start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(start.timestamp() * 1000)


def _touched(segment: RegisteredSegment) -> list[TouchedSpan]:
    return msgspec.json.decode(segment.spans, type=list[TouchedSpan])


def _since(messages: Iterable[Row]) -> list[TouchedSpan]:
    """Returns where hits of messages may be."""
    return [
        TouchedSpan(row["workspace"], [row["newsletter"]], sent_at(row["message"]), FOREVER_MS)
        for row in messages
    ]


def _newsletters(segments: Iterable[RegisteredSegment]) -> set[Newsletter]:
    return {
        (span.workspace, newsletter)
        for segment in segments
        for span in _touched(segment)
        for newsletter in span.newsletters
    }


def _spans(segments: Iterable[RegisteredSegment]) -> dict[str, list[TouchedSpan]]:
    by_workspace: dict[str, list[TouchedSpan]] = {}
    for segment in segments:
        for span in _touched(segment):
            by_workspace.setdefault(span.workspace, []).append(span)
    return by_workspace


def _around(workspace: str, spans: Iterable[TouchedSpan]) -> dict[str, Any]:
    return {
        "workspace": workspace,
        "newsletters": sorted({newsletter for span in spans for newsletter in span.newsletters}),
        "from_ms": min(span.start for span in spans),
        "to_ms": max(span.end for span in spans),
    }


def _is_covered(segment: RegisteredSegment, from_ms: int) -> bool:
    return all(span.start >= from_ms for span in _touched(segment))


def _restored(found: Iterable[Difference]) -> set[Newsletter]:
    """Returns the newsletters of which hits or messages were repaired.

    Roll-ups may have counted them before.
    """
    return {
        (difference.workspace, int(difference.newsletter, 16))
        for difference in found
        if difference.table in ("hits", "messages") and difference.repaired
    }


def _repairs(stored: Iterable[Row], kept: Row | None) -> Iterator[Row]:
    """Yields rows that leave one row of a hit: that of its latest verdict.

    `stored` are its rows with their `total`, the sum of their signs. `kept` is the row that the
    feed has of it.
    """
    latest = kept.get("revision", 0) if kept else -1
    latest = max([latest, *(row["revision"] for row in stored if row["total"] > 0)])
    found = False
    for row in stored:
        expected = int(row["revision"] == latest and not found)
        found |= bool(expected)
        columns = {name: value for name, value in row.items() if name not in ("at_ms", "total")}
        for _ in range(abs(row["total"] - expected)):
            sign = -1 if row["total"] > expected else 1
            yield {**columns, "at": row["at_ms"] / 1000, "sign": sign}
    if not found and kept:
        yield {**kept, "sign": 1}


def _by_newsletter(rows: Iterable[Row]) -> Iterator[tuple[Newsletter, list[Row]]]:
    def newsletter(row: Row) -> Newsletter:
        return row["workspace"], row["newsletter"]

    for key, group in groupby(sorted(rows, key=newsletter), newsletter):
        yield key, list(group)


def _pages(newsletters: Iterable[Newsletter]) -> Iterator[tuple[str, list[int]]]:
    """Yields newsletters of one workspace, as many as one query compares."""
    for workspace, group in groupby(sorted(newsletters), lambda newsletter: newsletter[0]):
        keys = [key for _, key in group]
        for first in range(0, len(keys), NEWSLETTERS):
            yield workspace, keys[first : first + NEWSLETTERS]


def _difference(
    table: str, newsletter: Newsletter, missing: int, extra: int, repaired: bool, source: str = ""
) -> Difference:
    workspace, key = newsletter
    return Difference(table, workspace, f"{key:016x}", missing, extra, repaired, source)
