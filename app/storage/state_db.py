"""Opens and migrates state.db, one SQLite file in DATA_DIR that its processes share.

ClickHouse keeps what is counted; state.db keeps what is looked up, changed and locked by row. WAL
lets processes read while one writes, and every commit is on disk before it returns.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Engine,
    create_engine,
    event,
    inspect,
)

from app.files import locked
from app.storage import state_steps
from app.storage.state_steps import VersionError, steps_after
from app.storage.tables import (
    metadata,
)


class StateError(OSError):
    """The file could not be written; the loader tries again."""


def open_state(folder: Path, migrate: bool = True) -> Engine:
    """Open DATA_DIR's state.db; creates it if missing and, with `migrate`, brings it up to date.

    Raises VersionError if the file is newer than this program, or older and must not be changed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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


class StateVersion:
    """Shows that state.db has changed, at a tenth of a query's cost.

    SQLite counts the commits of all other connections, of other processes too
    (sqlite.org/pragma.html#pragma_data_version). Close it after use.
    """

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(
            f"file:{folder / 'state.db'}?mode=rw", uri=True, isolation_level=None, timeout=0
        )

    def read(self) -> int:
        """Returns a number that differs after a commit, -1 while the file is locked."""
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.OperationalError:
            return -1

    def close(self) -> None:
        """Close its connection."""
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
