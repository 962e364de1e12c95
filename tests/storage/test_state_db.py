"""Opening and following the state; state.db's steps are in test_clickhouse_migrations.py."""

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, update

from app.events.feed import Feed
from app.storage import state_postgres
from app.storage.state_db import StateVersion, UnreachableError, open_state
from app.storage.state_steps import STEPS, VersionError
from app.storage.tables import feed as feed_table
from app.storage.tables import suppressions, webhooks
from tests.support.postgres import PASSWORD, Postgres


def suppress(engine: Engine, key: int) -> None:
    with engine.begin() as connection:
        row = {"workspace": "default", "recipient": key, "newsletter": 0, "reason": "x", "at": 1.0}
        connection.execute(insert(suppressions).values(row))


def suppress_elsewhere(folder: Path, dsn: str, key: int) -> None:
    suppress(open_state(folder, dsn=dsn), key)


def dsn_of(engine: Engine) -> str:
    """Returns the setting that opens the same PostgreSQL, empty for SQLite."""
    if engine.dialect.name == "sqlite":
        return ""
    url = engine.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


@contextmanager
def opened(dsn: str, folder: Path, migrate: bool = True) -> Iterator[Engine]:
    engine = open_state(folder, migrate, dsn)
    yield engine
    engine.dispose()


def test_each_commit_shows_also_one_of_another_process(tmp_path: Path) -> None:
    engine, other = open_state(tmp_path), open_state(tmp_path)
    with closing(StateVersion(engine)) as state:
        first = state.read()
        assert state.read() == first
        suppress(other, 1)
        second = state.read()
        assert second != first
        assert state.read() == second
        arguments = tmp_path, dsn_of(engine), 2
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=suppress_elsewhere, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == 0
        assert state.read() != second
        assert asyncio.run(state.latest()) == state.read()


def test_reading_alone_changes_no_version(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    with closing(StateVersion(engine)) as state:
        before = state.read()
        with open_state(tmp_path).begin() as connection:
            assert not connection.execute(select(suppressions)).all()
        assert state.read() == before


def test_rows_become_visible_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Readers of the feed continue after the highest number that they have seen."""
    engine, seen, done = open_state(tmp_path), [0], threading.Event()
    feed = Feed(engine)

    def read() -> None:
        while not done.is_set():
            seen.append(Feed(engine).newest())

    def write(writer: int) -> None:
        for number in range(20):
            feed.append(f"{writer} {number}", b'{"kind":"open"}\n')

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    done.set()
    reader.join()
    with engine.connect() as connection:
        numbers = connection.execute(select(feed_table.c.seq).order_by(feed_table.c.at)).scalars()
        assert len(set(numbers)) == 80
    assert seen == sorted(seen)


def test_an_empty_database_gets_the_tables_and_one_of_a_newer_version_is_left(
    tmp_path: Path, postgres: Postgres
) -> None:
    dsn = postgres.database(empty=True)
    with ThreadPoolExecutor(4) as hosts:  # that start at the same time
        for engine in list(hosts.map(lambda _: open_state(tmp_path, dsn=dsn), range(4))):
            engine.dispose()
    with opened(dsn, tmp_path) as engine:
        suppress(engine, 2**63 - 1)
        with engine.begin() as connection:
            assert connection.execute(select(suppressions.c.recipient)).scalar() == 2**63 - 1
            connection.execute(update(state_postgres.state_version).values(steps=len(STEPS) + 1))
    with pytest.raises(VersionError, match="newer version") as raised:
        open_state(tmp_path, dsn=dsn)
    assert PASSWORD not in str(raised.value)


def test_an_earlier_version_is_migrated_unless_that_is_off(
    tmp_path: Path, postgres: Postgres
) -> None:
    dsn, version = postgres.database(), state_postgres.state_version
    with opened(dsn, tmp_path) as engine, engine.begin() as connection:
        connection.execute(update(version).values(steps=len(STEPS) - 1))
        connection.exec_driver_sql("ALTER TABLE webhooks DROP COLUMN timing")
    with pytest.raises(VersionError, match="mailwake migrate"):
        open_state(tmp_path, migrate=False, dsn=dsn)
    with opened(dsn, tmp_path) as engine, engine.connect() as connection:
        assert connection.execute(select(webhooks.c.timing)).all() == []
        assert connection.execute(select(version.c.steps)).scalar() == len(STEPS)


def test_an_unreachable_database_is_named_without_its_password(
    tmp_path: Path, postgres: Postgres
) -> None:
    wrong = postgres.dsn("postgres").replace(PASSWORD, "a-wrong-password")
    for dsn, reason in (
        (wrong, "password authentication failed"),
        (postgres.dsn("missing"), 'database "missing" does not exist'),
        (f"postgresql://me:{PASSWORD}@127.0.0.1:1/db", "refused"),
    ):
        with pytest.raises(UnreachableError, match=reason) as raised:
            open_state(tmp_path, dsn=dsn)
        assert "127.0.0.1" in str(raised.value)
        for secret in (PASSWORD, "a-wrong-password"):
            assert secret not in str(raised.value)


def test_text_with_a_nul_is_stored(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    row = {"workspace": "a\0b", "recipient": 1, "newsletter": 0, "reason": "x", "at": 1.0}
    with engine.begin() as connection:
        connection.execute(insert(suppressions).values(row))
    with engine.connect() as connection:
        found = select(suppressions.c.recipient).where(suppressions.c.workspace == "a\0b")
        assert connection.execute(found).scalar_one() == 1
