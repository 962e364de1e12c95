"""Takes a snapshot of a data folder at one moment, while hits keep coming in.

Loading and correcting pause for that moment, and what was under way is finished first: so each hit
is either in the tables or in the journal, never in both. Hits that come meanwhile are lines of the
journal as always. Tables become hard links, so the pause is short and needs little space; SQLite
itself copies state.db.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec

from app.auth import first_login
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.settings.settings import Settings
from app.storage import journal_masking, newsletters
from app.storage.clickhouse import EXPORT_PREFIX, INSERTS, Storage
from app.storage.clickhouse_backup import back_up, freeze
from app.storage.journal_segments import BAD, DONE, OPEN, SEALED, with_footer, without_footer

BACKUP = "backup-"  # begins the names of snapshots' folders in DATA_DIR
# Data about newsletters is in the journal and in ClickHouse too; a login link is for today.
_NOT_COPIED = {
    *("chdb", "journal", INSERTS, "state.db", "state.db-wal", "state.db-shm"),
    *(newsletters.FOLDER, first_login.FILE),
}


class SnapshotRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to the running service to fill a folder that exists in DATA_DIR."""

    folder: Annotated[str, msgspec.Meta(pattern=rf"^{BACKUP}\w{{1,100}}$")]


def take(
    settings: Settings,
    storage: Storage,
    loader: Loader,
    corrections: Corrections,
    folder: Path,
    destination: str = "",
) -> None:
    """Fill an empty folder in DATA_DIR. Blocking.

    `destination` is where a ClickHouse server writes its own backup, such as Disk('backups',
    'name'). Raises StorageError, OSError and sqlite3.Error.
    """
    data = settings.data_dir
    with corrections.paused(), loader.paused():
        if storage.embedded:
            freeze(storage, folder / "tables")
        elif destination:
            back_up(storage, destination)
        _journal(data / "journal", folder / "journal")
        if not settings.state_dsn:
            _state(data / "state.db", folder / "state.db")
    for path in sorted(data.iterdir()):
        if path.name in _NOT_COPIED or path.name.startswith((BACKUP, EXPORT_PREFIX)):
            continue
        if path.suffix in (".lock", ".new"):
            continue
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
        elif path.is_dir() and not (path / "secrets.json").exists():  # `demo` is one
            shutil.copytree(path, folder / path.name, copy_function=shutil.copyfile)


def _journal(source: Path, target: Path) -> None:
    """Copy the waiting journal without secrets.

    Whole lines of open journal segments are copied too, into journal
    segments of the same names.
    """
    target.mkdir(mode=0o700)
    for path in sorted(source.iterdir()):
        sealed = target / path.with_suffix(SEALED).name
        if path.suffix == OPEN:
            try:
                lines = path.read_bytes()
            except FileNotFoundError:  # sealed meanwhile
                lines = path.with_suffix(SEALED).read_bytes()
            if whole := without_footer(lines[: lines.rfind(b"\n") + 1])[0]:
                sealed.write_bytes(with_footer(journal_masking.masked(whole)))
        elif path.suffix == SEALED:
            lines, sound = without_footer(path.read_bytes())
            masked = journal_masking.masked(lines)
            sealed.write_bytes(with_footer(masked) if sound else masked)
        elif path.suffix in (DONE, BAD):
            os.link(path, target / path.name)
        elif path.name == "origin":
            shutil.copyfile(path, target / path.name)


def _state(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(source, timeout=30)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)
