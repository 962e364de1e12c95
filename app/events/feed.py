"""The feed: every hit once it is loaded, in one order, with a cursor to go on from.

Webhooks and the event stream read it. It holds the very rows that ClickHouse got, a segment or a
file of corrections at a time, under that file's id: loading one again appends nothing. It keeps
KEPT seconds; whoever is away for longer is told so.
"""

import asyncio
import time
import zlib
from collections.abc import Iterable, Iterator
from math import inf
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.consent import suppressions
from app.consent.erasure_requests import Erasures, newest
from app.model.numbers import read_int
from app.model.records import NO_LINK, Hit
from app.schemas.experiments import Outcome
from app.storage.state_db import StateError
from app.storage.tables import feed

KEPT = 7 * 86_400.0
POLL_SECONDS = 0.1  # seconds between looks for news
SWEEP_SECONDS = 600.0  # seconds between looks for what is too old

DECIDED = "decided"  # the kind of a row that is no hit but the outcome of an experiment

Type = Literal[
    "message.opened",
    "message.clicked",
    "message.unsubscribed",
    "event.reclassified",
    "experiment.decided",
]
TYPES = get_args(Type)
TYPE_OF: dict[str, Type] = {  # by a hit's kind
    "open": "message.opened",
    "click": "message.clicked",
    "unsubscribe": "message.unsubscribed",
    DECIDED: "experiment.decided",
}


class CursorError(ValueError):
    """A cursor that means nothing; `gone`: what follows it is not kept any more."""

    def __init__(self, message: str, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class Cursor(NamedTuple):
    """After which line of which row to go on."""

    seq: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.line}"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of `hits` as far as the feed is concerned.

    Version 0.1 wrote a link's place as `link` and no key.
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

    @property
    def place(self) -> int:
        """The link's place in the mail, counted from 0."""
        return self.link if self.position == NO_LINK else self.position


class Event(NamedTuple):
    """`id` is stable: the same event has the same one in every stream, webhook and repetition.

    `before` is the verdict that a reclassified event had.
    """

    id: str
    type: Type
    row: Row
    cursor: Cursor
    before: str = ""


_decode = msgspec.json.Decoder(Row).decode


