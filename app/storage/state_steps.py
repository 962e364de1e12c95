"""The steps by which state.db of an earlier version is brought up to date.

Apart from state_db.py, so that `mailwake doctor` counts the missing ones without SQLAlchemy.
"""

import sqlite3
from contextlib import closing
from pathlib import Path


class VersionError(Exception):
    """The file does not fit this program; the message says what to do."""


# Changes to tables of earlier versions: (table, statements), append-only. A file's `user_version`
# is the number of steps it has had; in PostgreSQL it is `state_version.steps`. The statements are
# valid in both. New tables need no step: missing tables are created.
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
        return steps_after(path, connection.execute("PRAGMA user_version").fetchone()[0])


def steps_after(path: Path | str, version: int) -> int:
    """Returns how many steps a state of this version lacks. Raises VersionError if it is newer."""
    if version > len(STEPS):
        raise VersionError(
            f"{path} was created by a newer version of Mailwake (version {version}, this one knows"
            f" {len(STEPS)}):"
            " run that version, or restore a backup from before"
        )
    return len(STEPS) - version
