"""Opens and migrates the state: state.db, one SQLite file in DATA_DIR that its processes share.

ClickHouse keeps what is counted; the state keeps what is looked up, changed and locked by row. WAL
lets processes read while one writes, and every commit is on disk before it returns. With
MAILWAKE_STATE_DSN it is in PostgreSQL instead, for several hosts (state_postgres.py).
"""

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Engine,
    create_engine,
    event,
    inspect,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.files import locked
from app.storage import state_postgres, state_steps
from app.storage.state_steps import VersionError, steps_after
from app.storage.tables import (
    metadata,
)


class StateError(OSError):
    """The file could not be written; the loader tries again."""


class UnreachableError(Exception):
    """PostgreSQL did not answer, or refused the connection; the message names no password."""


def open_state(folder: Path, migrate: bool = True, dsn: str = "") -> Engine:
    """Open DATA_DIR's state.db, or with `dsn` the database postgresql://user:password@host/name.

    Creates what is missing and, with `migrate`, brings it up to date. Raises VersionError if it is
    newer than this program, or older and must not be changed; UnreachableError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _open_shared(dsn, migrate) if dsn else _open_file(folder, migrate)


def _open_file(folder: Path, migrate: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{folder / 'state.db'}", connect_args={"timeout": 30}, pool_size=8
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, __: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute("PRAGMA secure_delete=ON")  # overwrites deleted rows in the file
        cursor.close()

    with locked(folder / "state.lock"):  # workers start in parallel
        try:
            _bring_up_to_date(engine, folder / "state.db", migrate)
        except VersionError:
            engine.dispose()
            raise
    return engine


def _open_shared(dsn: str, migrate: bool) -> Engine:
    engine = state_postgres.connect(dsn)
    try:
        state_postgres.bring_up_to_date(engine, migrate)
    except VersionError:
        engine.dispose()
        raise
    except OperationalError as error:
        engine.dispose()
        raise _unreachable(engine, error) from None
    return engine


def missing_shared(dsn: str) -> int:
    """Returns how many steps the tables in PostgreSQL lack; 0 if there are none yet.

    Raises VersionError, UnreachableError.
    """
    engine = state_postgres.connect(dsn)
    try:
        return state_postgres.steps_missing(engine)
    except OperationalError as error:
        raise _unreachable(engine, error) from None
    finally:
        engine.dispose()


def _unreachable(engine: Engine, error: OperationalError) -> UnreachableError:
    where = engine.url.render_as_string(hide_password=True)
    return UnreachableError(f"cannot use {where}: {_reason(error)}")


def _reason(error: OperationalError) -> str:
    """Returns what the driver says, in one line; libpq's messages have no password."""
    return " ".join(str(error.orig).split()) or "no answer"


class StateVersion:
    """Shows that the state has changed, at a tenth of a query's cost in SQLite.

    SQLite counts the commits of all other connections, of other processes too
    (sqlite.org/pragma.html#pragma_data_version). In PostgreSQL they are counted in a row, which is
    read with a query. Close it after use.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._last = engine, -1
        self._connection = None
        if engine.dialect.name == "sqlite":
            self._connection = sqlite3.connect(
                f"file:{engine.url.database}?mode=rw", uri=True, isolation_level=None, timeout=0
            )

    async def latest(self) -> int:
        """Returns `read()`, and does not block the event loop while PostgreSQL answers."""
        return self.read() if self._connection else await asyncio.to_thread(self.read)

    def read(self) -> int:
        """Returns a number that differs after a commit.

        It is -1 while SQLite's file is locked, and the last one while PostgreSQL is unavailable.
        """
        if not self._connection:
            with suppress(SQLAlchemyError):
                self._last = state_postgres.commits(self._engine)
            return self._last
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.OperationalError:
            return -1

    def close(self) -> None:
        """Close its connection."""
        if self._connection:
            self._connection.close()


def _bring_up_to_date(engine: Engine, path: Path, migrate: bool) -> None:
    """Migrate in one transaction: a process that is killed leaves the file unchanged."""
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        missing = steps_after(path, version) if tables else len(state_steps.STEPS)
        if missing and tables and not migrate:
            raise VersionError(
                f"{path} is from an older version: run `mailwake migrate` (MAILWAKE_AUTO_MIGRATE is"
                " off)"
            )
        if not missing and tables >= set(metadata.tables):
            return
        connection.rollback()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for table, statements in state_steps.STEPS[len(state_steps.STEPS) - missing :]:
            if table in tables:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        metadata.create_all(connection)
        if missing:
            connection.exec_driver_sql(f"PRAGMA user_version = {len(state_steps.STEPS)}")
        connection.commit()