class Feed:
    """Blocking: call from threads. Several processes may append and read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.erasures = Erasures(engine)
        self._swept = 0.0
        self._last: tuple[tuple[int, int], list[bytes]] = (0, 0), []

    def append(self, source: str, rows: bytes, erased: Iterable[Hit] = ()) -> None:
        """Take JSON lines of `hits` in, once per `source`. Unsubscribes are suppressed with it.

        So are those of `erased`, whose lines name nobody: whoever unsubscribes gets no mail.
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
            with self._engine.begin() as connection:
                put(connection, source, rows, now)
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
            if now - self._swept > SWEEP_SECONDS:
                self._swept = now
                with self._engine.begin() as connection:
                    connection.execute(delete(feed).where(feed.c.at < now - KEPT))
        except IntegrityError:
            return  # it was there already
        except SQLAlchemyError as error:
            raise StateError(f"cannot write to state.db: {error}") from error

    def last(self) -> Cursor:
        """The end, for who wants only what comes from now on."""
        with self._engine.connect() as connection:
            found = connection.execute(
                select(feed.c.seq, feed.c.lines).order_by(feed.c.seq.desc()).limit(1)
            ).first()
        return Cursor(found.seq, found.lines) if found else Cursor()

    def newest(self) -> int:
        """The last row's number: a cheap look for news."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.max(feed.c.seq))).scalar() or 0

    def after(
        self, cursor: Cursor, workspace: str, limit: int, until: float = inf
    ) -> tuple[list[Event], Cursor]:
        """Events that follow, and the cursor after the last line that was looked at.

        `until` leaves out what was loaded later (seconds since 1970). Raises CursorError.
        """
        found: list[Event] = []
        while len(found) < limit:
            row = self._row(cursor, until)
            if row is None:
                break
            start = cursor.line if row.seq == cursor.seq else 0
            for event in events(self._lines(row.seq), row.seq, start):
                if event.row.workspace == workspace:
                    found.append(event)
                    if len(found) >= limit:
                        return found, event.cursor
            cursor = Cursor(row.seq, row.lines)
        return found, cursor

    def _row(self, cursor: Cursor, until: float) -> Any:
        """The row that the cursor is in or, at its end, the next one. Raises CursorError."""
        ahead = select(feed.c.seq, feed.c.lines, feed.c.at).order_by(feed.c.seq).limit(1)
        with self._engine.connect() as connection:
            at = connection.execute(ahead.where(feed.c.seq == cursor.seq)).first()
            if at and cursor.line > at.lines:
                raise CursorError("is not a cursor of this service")
            if at and cursor.line < at.lines:
                return at
            row = connection.execute(ahead.where(feed.c.seq > cursor.seq)).first()
        if cursor.seq and not at:
            self._check(cursor)
        return row if row is None or row.at <= until else None

    def _lines(self, seq: int) -> list[bytes]:
        """A row's content; the last one is remembered, since it is read in many steps.

        Not for longer than nobody is erased.
        """
        known, lines = self._last
        with self._engine.connect() as connection:
            wanted = seq, newest(connection)
            if known != wanted:
                found = connection.execute(select(feed.c.rows).where(feed.c.seq == seq)).scalar()
                lines = zlib.decompress(found).splitlines() if found else []
                self._last = wanted, lines
        return lines

    def _check(self, cursor: Cursor) -> None:
        """Rows before the oldest kept one are gone; a number from the future never was."""
        with self._engine.connect() as connection:
            first = connection.execute(select(func.min(feed.c.seq))).scalar()
        if first is None:
            return  # all are too old, and nothing is missing as far as anybody can tell
        if cursor.seq > self.newest():
            raise CursorError("is not a cursor of this service")
        if cursor.seq < first - 1:
            days = int(KEPT // 86_400)
            raise CursorError(
                f"is older than {days} days, the time for which events are kept", gone=True
            )


def put(connection: Connection, source: str, rows: bytes, now: float) -> None:
    """Add a row of JSON lines. Raises IntegrityError where that source has one already."""
    values = {
        "source": source,
        "at": now,
        "lines": rows.count(b"\n"),
        "rows": zlib.compress(rows, 1),
    }
    connection.execute(insert(feed), values)


class FeedWatcher:
    """How far the feed has grown, asked for at most once per LOOK however many streams wait."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._asking = asyncio.Lock()
        self._newest, self._at = 0, 0.0
        self.streams = 0

    async def newest(self) -> int:
        """The number of the feed's last row."""
        async with self._asking:
            if time.monotonic() - self._at >= POLL_SECONDS:
                self._newest = await asyncio.to_thread(self._feed.newest)
                self._at = time.monotonic()
        return self._newest


def events(lines: list[bytes], seq: int, start: int) -> Iterator[Event]:
    """The events of one row from a line on. A verdict's change is a pair: taken back, and new."""
    for number in range(start, len(lines)):
        row = _decode(lines[number])
        cursor = Cursor(seq, number + 1)
        name = f"{row.segment.replace('-', '')}_{row.line}"
        if row.sign < 0:
            continue
        if not row.revision:
            yield Event(f"evt_{name}", TYPE_OF[row.kind], row, cursor)
        elif (before := _decode(lines[number - 1]).verdict) != row.verdict:
            yield Event(f"evt_{name}_{row.revision}", "event.reclassified", row, cursor, before)


def cursor(text: str) -> Cursor:
    """What `str(cursor)` gave; empty for the oldest event kept. Raises CursorError."""
    if not text:
        return Cursor()
    seq, _, line = text.partition(".")
    numbers = read_int(seq, high=10**15 - 1), read_int(line, high=10**15 - 1)
    if numbers[0] is None or numbers[1] is None:
        raise CursorError("must be a cursor of this service, such as 17.3")
    return Cursor(numbers[0], numbers[1])
