"""Leases and locks of processes on several hosts: here, of several engines."""

import asyncio
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError

from app.storage import leases
from app.storage.leases import Lease, alone
from app.storage.state_db import open_state
from app.storage.state_postgres import leases as table
from tests.support.patience import until, wait_for
from tests.support.postgres import Postgres


def test_a_lease_is_of_one_holder_until_it_is_released(tmp_path: Path, postgres: Postgres) -> None:
    dsn = postgres.database()
    engines = [open_state(tmp_path, dsn=dsn) for _ in range(2)]
    first, second = (Lease(engine, "work") for engine in engines)
    other = Lease(engines[1], "other work")
    assert not first.held
    assert first.extend()
    assert first.held
    assert not second.extend()
    assert not second.held
    assert other.extend()
    assert first.extend()
    first.release()
    assert not first.held
    assert second.extend()
    for engine in engines:
        engine.dispose()


def expire(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(table).values(until=1.0))


def test_a_lease_that_was_not_extended_is_taken_over(tmp_path: Path, postgres: Postgres) -> None:
    engine = open_state(tmp_path, dsn=postgres.database())
    dead, next_one = Lease(engine, "work"), Lease(engine, "work")
    assert dead.extend()
    expire(engine)
    assert next_one.extend()
    assert not dead.extend()
    assert not dead.held
    engine.dispose()


def test_a_holder_stops_before_the_end(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_state(tmp_path, dsn=postgres.database())
    lease, now = Lease(engine, "work"), leases._now()
    monkeypatch.setattr(leases, "_now", lambda: now)
    assert lease.extend()
    now += leases.LEASE_SECONDS - leases.MARGIN_SECONDS - 0.1
    assert lease.held
    now += 0.2
    assert not lease.held
    engine.dispose()
    assert leases.LEASE_SECONDS + leases.RENEW_SECONDS < 30  # the longest takeover


def test_it_is_kept_as_long_as_the_block(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    engine = open_state(tmp_path, dsn=postgres.database())
    lease, other = Lease(engine, "work"), Lease(engine, "work")

    async def work() -> None:
        async with lease.kept():
            while not lease.held:
                await asyncio.sleep(0.01)
            assert not await asyncio.to_thread(other.extend)

    asyncio.run(work())
    assert not lease.held
    assert other.extend()
    engine.dispose()


def test_an_extension_that_is_under_way_at_the_end_takes_nothing(
    tmp_path: Path, postgres: Postgres
) -> None:
    engine = open_state(tmp_path, dsn=postgres.database())
    under_way = threading.Event()

    class Slow(Lease):
        def extend(self) -> bool:
            under_way.set()
            time.sleep(0.3)
            return super().extend()

    slow, other = Slow(engine, "work"), Lease(engine, "work")

    async def work() -> None:
        async with slow.kept():
            await until(under_way.is_set)

    asyncio.run(work())
    assert not slow.held
    assert other.extend()
    engine.dispose()


def test_with_sqlite_it_is_always_held(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    assert Lease(engine, "work").held
    engine.dispose()


def test_one_host_at_a_time_is_alone(tmp_path: Path, postgres: Postgres) -> None:
    dsn, folders = postgres.database(), (tmp_path / "a", tmp_path / "b")
    engines = [open_state(folder, dsn=dsn) for folder in folders]
    paths = [folder / "work.lock" for folder in folders]
    with alone(engines[0], paths[0]) as first, alone(engines[1], paths[1]) as second:
        assert first
        assert not second
        with alone(engines[1], folders[1] / "other.lock") as other:
            assert other
        with alone(engines[0], paths[0]) as again:
            assert not again
    with alone(engines[1], paths[1]) as second:
        assert second
    for engine in engines:
        engine.dispose()


def test_a_lease_cannot_be_extended_while_postgresql_is_down(tmp_path: Path) -> None:
    with Postgres() as server:
        engine = open_state(tmp_path, dsn=server.database())
        lease = Lease(engine, "work")
        server.stop()
        with pytest.raises(OperationalError):
            lease.extend()
        server.start()
        wait_for(lease.extend, "the lease after the restart")
        engine.dispose()
