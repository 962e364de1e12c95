"""Keeps the suppression list: recipients who must not be mailed, by one newsletter or by all.

It holds keys only; email addresses are in the recorded messages. Reading takes microseconds and no
ClickHouse, so that the rewriter can report it to every mailer.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from app.storage.tables import signed, suppressions, unsigned

ALL = 0  # the newsletter of entries for all newsletters


# Compiled once, since it is queried for every message.
_AMONG = select(suppressions.c.recipient).where(
    suppressions.c.workspace == bindparam("workspace"),
    suppressions.c.recipient.in_(bindparam("recipients", expanding=True)),
    suppressions.c.newsletter.in_((ALL, bindparam("newsletter"))),
)


class Suppression(NamedTuple):
    """An entry; `newsletter` may be ALL, `id` orders the list, `at` is seconds since 1970 UTC."""

    id: int
    recipient: int
    newsletter: int
    reason: str
    at: float


class NewSuppression(NamedTuple):
    """A recipient to suppress for a newsletter or ALL; `at` is seconds since 1970 UTC."""

    workspace: str
    recipient: int
    newsletter: int
    reason: str
    at: float


def put(
    connection: Connection, workspace: str, recipient: int, newsletter: int, reason: str, at: float
) -> bool:
    """Suppress once: what already exists stays as it is. Returns whether it is new."""
    inserted = connection.execute(
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
    return bool(inserted.rowcount)


class Suppressions:
    """The list of one workspace. Blocking, but quick."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace

    def add(self, recipient: int, newsletter: int, reason: str) -> bool:
        """Add an entry; returns whether it is new."""
        with self._engine.begin() as connection:
            return put(connection, self._workspace, recipient, newsletter, reason, time.time())

    def remove(self, recipient: int, newsletter: int) -> bool:
        """Remove an entry; returns whether there was one."""
        with self._engine.begin() as connection:
            deleted = connection.execute(
                delete(suppressions).where(
                    suppressions.c.workspace == self._workspace,
                    suppressions.c.recipient == signed(recipient),
                    suppressions.c.newsletter == signed(newsletter),
                )
            )
        return bool(deleted.rowcount)

    def among(self, recipients: Iterable[int], newsletter: int) -> set[int]:
        """Returns the recipients to whom the newsletter must not go."""
        parameters = {
            "workspace": self._workspace,
            "recipients": [signed(recipient) for recipient in recipients],
            "newsletter": signed(newsletter),
        }
        with self._engine.connect() as connection:
            return {unsigned(row.recipient) for row in connection.execute(_AMONG, parameters)}

    def of(self, recipient: int) -> set[int]:
        """Returns the newsletters that must not go to a recipient, with ALL for all."""
        table = suppressions.c
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.newsletter).where(
                    table.workspace == self._workspace, table.recipient == signed(recipient)
                )
            )
            return {unsigned(row.newsletter) for row in rows}

    def page(self, after: int, limit: int) -> Sequence[Suppression]:
        """Returns entries after an id, in the order of their creation."""
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
