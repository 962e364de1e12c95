"""The suppression list: recipients who must not be mailed, for one newsletter or for all.

It holds keys only; addresses stay in the ledger. Reading takes microseconds and no ClickHouse, so
that the rewriter can tell every mailer.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from app.storage.tables import signed, suppressions, unsigned

ALL = 0  # newsletters


# Made once: every message asks it.
_AMONG = select(suppressions.c.recipient).where(
    suppressions.c.workspace == bindparam("workspace"),
    suppressions.c.recipient.in_(bindparam("recipients", expanding=True)),
    suppressions.c.newsletter.in_((ALL, bindparam("newsletter"))),
)


class Suppression(NamedTuple):
    """`id` orders the list; `at` is in seconds since 1970 UTC, `newsletter` ALL for every one."""

    id: int
    recipient: int
    newsletter: int
    reason: str
    at: float


def put(
    connection: Connection, workspace: str, recipient: int, newsletter: int, reason: str, at: float
) -> bool:
    """Suppress once: what already exists stays as it is. Says whether it is new."""
    made = connection.execute(
        insert(suppressions)
        .values(
            workspace=workspace,
            recipient=signed(recipient),
            newsletter=signed(newsletter),
            reason=reason,
            at=at,
        )
        .on_conflict_do_nothing()
    )
    return bool(made.rowcount)


class Suppressions:
    """The list of one workspace. Blocking, but quick."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace

    def add(self, recipient: int, newsletter: int, reason: str) -> bool:
        """Whether the entry is new."""
        with self._engine.begin() as connection:
            return put(connection, self._workspace, recipient, newsletter, reason, time.time())

    def remove(self, recipient: int, newsletter: int) -> bool:
        """Whether there was such an entry."""
        with self._engine.begin() as connection:
            gone = connection.execute(
                delete(suppressions).where(
                    suppressions.c.workspace == self._workspace,
                    suppressions.c.recipient == signed(recipient),
                    suppressions.c.newsletter == signed(newsletter),
                )
            )
        return bool(gone.rowcount)

    def among(self, recipients: Iterable[int], newsletter: int) -> set[int]:
        """Those of the recipients to whom the newsletter must not go."""
        given = {
            "workspace": self._workspace,
            "recipients": [signed(recipient) for recipient in recipients],
            "newsletter": signed(newsletter),
        }
        with self._engine.connect() as connection:
            return {unsigned(row.recipient) for row in connection.execute(_AMONG, given)}

    def of(self, recipient: int) -> set[int]:
        """Newsletters that must not go to a recipient; ALL among them for all."""
        table = suppressions.c
        with self._engine.connect() as connection:
            found = connection.execute(
                select(table.newsletter).where(
                    table.workspace == self._workspace, table.recipient == signed(recipient)
                )
            )
            return {unsigned(row.newsletter) for row in found}

    def page(self, after: int, limit: int) -> Sequence[Suppression]:
        """Entries in the order of their making, after an id."""
        table = suppressions.c
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.id, table.recipient, table.newsletter, table.reason, table.at)
                .where(table.workspace == self._workspace, table.id > after)
                .order_by(table.id)
                .limit(limit)
            ).fetchall()
        return [
            Suppression(
                row.id, unsigned(row.recipient), unsigned(row.newsletter), row.reason, row.at
            )
            for row in rows
        ]
