"""The register of journal segments in state.db: written, acknowledged by ClickHouse, verified.

A segment is entered before its first insert and acknowledged after its last one. One that is
already there when loading begins was begun before: a part of it may be in ClickHouse. What a
segment contained is kept until it is verified, and for some hours more. The rows of `hits` are kept
by the feed, which has them for its readers; `rows` has those of the other tables. Both are what
ClickHouse has: without secrets of URLs, and without persons who were erased.
"""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.clock import CLOCK
from app.storage.journal_segments import begun_at
from app.storage.state_db import StateError
from app.storage.tables import segments

_COLUMNS = (
    segments.c.id,
    segments.c.written,
    segments.c.lines,
    segments.c.hits,
    segments.c.doubtful,
    segments.c.acknowledged,
    segments.c.verified,
    segments.c.spans,
)


class RegisteredSegment(NamedTuple):
    """A journal segment. Times are seconds since 1970 UTC; `spans` is JSON of TouchedSpan."""

    id: str
    written: float
    lines: int
    hits: int
    doubtful: bool
    acknowledged: float | None
    verified: float | None
    spans: bytes


class SegmentRegister:
    """The register of one data folder. Blocking; several processes may write to it.

    What is verified is kept for `keep_hours`, and at most `max_bytes` of rows, the newest.
    Raises StateError.
    """

    def __init__(
        self, engine: Engine, keep_hours: float = 24, max_bytes: int = 1024 * 2**20
    ) -> None:
        self._engine = engine
        self._keep_seconds, self._max_bytes = keep_hours * 3600, max_bytes

    def begin(
        self, segment_id: str, lines: int, hits: int, spans: bytes, doubtful: bool = False
    ) -> bool:
        """Enter a segment before its first insert; returns whether it is doubtful.

        It is if the caller says so, or if it was begun before.
        """
        with self._writing() as connection:
            if self._exists(connection, segment_id):
                connection.execute(
                    update(segments)
                    .where(segments.c.id == segment_id)
                    .values(doubtful=True, acknowledged=None, verified=None)
                )
                return True
            connection.execute(
                insert(segments).values(
                    id=segment_id,
                    written=begun_at(segment_id),
                    lines=lines,
                    hits=hits,
                    doubtful=doubtful,
                    spans=spans,
                    rows=b"",
                )
            )
        return doubtful

    def acknowledge(self, segment_id: str, tables: Mapping[str, bytes]) -> None:
        """Note that every insert was acknowledged, and keep JSON lines by table."""
        with self._writing() as connection:
            connection.execute(
                update(segments)
                .where(segments.c.id == segment_id)
                .values(acknowledged=time.time(), rows=pack(tables))
            )

    def half_loaded(self) -> list[str]:
        """Returns the ids of segments that were begun and not acknowledged."""
        return self._select(select(segments.c.id).where(segments.c.acknowledged.is_(None)))

    def unverified(self, limit: int, doubtful: bool = False) -> list[RegisteredSegment]:
        """Returns acknowledged segments to verify, the oldest first; or only doubtful ones."""
        query = (
            select(*_COLUMNS)
            .where(segments.c.verified.is_(None), segments.c.acknowledged.is_not(None))
            .order_by(segments.c.acknowledged)
            .limit(limit)
        )
        if doubtful:
            query = query.where(segments.c.doubtful)
        with self._engine.connect() as connection:
            return [RegisteredSegment(*row) for row in connection.execute(query)]

    def within(self, start: float, end: float, after: str, limit: int) -> list[RegisteredSegment]:
        """Returns acknowledged segments written in a period, in order of ids from `after` on."""
        query = (
            select(*_COLUMNS)
            .where(segments.c.written >= start, segments.c.written < end)
            .where(segments.c.acknowledged.is_not(None), segments.c.id > after)
            .order_by(segments.c.id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [RegisteredSegment(*row) for row in connection.execute(query)]

    def oldest(self) -> float:
        """Returns when the oldest segment that is kept was written, or now."""
        found = self._select(select(func.min(segments.c.written)))
        return float(found[0]) if found and found[0] is not None else time.time()

    def complete_since(self) -> float:
        """Returns from when on the rows of every segment are kept, by when they were written.

        A segment that was begun and not acknowledged has none yet.
        """
        incomplete = or_(
            segments.c.acknowledged.is_(None),
            and_(segments.c.lines > segments.c.hits, func.length(segments.c.rows) == 0),
        )
        found = self._select(select(func.max(segments.c.written)).where(incomplete))
        return max(self.oldest(), float(found[0] or 0) if found else 0.0)

    def rows(self, segment_id: str) -> dict[str, bytes]:
        """Returns the JSON lines kept by table, without `hits`; empty if they are not kept."""
        found = self._select(select(segments.c.rows).where(segments.c.id == segment_id))
        return unpack(found[0]) if found else {}

    def verify(self, segment_ids: Sequence[str]) -> None:
        """Note that segments are verified."""
        with self._writing() as connection:
            for segment_id in segment_ids:
                connection.execute(
                    update(segments)
                    .where(segments.c.id == segment_id)
                    .values(verified=time.time(), doubtful=False)
                )

    def sweep(self) -> None:
        """Delete what was kept long enough, and rows beyond the limit."""
        if CLOCK.doubtful:
            return
        with self._writing() as connection:
            connection.execute(
                delete(segments).where(
                    segments.c.verified.is_not(None),
                    segments.c.acknowledged < time.time() - self._keep_seconds,
                )
            )
            sizes = connection.execute(
                select(segments.c.id, func.length(segments.c.rows))
                .where(func.length(segments.c.rows) > 0)
                .order_by(segments.c.written.desc())
            ).fetchall()
            total = 0
            for segment_id, size in sizes:
                total += size
                if total > self._max_bytes:
                    connection.execute(
                        update(segments).where(segments.c.id == segment_id).values(rows=b"")
                    )

    def _exists(self, connection: Connection, segment_id: str) -> bool:
        query = select(segments.c.id).where(segments.c.id == segment_id)
        return connection.execute(query).first() is not None

    def _select(self, query: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StateError(f"cannot write to the state: {error}") from error


def pack(tables: Mapping[str, bytes]) -> bytes:
    """Returns JSON lines by table as they are stored; a line that is no object names a table."""
    named = [b"%s\n%s" % (table.encode(), lines) for table, lines in tables.items() if lines]
    return zlib.compress(b"".join(named), 1) if named else b""


def unpack(packed: bytes) -> dict[str, bytes]:
    """Returns JSON lines by table: the inverse of `pack`."""
    tables: dict[str, list[bytes]] = {}
    table = ""
    for line in zlib.decompress(packed).splitlines(keepends=True) if packed else ():
        if line.startswith(b"{"):
            tables[table].append(line)
        else:
            table = line.decode().strip()
            tables[table] = []
    return {name: b"".join(lines) for name, lines in tables.items()}
