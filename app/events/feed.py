"""Keeps every loaded hit and outcome in one order, with cursors from which readers continue.

Webhooks and the event stream read it. It holds the very rows that ClickHouse got, one journal
segment or file of corrections at a time, under that file's id: loading it again appends nothing. It
keeps KEPT_SECONDS seconds; a reader that falls further behind gets an error.

There are two ways to read it. Immediate readers get each hit as soon as it is loaded, with the
verdict that it had then, and a reclassification for each correction. Settled readers get a hit once
the corrections that follow loading are done, with the verdict that they have left; they get a
reclassification only for what is corrected later. The order of rows decides, not time, so both ways
give the same events whenever and however often they are read. A row's stage says who reads it:

    ""         both: hits whose verdicts cannot change soon, and all rows of earlier versions
    unsettled  immediate readers: hits that corrections look at again
    corrected  both: corrections; settled readers leave out those of hits that are not settled yet
    settled    settled readers: the end of corrections of an unsettled row, with what they changed
"""

import asyncio
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.clock import CLOCK
from app.consent import suppressions
from app.consent.erasure_requests import Erasures, newest
from app.model.numbers import read_int
from app.model.records import NO_LINK, Hit
from app.schemas.experiments import Outcome
from app.storage.state_db import StateError
from app.storage.tables import feed

KEPT_SECONDS = 7 * 86_400.0
POLL_SECONDS = 0.1  # seconds between checks for new rows
SWEEP_SECONDS = 600.0  # seconds between deletions of old rows
FUTURE_SECONDS = 600.0  # ahead of now: times beyond it were never right

PLAIN, UNSETTLED, CORRECTED, SETTLED = "", "unsettled", "corrected", "settled"  # stages of rows
SETTLED_SOURCE = "settled "  # begins the source of a row of stage `settled`
MAX_SOURCES = 500  # in one query
CACHED_ROWS = 2  # a row of stage `settled` needs the one that it settles

DECIDED = "decided"  # the kind of a row that is the outcome of an experiment, not a hit

Type = Literal[
    "message.opened",
    "message.clicked",
    "message.unsubscribed",
    "message.delivered",
    "message.bounced",
    "message.complained",
    "event.reclassified",
    "experiment.decided",
]
TYPES = get_args(Type)
TYPE_OF: dict[str, Type] = {  # by a row's kind
    "open": "message.opened",
    "click": "message.clicked",
    "unsubscribe": "message.unsubscribed",
    "delivered": "message.delivered",
    "bounced": "message.bounced",
    "complained": "message.complained",
    DECIDED: "experiment.decided",
}


class CursorError(ValueError):
    """The cursor is invalid; with `expired`, the events after it are no longer kept."""

    def __init__(self, message: str, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


class Cursor(NamedTuple):
    """A position in the feed: the line of a row after which to continue."""

    seq: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.line}"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of `hits` or `outcomes`, reduced to what the feed needs.

    Version 0.1 wrote a link's position as `link`, and no key. `event` and what follows it are of
    outcomes. `outcome` is an experiment's.
    """

    workspace: str
    newsletter: int
    message: str
    at: float
    kind: str
    recipient: int
    verdict: str
    segment: str
    line: int
    link: int = NO_LINK
    position: int = NO_LINK
    link_key: int = 0
    family: int = 0
    detail: int = 0
    url: str = ""
    reasons: tuple[str, ...] = ()
    variant: int = 0
    sign: int = 1
    revision: int = 0
    outcome: Outcome | None = None
    event: str = ""
    permanent: int = 0
    code: str = ""
    text: str = ""
    provider: str = ""

    @property
    def name(self) -> str:
        """Returns what distinguishes its event from all others."""
        return self.event or f"{self.segment.replace('-', '')}_{self.line}"

    @property
    def place(self) -> int:
        """Returns the link's position in the mail, counted from 0."""
        return self.link if self.position == NO_LINK else self.position


class Event(NamedTuple):
    """An event; `id` is the same in every stream, webhook and repetition.

    `before` is the verdict that a reclassified event had. `loaded` is when its row came into the
    feed, in seconds since 1970 UTC.
    """

    id: str
    type: Type
    row: Row
    cursor: Cursor
    before: str = ""
    loaded: float = 0.0

    def is_after(self, at: float) -> bool:
        """Returns whether it was loaded after a time; one in the future was never right."""
        return self.loaded >= at or at > time.time()


_decode = msgspec.json.Decoder(Row).decode


