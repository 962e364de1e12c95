"""Keeps withdrawals of consent to counting, for opens or clicks, one newsletter or all.

It holds keys only. They cover mail that was sent before, so they are checked at each hit: in
memory, which follows state.db within about a second in every process. While state.db is
unavailable, the last known state applies.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.model.tracking_modes import AXES, Axis
from app.storage.tables import signed, unsigned, withdrawals

log = logging.getLogger(__name__)
ALL = 0  # the newsletter of entries for all newsletters
POLL_SECONDS = 1.0  # seconds between checks


# Axis and newsletter of each withdrawal, by workspace and recipient.
Entries = Mapping[tuple[str, int], Collection[tuple[str, int]]]


class Withdrawal(NamedTuple):
    """An entry; `newsletter` may be ALL, `at` is in seconds since 1970 UTC."""

    axis: Axis
    newsletter: int
    at: float


def put(
    connection: Connection,
    workspace: str,
    recipient: int,
    axes: Iterable[Axis] = AXES,
    newsletter: int = ALL,
) -> None:
    """Add withdrawals; existing ones keep their time."""
    for axis in axes:
        connection.execute(
            insert(withdrawals)
            .values(
                workspace=workspace,
                recipient=signed(recipient),
                newsletter=signed(newsletter),
                axis=axis,
                at=time.time(),
            )
            .on_conflict_do_nothing()
        )


def withdrawn(entries: Entries, kind: str, workspace: str, recipient: int, newsletter: int) -> bool:
    """Returns whether a hit (open or click) must not be counted. Called on the hot path."""
    of_recipient = entries.get((workspace, recipient))
    if not of_recipient:
        return False
    axis = f"{kind}s"
    return (axis, ALL) in of_recipient or (axis, newsletter) in of_recipient


class Withdrawals:
    """Withdrawals of all workspaces. `refuses` and `axes` read memory, the other methods block."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.known: Entries = {}  # as read last; replaced as a whole
        self._mark: tuple[int, int] = 0, 0
        self._looked = 0.0
        self._refreshing = threading.Lock()
        self.refresh()

    def refuses(self, kind: str, workspace: str, recipient: int, newsletter: int) -> bool:
        """Returns `withdrawn` by what was read last."""
        return withdrawn(self.known, kind, workspace, recipient, newsletter)

    def axes(self, workspace: str, recipient: int, newsletter: int) -> tuple[Axis, ...]:
        """Returns the axes that new mail must not track, at most POLL_SECONDS old."""
        if time.monotonic() - self._looked > POLL_SECONDS:
            try:
                self.refresh()
            except SQLAlchemyError as error:
                log.warning("using the withdrawals that were read last: %s", error)
                self._looked = time.monotonic()
        entries = self.known.get((workspace, recipient), ())
        return tuple(
            axis for axis in AXES if (axis, ALL) in entries or (axis, newsletter) in entries
        )

    async def run(self) -> None:
        """Follow state.db, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.refresh)
            except SQLAlchemyError as error:
                log.debug("withdrawals could not be read, using the last known ones: %s", error)

    def refresh(self) -> None:
        """Read again if anything has changed. Raises SQLAlchemyError."""
        table = withdrawals.c
        # Ids are never reused: adding or removing an entry changes their number or the highest.
        mark = select(func.coalesce(func.max(table.id), 0), func.count())
        with self._refreshing, self._engine.connect() as connection:
            highest, count = connection.execute(mark).one()
            if (highest, count) != self._mark:
                entries: dict[tuple[str, int], set[tuple[str, int]]] = {}
                rows = connection.execute(
                    select(table.workspace, table.recipient, table.axis, table.newsletter)
                )
                for row in rows:
                    entry = row.axis, unsigned(row.newsletter)
                    entries.setdefault((row.workspace, unsigned(row.recipient)), set()).add(entry)
                self.known, self._mark = entries, (highest, count)
            self._looked = time.monotonic()

    def withdraw(
        self, workspace: str, recipient: int, axes: Iterable[Axis], newsletter: int = ALL
    ) -> None:
        """Withdraw, from now on in this process, within about POLL_SECONDS in the others."""
        with self._engine.begin() as connection:
            put(connection, workspace, recipient, axes, newsletter)
        self.refresh()

    def restore(
        self, workspace: str, recipient: int, axes: Iterable[Axis], newsletter: int = ALL
    ) -> None:
        """Remove a withdrawal; those for all newsletters and for one newsletter are separate."""
        table = withdrawals.c
        with self._engine.begin() as connection:
            connection.execute(
                delete(withdrawals).where(
                    table.workspace == workspace,
                    table.recipient == signed(recipient),
                    table.newsletter == signed(newsletter),
                    table.axis.in_(list(axes)),
                )
            )
        self.refresh()

    def of(self, workspace: str, recipient: int) -> list[Withdrawal]:
        """Returns what one recipient has withdrawn from, the earliest first."""
        table = withdrawals.c
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.axis, table.newsletter, table.at)
                .where(table.workspace == workspace, table.recipient == signed(recipient))
                .order_by(table.id)
            ).fetchall()
        return [Withdrawal(row.axis, unsigned(row.newsletter), row.at) for row in rows]
