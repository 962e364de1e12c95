"""Loads outcomes into ClickHouse, once their messages are found, and acts on them.

Repeating any of it changes nothing: ClickHouse merges rows of the same report, the feed takes a
source once, and a suppression that exists stays as it is. Outcomes whose messages are not found are
stored without one and looked for again, at growing intervals, for RETRIED_SECONDS.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.consent.erasure_requests import Erasures
from app.consent.suppression_rules import SuppressionRules
from app.events.feed import Feed
from app.files import locked
from app.outcomes.consequences import suppressions_for
from app.outcomes.matching import matched
from app.outcomes.rows import NO_MESSAGE, OutcomeRow, without_person
from app.storage.clickhouse import Row, Storage, StorageError
from app.storage.sql import sql
from app.storage.state_db import StateError
from app.storage.tables import unmatched_outcomes

log = logging.getLogger(__name__)

TABLE = "outcomes"
LOCK = "outcomes.lock"  # of the journal's folder: held while outcomes are matched again
FIRST_RETRY_SECONDS, RETRY_FACTOR = 2.0, 4  # until outcomes are matched again, and each time after
RETRIED_SECONDS = 2 * 86_400.0
POLL_SECONDS = 1.0
CLOCK_SECONDS = 86_400.0  # by which the clock may have been set back since a segment was loaded
SEGMENTS = 200  # matched again together
REPORTS = 2_000  # in one query
REPORTED = ("delivered", "bounced", "complained")  # the kinds that are events
_encode = msgspec.json.Encoder().encode_lines


class FeedOutcome(msgspec.Struct, omit_defaults=True, gc=False):
    """An outcome as a line of the feed, which names no mail but ours."""

    workspace: str
    newsletter: int
    message: str
    at: float
    kind: str
    recipient: int
    event: str
    verdict: str
    segment: str
    line: int
    permanent: int = 0
    code: str = ""
    text: str = ""
    provider: str = ""


class Unmatched(NamedTuple):
    """Lines of a journal segment with outcomes whose messages were not found yet."""

    segment: str
    at: float
    tries: int
    lines: frozenset[int]


class OutcomeLoader:
    """Loads the outcomes of journal segments in `folder`. Blocking, except `run()`.

    Without `state` no outcome is matched again, without `feed` none has consequences. `rules_of`
    returns the rules of a workspace.
    """

    def __init__(
        self,
        folder: Path,
        storage: Storage,
        state: Engine | None = None,
        feed: Feed | None = None,
        rules_of: Callable[[str], SuppressionRules] = lambda _: SuppressionRules(),
    ) -> None:
        self._folder, self._storage, self._state = folder, storage, state
        self._feed, self._rules_of = feed, rules_of

    def load(self, segment_id: str, rows: Sequence[OutcomeRow]) -> bytes:
        """Store a journal segment's outcomes; returns their JSON lines. Raises StorageError."""
        if not rows:
            return b""
        stored = self._store(segment_id, segment_id, matched(self._storage, rows))
        if self._state and (lines := [row.line for row in stored if may_be_matched(row)]):
            self._note(self._state, segment_id, lines)
        return _encode(stored)

    def _store(
        self, segment_id: str, token: str, rows: Sequence[OutcomeRow]
    ) -> Sequence[OutcomeRow]:
        """Insert rows, then report and act on those that are new; returns the rows as stored."""
        erasures = self._feed.erasures if self._feed else None
        stored = [without_person(row) if _is_erased(erasures, row) else row for row in rows]
        self._storage.insert(TABLE, _encode(stored), token)
        if self._feed:
            before = self._stored_before(segment_id, stored)
            # A report that is in the journal segment twice counts once, too.
            new = {row.key: n for n, row in enumerate(stored) if row.key not in before}.values()
            events = [_feed_line(stored[n]) for n in new if _is_event(stored[n])]
            try:
                suppressed = suppressions_for(self._storage, self._rules_of, [rows[n] for n in new])
            except SQLAlchemyError as error:
                raise StateError(f"cannot read state.db: {error}") from error
            self._feed.append_outcomes(f"{TABLE} {token}", _encode(events), suppressed)
        return stored

    def _stored_before(self, segment_id: str, rows: Sequence[OutcomeRow]) -> set[tuple[str, str]]:
        """Returns the keys of rows that were stored from an earlier journal segment.

        Of two segments with the same report, only the earlier one acts on it, also if its loading
        was cut off and it is loaded again after the other.
        """
        keys: set[tuple[str, str]] = set()
        for workspace, some in _pages(rows):
            them = {
                "workspace": workspace,
                "newsletters": sorted({row.newsletter for row in some}),
                "messages": sorted({row.message for row in some}),
                "events": sorted({row.event for row in some}),
                "segment": segment_id,
            }
            found = self._storage.query(sql("outcomes_before"), them)
            keys.update((row["message"].hex, row["event"].hex) for row in found)
        return keys

    # Outcomes that came before their messages

    async def run(self) -> None:
        """Match again what is due, until cancelled; waits while ClickHouse is unavailable."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.match_again)
            except (StorageError, OSError, SQLAlchemyError) as error:
                log.debug("matching outcomes is waiting: %s", error)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no process of the data folder match outcomes again meanwhile."""
        with locked(self._folder / LOCK):
            yield

    def match_again(self, now: float | None = None) -> int:
        """Look again for the messages of outcomes that are due; returns how many were found.

        Raises StorageError, SQLAlchemyError.
        """
        now = time.time() if now is None else now
        if self._state is None or not _due(self._state, now):
            return 0
        with self.paused():
            due = _due(self._state, now)  # another process may have been first
            if self._feed:
                self._feed.erasures.refresh()
            rows = self._waiting(due)
            found: dict[str, list[OutcomeRow]] = {}
            for row in matched(self._storage, rows):
                if row.is_matched:
                    found.setdefault(row.segment, []).append(row)
            for unmatched in due:
                new = found.get(unmatched.segment, [])
                if new:
                    # Every attempt may find another part, so each is an insert of its own.
                    lines = sorted(row.line for row in new)
                    self._store(unmatched.segment, f"{unmatched.segment} {_digest(lines)}", new)
                left = unmatched.lines - {row.line for row in new}
                self._note_attempt(self._state, unmatched._replace(lines=left), now)
        return sum(map(len, found.values()))

    def _waiting(self, due: Sequence[Unmatched]) -> list[OutcomeRow]:
        """Returns the rows that some journal segments still wait for."""
        if not due:
            return []
        lines = {unmatched.segment: unmatched.lines for unmatched in due}
        them = {
            "segments": list(lines),
            "from_ms": int((min(unmatched.at for unmatched in due) - CLOCK_SECONDS) * 1000),
        }
        rows = map(_stored_row, self._storage.query(sql("outcomes_unmatched"), them))
        return [row for row in rows if row.line in lines[row.segment]]

    def _note(self, state: Engine, segment_id: str, lines: Iterable[int]) -> None:
        """Note what is to be matched again; a note that exists stays as it is."""
        now = time.time()
        values = {
            "segment": segment_id,
            "at": now,
            "due": now + FIRST_RETRY_SECONDS,
            "tries": 0,
            "lines": msgspec.json.encode(sorted(lines)),
        }
        try:
            with state.begin() as connection:
                connection.execute(
                    insert(unmatched_outcomes).values(**values).on_conflict_do_nothing()
                )
        except SQLAlchemyError as error:
            raise StateError(f"cannot write to the state: {error}") from error

    def _note_attempt(self, state: Engine, unmatched: Unmatched, now: float) -> None:
        """Note what is left after an attempt, and when the next one is due."""
        own = unmatched_outcomes.c.segment == unmatched.segment
        pause = FIRST_RETRY_SECONDS * RETRY_FACTOR ** (unmatched.tries + 1)
        ended = not unmatched.lines or now - unmatched.at + pause > RETRIED_SECONDS
        with state.begin() as connection:
            if ended:
                connection.execute(delete(unmatched_outcomes).where(own))
                return
            connection.execute(
                update(unmatched_outcomes)
                .where(own)
                .values(
                    due=now + pause,
                    tries=unmatched.tries + 1,
                    lines=msgspec.json.encode(sorted(unmatched.lines)),
                )
            )


