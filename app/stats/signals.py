"""Signals: clicks that call for an answer, and who has had one.

A signal is a topic, a part of what a link is called, or a URL pattern, for example `pricing`. The
home page lists the people who clicked one within a day, until somebody says that they are answered.
"""

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from sqlalchemy import Engine, case, delete, select
from sqlalchemy.dialects.postgresql import insert

from app.model.errors import FieldError
from app.storage.row_limits import limit_reached
from app.storage.tables import answered, signals, signed, unsigned

Kind = Literal["topic", "label", "url"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_SIGNALS = 100  # of a workspace
MAX_ANSWERED = 10_000  # of a workspace; later ones take the place of the oldest
MAX_PATTERN_CHARS = 200


class Signal(NamedTuple):
    """What a clicked link must have: a topic, a part of its label, or of its URL (with *)."""

    kind: Kind
    pattern: str


class Signals:
    """The signals of one workspace. Blocking."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace

    def all(self) -> list[Signal]:
        """Returns all signals, sorted."""
        table = signals.c
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.kind, table.pattern)
                .where(table.workspace == self._workspace)
                .order_by(table.kind, table.pattern)
            )
            return [Signal(row.kind, row.pattern) for row in rows]

    def add(self, kind: str, pattern: str) -> None:
        """Mark such links as a signal; does nothing if they are. Raises FieldError."""
        pattern = pattern.strip()
        if kind not in KINDS:
            raise FieldError("kind", f"must be one of {', '.join(KINDS)}")
        if not 0 < len(pattern) <= MAX_PATTERN_CHARS or not pattern.isprintable():
            raise FieldError("pattern", f"must be 1 to {MAX_PATTERN_CHARS} printable characters")
        if not pattern.strip("*"):
            raise FieldError("pattern", "must contain more than *")
        row = {"workspace": self._workspace, "kind": kind, "pattern": pattern, "at": time.time()}
        with self._engine.begin() as connection:
            if problem := limit_reached(connection, signals, self._workspace, MAX_SIGNALS):
                raise FieldError("pattern", f"no further signal can be saved: {problem}")
            connection.execute(insert(signals).values(row).on_conflict_do_nothing())

    def remove(self, kind: str, pattern: str) -> None:
        """Remove a signal; does nothing if there is none."""
        table = signals.c
        mine = (table.workspace == self._workspace, table.kind == kind, table.pattern == pattern)
        with self._engine.begin() as connection:
            connection.execute(delete(signals).where(*mine))

    def answer(self, recipient: int, until_ms: int, by: str) -> None:
        """Say that a recipient's signals until a time are answered (ms since 1970 UTC)."""
        table = answered.c
        row = {
            "workspace": self._workspace,
            "recipient": signed(recipient),
            "until": until_ms,
            "by": by,
        }
        later = case((table.until > until_ms, table.until), else_=until_ms)
        latest = {"until": later, "by": by}
        with self._engine.begin() as connection:
            if limit_reached(connection, answered, self._workspace, MAX_ANSWERED):
                oldest = (
                    select(table.recipient)
                    .where(table.workspace == self._workspace)
                    .order_by(table.until)
                    .limit(1)
                    .scalar_subquery()
                )
                mine = table.workspace == self._workspace
                connection.execute(delete(answered).where(mine, table.recipient == oldest))
            statement = insert(answered).values(row)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["workspace", "recipient"], set_=latest
                )
            )

    def answered(self, recipients: Sequence[int]) -> dict[int, int]:
        """Returns until when (milliseconds since 1970 UTC) each of some recipients is answered."""
        table = answered.c
        keys = [signed(recipient) for recipient in recipients]
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.recipient, table.until).where(
                    table.workspace == self._workspace, table.recipient.in_(keys)
                )
            )
            return {unsigned(row.recipient): row.until for row in rows}
