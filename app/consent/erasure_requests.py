"""Who was erased, and since when: what comes of older mail is nobody's any more.

A row stays for good, as a keyed hash beside the moment, because links in old mail carry that hash
for ever: whatever they still bring is loaded without it. The address stands in a row only until
the erasing is over, since a crash must not end it half done.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects.sqlite import insert

from app.consent import withdrawals
from app.model.ids import sent_at
from app.storage.tables import erasures, signed, unsigned

# waiting: recorded. rewritten: ClickHouse's rows are nobody's. cleaned: so is everything else, but
# ClickHouse may still keep files that it has replaced. done: no byte is left.
State = Literal["waiting", "rewritten", "cleaned", "done"]
_NEXT = select(func.coalesce(func.max(erasures.c.seq), 0) + 1).scalar_subquery()


class ErasedError(Exception):
    """Somebody was erased while something was being made that may name them: make it anew."""


class Erasure(NamedTuple):
    """`at` and `rewritten` are seconds since 1970 UTC; `counts` says what was made nobody's."""

    id: int
    workspace: str
    recipient: int
    address: str
    at: float
    state: State
    rewritten: float | None
    counts: dict[str, int]


class Erasures:
    """Of every workspace. Blocking, but quick."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: tuple[int, dict[tuple[str, int], float]] = 0, {}

    def begin(self, workspace: str, recipient: int, address: str) -> Erasure:
        """Record that everything up to now goes; one that was done begins again.

        Consent is withdrawn with it, so that mail of before counts nothing more.
        """
        said = {
            "address": address.strip().lower(),
            "at": time.time(),
            "state": "waiting",
            "rewritten": None,
            "counts": b"{}",
        }
        with self._engine.begin() as connection:
            connection.execute(
                insert(erasures)
                .values(workspace=workspace, recipient=signed(recipient), seq=_NEXT, **said)
                .on_conflict_do_update(
                    index_elements=["workspace", "recipient"], set_={"seq": _NEXT, **said}
                )
            )
            withdrawals.put(connection, workspace, recipient)
            where = erasures.c.workspace == workspace, erasures.c.recipient == signed(recipient)
            return _erasure(connection.execute(select(erasures).where(*where)).one())

    def get(self, erasure_id: int, workspace: str) -> Erasure | None:
        """None where that workspace has none."""
        found = self._where(erasures.c.id == erasure_id, erasures.c.workspace == workspace)
        return found[0] if found else None

    def open(self) -> list[Erasure]:
        """Those that are not done, the oldest first."""
        return self._where(erasures.c.state != "done")

    def change(self, erasure: Erasure, **values: Any) -> Erasure:
        """The erasure with other values; nothing happens where it has begun again meanwhile."""
        with self._engine.begin() as connection:
            stored = {k: msgspec.json.encode(v) if k == "counts" else v for k, v in values.items()}
            connection.execute(
                update(erasures)
                .where(erasures.c.id == erasure.id, erasures.c.at == erasure.at)
                .values(seq=_NEXT, **stored)
            )
        return erasure._replace(**values)

    def ended(self) -> bool:
        """Whether any was ever done."""
        with self._engine.connect() as connection:
            done = select(erasures.c.id).where(erasures.c.state == "done").limit(1)
            return connection.execute(done).first() is not None

    def newest(self) -> int:
        """Grows with every change."""
        with self._engine.connect() as connection:
            return newest(connection)

    def covers(self, workspace: str, recipient: int, message: str) -> bool:
        """Whether a message (32 hex digits) went to somebody who was erased after it was sent."""
        at = self._all().get((workspace, recipient))
        return at is not None and sent_at(message) <= at * 1000

    def refresh(self) -> None:
        """Let `covers` know what is there now."""
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
    """As above, within a transaction."""
    return connection.execute(select(func.max(erasures.c.seq))).scalar() or 0


def check(connection: Connection, seen: int) -> None:
    """Raises ErasedError where somebody was erased since `seen` (as `newest` gave it).

    For who looks addresses up and keeps them: what was looked up before may be an erased person's.
    Write in the transaction first, so that nobody else does.
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
