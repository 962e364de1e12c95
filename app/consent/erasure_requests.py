"""Keeps erasure requests, so that hits from older mail of erased persons stay anonymous.

A row stays for good, as a keyed hash with its time, because links in old mail carry that hash for
ever: hits that they still bring are loaded without it. The row holds the email address only until
the erasure is done, since a crash must not end it half done.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.consent import withdrawals
from app.model.ids import sent_at
from app.storage.tables import erasures, signed, unsigned

# waiting: recorded. rewritten: ClickHouse's rows are anonymised. cleaned: so is everything else,
# but ClickHouse may still keep files that it has replaced. done: no byte is left.
State = Literal["waiting", "rewritten", "cleaned", "done"]
_NEXT = select(func.coalesce(func.max(erasures.c.seq), 0) + 1).scalar_subquery()


class ErasedError(Exception):
    """Somebody was erased while data that may name them was being created: create it again."""


class Erasure(NamedTuple):
    """A request; `at`, `rewritten` are seconds since 1970 UTC, `counts` are of anonymised data."""

    id: int
    workspace: str
    recipient: int
    address: str
    at: float
    state: State
    rewritten: float | None
    counts: dict[str, int]


class Erasures:
    """Erasure requests of all workspaces. Blocking, but quick."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: tuple[int, dict[tuple[str, int], float]] = 0, {}

    def begin(self, workspace: str, recipient: int, address: str) -> Erasure:
        """Record a request to erase all data up to now; a finished erasure begins again.

        Consent is withdrawn with it, so that earlier mail is no longer counted.
        """
        values = {
            "address": address.strip().lower(),
            "at": time.time(),
            "state": "waiting",
            "rewritten": None,
            "counts": b"{}",
        }
        with self._engine.begin() as connection:
            connection.execute(
                insert(erasures)
                .values(workspace=workspace, recipient=signed(recipient), seq=_NEXT, **values)
                .on_conflict_do_update(
                    index_elements=["workspace", "recipient"], set_={"seq": _NEXT, **values}
                )
            )
            withdrawals.put(connection, workspace, recipient)
            where = erasures.c.workspace == workspace, erasures.c.recipient == signed(recipient)
            return _erasure(connection.execute(select(erasures).where(*where)).one())

    def get(self, erasure_id: int, workspace: str) -> Erasure | None:
        """Returns a request, or None if the workspace has no such one."""
        rows = self._where(erasures.c.id == erasure_id, erasures.c.workspace == workspace)
        return rows[0] if rows else None

    def open(self) -> list[Erasure]:
        """Returns requests that are not done, the oldest first."""
        return self._where(erasures.c.state != "done")

    def change(self, erasure: Erasure, **values: Any) -> Erasure:
        """Update and return a request; nothing happens if it has begun again meanwhile."""
        with self._engine.begin() as connection:
            stored = {k: msgspec.json.encode(v) if k == "counts" else v for k, v in values.items()}
            connection.execute(
                update(erasures)
                .where(erasures.c.id == erasure.id, erasures.c.at == erasure.at)
                .values(seq=_NEXT, **stored)
            )
        return erasure._replace(**values)

    def ended(self) -> bool:
        """Returns whether any erasure was ever done."""
        with self._engine.connect() as connection:
            done = select(erasures.c.id).where(erasures.c.state == "done").limit(1)
            return connection.execute(done).first() is not None

    def newest(self) -> int:
        """Returns a number that grows with every change."""
        with self._engine.connect() as connection:
            return newest(connection)

    def covers(self, workspace: str, recipient: int, message: str) -> bool:
        """Returns whether a message's (32 hex digits) recipient was erased after it was sent."""
        at = self._all().get((workspace, recipient))
        return at is not None and sent_at(message) <= at * 1000

    def refresh(self) -> None:
        """Update what `covers` answers from."""
        current = self.newest()
        if current != self._known[0]:
            table = erasures.c
            with self._engine.connect() as connection:
                rows = connection.execute(select(table.workspace, table.recipient, table.at))
                known = {(row.workspace, unsigned(row.recipient)): row.at for row in rows}
            self._known = current, known

    def _all(self) -> Mapping[tuple[str, int], float]:
        return self._known[1]

    def _where(self, *conditions: Any) -> list[Erasure]:
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(erasures).where(*conditions).order_by(erasures.c.at)
            ).fetchall()
        return [_erasure(row) for row in rows]


def newest(connection: Connection) -> int:
    """Returns the number that grows with every change, within a transaction."""
    return connection.execute(select(func.max(erasures.c.seq))).scalar() or 0


def check(connection: Connection, seen: int) -> None:
    """Raises ErasedError if somebody was erased since `seen` (as `newest` returned it).

    For callers that look up email addresses and store them: what was looked up before may be an
    erased person's. Write in the transaction first, which locks out other writers.
    """
    if newest(connection) != seen:
        raise ErasedError


def _erasure(row: Any) -> Erasure:
    return Erasure(
        id=row.id,
        workspace=row.workspace,
        recipient=unsigned(row.recipient),
        address=row.address,
        at=row.at,
        state=row.state,
        rewritten=row.rewritten,
        counts=msgspec.json.decode(row.counts, type=dict[str, int]),
    )
