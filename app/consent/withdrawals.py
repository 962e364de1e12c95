"""Who has withdrawn consent to being counted, for opens or clicks, one newsletter or all.

It holds keys only. Mail that was sent before counts nothing more either, so it is asked at each
hit: from memory, which follows state.db within about a second in every process. While state.db is
away what was known last goes on to hold.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from app.model.tracking_modes import AXES, Axis
from app.storage.tables import signed, unsigned, withdrawals

log = logging.getLogger(__name__)
ALL = 0  # newsletters
POLL_SECONDS = 1.0  # seconds between looks


class Withdrawal(NamedTuple):
    """`newsletter` is ALL for every one; `at` is in seconds since 1970 UTC."""

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
    """Withdraw; what is withdrawn already keeps its time."""
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


class Withdrawals:
    """Of all workspaces. Changing and reading blocks; `refuses` and `axes` are from memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: Mapping[tuple[str, int], Collection[tuple[str, int]]] = {}
        self._mark: tuple[int, int] = 0, 0
        self._looked = 0.0
        self._refreshing = threading.Lock()
        self.refresh()

    def refuses(self, kind: str, workspace: str, recipient: int, newsletter: int) -> bool:
        """Whether a hit (open or click) must not be counted. The hot path asks."""
        found = self._known.get((workspace, recipient))
        if not found:
            return False
        axis = f"{kind}s"
        return (axis, ALL) in found or (axis, newsletter) in found

    def axes(self, workspace: str, recipient: int, newsletter: int) -> tuple[Axis, ...]:
        """Those that new mail of a newsletter must not track; at most LOOK seconds old."""
        if time.monotonic() - self._looked > POLL_SECONDS:
            try:
                self.refresh()
            except SQLAlchemyError as error:
                log.warning("using the withdrawals that were read last: %s", error)
                self._looked = time.monotonic()
        found = self._known.get((workspace, recipient), ())
        return tuple(axis for axis in AXES if (axis, ALL) in found or (axis, newsletter) in found)

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
        # Ids never come again: an entry more or less changes their number or the highest.
        mark = select(func.coalesce(func.max(table.id), 0), func.count())
        with self._refreshing, self._engine.connect() as connection:
            highest, count = connection.execute(mark).one()
            if (highest, count) != self._mark:
                found: dict[tuple[str, int], set[tuple[str, int]]] = {}
                rows = connection.execute(
                    select(table.workspace, table.recipient, table.axis, table.newsletter)
                )
                for row in rows:
                    entry = row.axis, unsigned(row.newsletter)
                    found.setdefault((row.workspace, unsigned(row.recipient)), set()).add(entry)
                self._known, self._mark = found, (highest, count)
            self._looked = time.monotonic()

    def withdraw(
        self, workspace: str, recipient: int, axes: Iterable[Axis], newsletter: int = ALL
    ) -> None:
        """From now on in this process, within about LOOK seconds in the others."""
        with self._engine.begin() as connection:
            put(connection, workspace, recipient, axes, newsletter)
        self.refresh()

    def restore(
        self, workspace: str, recipient: int, axes: Iterable[Axis], newsletter: int = ALL
    ) -> None:
        """Take that withdrawal back; one for all newsletters and one for a single stand apart."""
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
        """What one recipient has withdrawn, the first first."""
        table = withdrawals.c
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.axis, table.newsletter, table.at)
                .where(table.workspace == workspace, table.recipient == signed(recipient))
                .order_by(table.id)
            ).fetchall()
        return [Withdrawal(row.axis, unsigned(row.newsletter), row.at) for row in rows]
