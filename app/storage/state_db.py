"""Opens and migrates state.db, one SQLite file in DATA_DIR that its processes share.

ClickHouse keeps what is counted; state.db keeps what is looked up, changed and locked by row. WAL
lets processes read while one writes, and every commit is on disk before it returns.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Engine,
    create_engine,
    event,
    inspect,
)

from app.files import locked
from app.storage.tables import (
    metadata,
)


class StateError(OSError):
    """The file could not be written; the loader tries again."""


class VersionError(Exception):
    """The file does not fit this program; the message says what to do."""


# Changes to tables of earlier versions: (table, statements), append-only. A file's `user_version`
# is the number of steps it has had. New tables need no step: missing tables are created.
STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("feed", ("CREATE INDEX feed_at ON feed (at)",)),
    (
        "feed",
        (
            "ALTER TABLE feed ADD COLUMN stage VARCHAR DEFAULT '' NOT NULL",
            "ALTER TABLE feed ADD COLUMN settles INTEGER",
        ),
    ),
    ("webhooks", ("ALTER TABLE webhooks ADD COLUMN timing VARCHAR DEFAULT '' NOT NULL",)),
)


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


def steps_missing(folder: Path) -> int:
    """Returns how many steps DATA_DIR's state.db lacks; 0 if there is no file.

    Raises VersionError.
    """
    path = folder / "state.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return 0
        return _steps_missing(path, connection.execute("PRAGMA user_version").fetchone()[0])


def _steps_missing(path: Path, version: int) -> int:
    if version > len(STEPS):
        raise VersionError(
            f"{path} was created by a newer version of Mailwake (version {version}, this one knows"
            f" {len(STEPS)}):"
            " run that version, or restore a backup from before"
        )
    return len(STEPS) - version


def _bring_up_to_date(engine: Engine, path: Path, migrate: bool) -> None:
    """Migrate in one transaction: a process that is killed leaves the file unchanged."""
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        missing = _steps_missing(path, version) if tables else len(STEPS)
        if missing and tables and not migrate:
            raise VersionError(
                f"{path} is from an older version: run `mailwake migrate` (MAILWAKE_AUTO_MIGRATE is"
                " off)"
            )
        if not missing and tables >= set(metadata.tables):
            return
        connection.rollback()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for table, statements in STEPS[len(STEPS) - missing :]:
            if table in tables:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        metadata.create_all(connection)
        if missing:
            connection.exec_driver_sql(f"PRAGMA user_version = {len(STEPS)}")
        connection.commit()