def _due(state: Engine, now: float) -> list[Unmatched]:
    table = unmatched_outcomes.c
    query = select(unmatched_outcomes).where(table.due <= now).order_by(table.due).limit(SEGMENTS)
    with state.connect() as connection:
        return [
            Unmatched(
                row.segment,
                row.at,
                row.tries,
                frozenset(msgspec.json.decode(row.lines, type=list[int])),
            )
            for row in connection.execute(query)
        ]


def may_be_matched(row: OutcomeRow) -> bool:
    """Returns whether a row's message may be found later. One that only suppresses has none."""
    named = row.message != NO_MESSAGE or row.rfc_message_id or row.stated_newsletter
    return not row.is_matched and bool(named)


def _is_event(row: OutcomeRow) -> bool:
    return row.is_matched and row.kind in REPORTED


def _feed_line(row: OutcomeRow) -> FeedOutcome:
    return FeedOutcome(
        workspace=row.workspace,
        newsletter=row.newsletter,
        message=row.message,
        at=row.at,
        kind=row.kind,
        recipient=row.recipient,
        verdict="",
        segment=row.segment,
        line=row.line,
        event=row.event,
        permanent=row.permanent,
        code=row.code,
        text=row.text,
        provider=row.provider,
    )


def _is_erased(erasures: Erasures | None, row: OutcomeRow) -> bool:
    """Returns whether a row is about a message that was sent before its recipient's erasure.

    One whose message is not found is, if the recipient was ever erased.
    """
    return bool(
        erasures and row.recipient and erasures.covers(row.workspace, row.recipient, row.message)
    )


def _stored_row(row: Row) -> OutcomeRow:
    """Returns a row of outcomes_unmatched.sql."""
    columns = {name: value for name, value in row.items() if name not in ("at_ms", "received_ms")}
    identities = {name: row[name].hex for name in ("message", "event")}
    times = {"at": row["at_ms"] / 1000, "received": row["received_ms"] / 1000}
    return OutcomeRow(**{**columns, **identities, **times, "segment": str(row["segment"])})


def _pages(rows: Sequence[OutcomeRow]) -> Iterator[tuple[str, list[OutcomeRow]]]:
    """Yields rows of one workspace, as many as one query takes."""
    for workspace, group in groupby(
        sorted(rows, key=lambda row: (row.workspace, row.newsletter)), lambda row: row.workspace
    ):
        own = list(group)
        for first in range(0, len(own), REPORTS):
            yield workspace, own[first : first + REPORTS]


def _digest(lines: Sequence[int]) -> str:
    return blake2b(msgspec.json.encode(lines), digest_size=8).hexdigest()