class Feed:
    """The feed in state.db. Blocking: call from threads. Several processes may append and read."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.erasures = Erasures(engine)
        self._swept = time.monotonic()  # by the next time it is known whether the clock is right
        self._cache: dict[int, list[bytes]] = {}  # lines by row
        self._cached_at = 0  # the newest erasure

    def append(
        self, source: str, rows: bytes, erased: Iterable[Hit] = (), stage: str = PLAIN
    ) -> None:
        """Append JSON lines of `hits`, once per `source`, and suppress their unsubscribes.

        With `stage` UNSETTLED settled readers wait for `settle()`. Unsubscribes in `erased`, whose
        lines name no recipient, are suppressed too: a recipient who unsubscribes gets no mail.
        """
        stopped = [
            row
            for line in (rows.splitlines() if b'"unsubscribe"' in rows else ())
            if b'"unsubscribe"' in line
            and (row := _decode(line)).kind == "unsubscribe"
            and not row.revision
            and row.recipient
        ]
        unnamed = [hit for hit in erased if hit.kind == "unsubscribe"]
        now = time.time()
        try:
            with self.engine.begin() as connection:
                put(connection, source, rows, now, stage)
                for row in stopped:
                    suppressions.put(
                        connection,
                        row.workspace,
                        row.recipient,
                        row.newsletter,
                        "unsubscribed",
                        row.at,
                    )
                for hit in unnamed:
                    suppressions.put(
                        connection,
                        hit.workspace,
                        hit.recipient,
                        hit.newsletter,
                        "unsubscribed",
                        hit.at / 1000,
                    )
            if time.monotonic() - self._swept > SWEEP_SECONDS and not CLOCK.doubtful:
                self._swept = time.monotonic()
                self._sweep(now)
        except IntegrityError:
            return  # it was appended before
        except SQLAlchemyError as error:
            raise StateError(f"cannot write to the state: {error}") from error

    def append_outcomes(
        self, source: str, rows: bytes, suppressed: Iterable[suppressions.NewSuppression]
    ) -> None:
        """Append JSON lines of outcomes, once per `source`, and suppress recipients with them."""
        suppressed = list(suppressed)
        if not rows and not suppressed:
            return
        try:
            with self.engine.begin() as connection:
                put(connection, source, rows, time.time())
                for one in suppressed:
                    suppressions.put(connection, *one)
        except IntegrityError:
            return  # it was appended before
        except SQLAlchemyError as error:
            raise StateError(f"cannot write to the state: {error}") from error

    def _sweep(self, now: float) -> None:
        """Delete what is older than KEPT_SECONDS.

        The order of rows decides: a row with a time that cannot be, from when the clock was wrong,
        goes with those before it and takes none after it along.
        """
        kept = feed.c.at.between(now - KEPT_SECONDS, now + FUTURE_SECONDS)
        first = select(func.min(feed.c.seq)).where(kept).scalar_subquery()
        with self.engine.begin() as connection:
            connection.execute(delete(feed).where(feed.c.seq < first))

    def settle(self, sources: Sequence[str]) -> None:
        """Let settled readers have the hits of journal segments, by the verdicts of now.

        Call it when the corrections that follow loading are appended. Repeating it changes nothing.
        """
        with self.engine.begin() as connection:
            columns = select(feed.c.source, feed.c.seq, feed.c.lines, feed.c.at)
            rows = [
                row
                for some in _groups(sources)
                for row in connection.execute(
                    columns.where(feed.c.source.in_(some), feed.c.stage == UNSETTLED)
                )
            ]
            if not rows:
                return
            changes = _latest(
                connection, {row.source for row in rows}, min(row.seq for row in rows)
            )
            for row in sorted(rows, key=lambda row: row.seq):
                connection.execute(
                    insert_or_ignore(feed)
                    .values(
                        source=SETTLED_SOURCE + row.source,
                        at=row.at,  # it is kept as long as the row that it settles
                        lines=row.lines,
                        rows=zlib.compress(b"\n".join(changes.get(row.source, ())), 1),
                        stage=SETTLED,
                        settles=row.seq,
                    )
                    .on_conflict_do_nothing()
                )

    def lines(self, sources: Sequence[str]) -> dict[str, int]:
        """Returns how many lines some sources have, of those that are still kept."""
        columns = select(feed.c.source, feed.c.lines)
        with self.engine.connect() as connection:
            return {
                row.source: row.lines
                for some in _groups(sources)
                for row in connection.execute(columns.where(feed.c.source.in_(some)))
            }

    def rows(self, source: str) -> bytes:
        """Returns the JSON lines of a source, empty if it is not kept any longer."""
        with self.engine.connect() as connection:
            packed = connection.execute(select(feed.c.rows).where(feed.c.source == source)).scalar()
        return zlib.decompress(packed) if packed else b""

    def with_latest_verdicts(self, segment: str) -> list[bytes]:
        """Returns the lines of a journal segment's hits, each as its last correction left it."""
        with self.engine.connect() as connection:
            columns = select(feed.c.seq, feed.c.rows).where(feed.c.source == segment)
            row = connection.execute(columns).first()
            if not row:
                return []
            lines = zlib.decompress(row.rows).splitlines()
            corrected = _latest(connection, {segment}, row.seq).get(segment, [])
        latest = {_decode(line).line: line for line in corrected}
        return [latest.get(_decode(line).line, line) for line in lines]

    def last(self) -> Cursor:
        """Returns the end of the feed, for readers that want only later events."""
        with self.engine.connect() as connection:
            row = connection.execute(
                select(feed.c.seq, feed.c.lines).order_by(feed.c.seq.desc()).limit(1)
            ).first()
        return Cursor(row.seq, row.lines) if row else Cursor()

    def newest(self) -> int:
        """Returns the last row's number: a cheap check for new rows."""
        with self.engine.connect() as connection:
            return connection.execute(select(func.max(feed.c.seq))).scalar() or 0

    def after(
        self, cursor: Cursor, workspace: str, limit: int, settled: bool = False
    ) -> tuple[list[Event], Cursor]:
        """Returns the events that follow, and the cursor after the last line that was read.

        Raises CursorError.
        """
        result: list[Event] = []
        while len(result) < limit:
            row = self._row(cursor, UNSETTLED if settled else SETTLED)
            if row is None:
                break
            start = cursor.line if row.seq == cursor.seq else 0
            for event in self._events(row, start, settled):
                if event.row.workspace == workspace:
                    result.append(event._replace(loaded=row.at))
                    if len(result) >= limit:
                        return result, event.cursor
            cursor = Cursor(row.seq, row.lines)
        return result, cursor

    def _row(self, cursor: Cursor, unread: str) -> Any:
        """Returns the cursor's row or, at its end, the next one that has not the stage `unread`.

        Raises CursorError.
        """
        columns = feed.c.seq, feed.c.lines, feed.c.stage, feed.c.settles, feed.c.at
        ahead = select(*columns).order_by(feed.c.seq).limit(1)
        with self.engine.connect() as connection:
            at = connection.execute(ahead.where(feed.c.seq == cursor.seq)).first()
            if at and cursor.line > at.lines:
                raise CursorError("is not a cursor of this service")
            if at and cursor.line < at.lines and at.stage != unread:
                return at
            row = connection.execute(
                ahead.where(feed.c.seq > cursor.seq, feed.c.stage != unread)
            ).first()
        if cursor.seq and not at:
            self._check(cursor)
        return row

    def _events(self, row: Any, start: int, settled: bool) -> Iterator[Event]:
        """Yields the events of a row from a line on."""
        if row.stage == SETTLED:
            return settled_events(self._lines(row.settles), self._lines(row.seq), row.seq, start)
        page = events(self._lines(row.seq), row.seq, start)
        if row.stage != CORRECTED or not settled:
            return page
        corrections = list(page)
        waiting = self._unsettled({event.row.segment for event in corrections}, row.seq)
        return (event for event in corrections if event.row.segment not in waiting)

    def _unsettled(self, segments: Set[str], seq: int) -> set[str]:
        """Returns those of some journal segments that are settled after a row, or not yet."""
        columns = select(feed.c.source, feed.c.seq, feed.c.stage)
        waiting: set[str] = set()
        settled: set[str] = set()
        with self.engine.connect() as connection:
            for some in _groups(sorted(segments)):
                sources = [*some, *(SETTLED_SOURCE + segment for segment in some)]
                for row in connection.execute(columns.where(feed.c.source.in_(sources))):
                    segment = row.source.removeprefix(SETTLED_SOURCE)
                    if row.stage == SETTLED:
                        (settled if row.seq < seq else waiting).add(segment)
                    elif row.stage == UNSETTLED:
                        waiting.add(segment)
        return waiting - settled

    def _lines(self, seq: int) -> list[bytes]:
        """Returns a row's lines; the last rows are cached, since one is read in many steps.

        An erasure invalidates the cache.
        """
        with self.engine.connect() as connection:
            erasure = newest(connection)
            if erasure != self._cached_at:
                self._cache.clear()
                self._cached_at = erasure
            if seq not in self._cache:
                if len(self._cache) >= CACHED_ROWS:
                    self._cache.clear()
                compressed = connection.execute(
                    select(feed.c.rows).where(feed.c.seq == seq)
                ).scalar()
                self._cache[seq] = zlib.decompress(compressed).splitlines() if compressed else []
            return self._cache[seq]

    def _check(self, cursor: Cursor) -> None:
        """Raises CursorError for rows that are no longer kept, or that never existed."""
        with self.engine.connect() as connection:
            first = connection.execute(select(func.min(feed.c.seq))).scalar()
        if first is None:
            return  # all are too old, and nothing is known to be missing
        if cursor.seq > self.newest():
            raise CursorError("is not a cursor of this service")
        if cursor.seq < first - 1:
            days = int(KEPT_SECONDS // 86_400)
            raise CursorError(
                f"is older than {days} days, the time for which events are kept", expired=True
            )


def put(connection: Connection, source: str, rows: bytes, now: float, stage: str = PLAIN) -> None:
    """Add a row of JSON lines. Raises IntegrityError if that source has one already."""
    values = {
        "source": source,
        "at": now,
        "lines": rows.count(b"\n"),
        "rows": zlib.compress(rows, 1),
        "stage": stage,
    }
    connection.execute(insert(feed), values)


def _groups(sources: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yields groups of sources that a query can name."""
    for first in range(0, len(sources), MAX_SOURCES):
        yield sources[first : first + MAX_SOURCES]


def _latest(connection: Connection, segments: Set[str], after: int) -> dict[str, list[bytes]]:
    """Returns the latest correction of each hit of some journal segments, as lines by segment."""
    corrected: dict[str, dict[int, bytes]] = {}
    query = (
        select(feed.c.rows)
        .where(feed.c.seq > after, feed.c.stage == CORRECTED)
        .order_by(feed.c.seq)
    )
    for compressed in connection.execute(query).scalars():
        for line in zlib.decompress(compressed).splitlines():
            row = _decode(line)
            if row.sign > 0 and row.segment in segments:
                corrected.setdefault(row.segment, {})[row.line] = line
    return {segment: list(by_line.values()) for segment, by_line in corrected.items()}


class FeedWatcher:
    """Watches the feed's end, with one query per POLL_SECONDS however many streams wait."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._asking = asyncio.Lock()
        self._newest, self._at = 0, 0.0
        self.streams = 0

    async def newest(self) -> int:
        """Returns the number of the feed's last row."""
        async with self._asking:
            if time.monotonic() - self._at >= POLL_SECONDS:
                self._newest = await asyncio.to_thread(self._feed.newest)
                self._at = time.monotonic()
        return self._newest


def events(lines: list[bytes], seq: int, start: int) -> Iterator[Event]:
    """Yields the events of one row from a line on.

    A changed verdict is a pair of lines: the old hit cancelled, and the new one.
    """
    for number in range(start, len(lines)):
        row = _decode(lines[number])
        cursor = Cursor(seq, number + 1)
        if row.sign < 0:
            continue
        if not row.revision:
            yield Event(f"evt_{row.name}", TYPE_OF[row.kind], row, cursor)
        elif (before := _decode(lines[number - 1]).verdict) != row.verdict:
            yield Event(f"evt_{row.name}_{row.revision}", "event.reclassified", row, cursor, before)


def settled_events(
    lines: list[bytes], changes: list[bytes], seq: int, start: int
) -> Iterator[Event]:
    """Yields the events of a row of hits with their latest verdicts, which some `changes` have."""
    latest = {row.line: row for row in map(_decode, changes)}
    for number in range(start, len(lines)):
        row = _decode(lines[number])
        shown = latest.get(row.line, row)
        yield Event(f"evt_{row.name}", TYPE_OF[row.kind], shown, Cursor(seq, number + 1))


def cursor(text: str) -> Cursor:
    """Parse what `str(cursor)` returned; empty is the oldest kept event. Raises CursorError."""
    if not text:
        return Cursor()
    seq, _, line = text.partition(".")
    numbers = read_int(seq, high=10**15 - 1), read_int(line, high=10**15 - 1)
    if numbers[0] is None or numbers[1] is None:
        raise CursorError("must be a cursor of this service, such as 17.3")
    return Cursor(numbers[0], numbers[1])
