"""Lets one host at a time do a piece of work: by a file's lock, and by a lease in PostgreSQL.

A lease has a holder and an end, by the clock of PostgreSQL. The holder extends it long before the
end, and stops by its own clock if it cannot; another host takes it over after the end.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from zlib import crc32

from sqlalchemy import Engine, Float, cast, delete, func, or_, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.files import locked
from app.storage.state_postgres import leases

log = logging.getLogger(__name__)
LEASE_SECONDS = 20.0
RENEW_SECONDS = 5.0  # between extensions, and between attempts to take over
POLL_SECONDS = 0.5  # between attempts to get a lock that is waited for
MARGIN_SECONDS = 2.0  # before its end, in which its holder begins nothing


class Lease:
    """A lease of one process, by name. State in SQLite needs none: a file's lock suffices."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._holder = secrets.token_hex(8)
        self._until = float("inf") if engine.dialect.name == "sqlite" else 0.0

    @property
    def held(self) -> bool:
        """Returns whether this process may work now."""
        return _now() < self._until - MARGIN_SECONDS

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Take and extend it as long as the block, then give it back; `held` says if it is ours."""
        if self.held:
            yield
            return
        ended = asyncio.Event()
        keeping = asyncio.create_task(self._keep(ended))
        try:
            yield
        finally:
            ended.set()
            await keeping  # an extension that ended after the release would take it again
            with suppress(SQLAlchemyError):
                await asyncio.to_thread(self.release)

    async def _keep(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            try:
                await asyncio.to_thread(self.extend)
            except SQLAlchemyError as error:
                log.debug("the lease %s cannot be extended: %s", self._name, error)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), RENEW_SECONDS)

    def extend(self) -> bool:
        """Take or extend it; returns whether it is ours. Blocking. Raises SQLAlchemyError."""
        began = _now()
        clock = cast(func.extract("epoch", func.clock_timestamp()), Float)
        values = {"holder": self._holder, "until": clock + LEASE_SECONDS}
        statement = (
            insert(leases)
            .values(name=self._name, **values)
            .on_conflict_do_update(
                index_elements=["name"],
                set_=values,
                where=or_(leases.c.holder == self._holder, leases.c.until < clock),
            )
            .returning(leases.c.name)
        )
        with self._engine.begin() as connection:
            ours = connection.execute(statement).first() is not None
        self._until = began + LEASE_SECONDS if ours else 0.0
        return ours

    def release(self) -> None:
        """Let another host take it at once. Blocking. Raises SQLAlchemyError."""
        self._until = 0.0
        own = leases.c.name == self._name, leases.c.holder == self._holder
        with self._engine.begin() as connection:
            connection.execute(delete(leases).where(*own))


@contextmanager
def alone(engine: Engine, path: Path, wait: bool = False) -> Iterator[bool]:
    """Yield whether no other process works under this lock file, or under its name on other hosts.

    With `wait` it is waited for. PostgreSQL ends a lock with its connection.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(path, wait=wait))
        except BlockingIOError:
            yield False
            return
        if engine.dialect.name == "sqlite":
            yield True
            return
        number = {"number": crc32(path.name.encode())}
        connection = held.enter_context(
            engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        )
        take = text("SELECT pg_try_advisory_lock(:number)")
        while not connection.execute(take, number).scalar():
            if not wait:
                yield False
                return
            time.sleep(POLL_SECONDS)
        try:
            yield True
        finally:
            with suppress(SQLAlchemyError):
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), number)


def _now() -> float:
    """Returns seconds that pass while a host sleeps, too (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
