"""`mailwake backup` and `mailwake restore`."""

import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from app.cli import service_client
from app.cli.common import errors, fail, option, settings_of
from app.cli.service_client import AskError
from app.cli.state import open_state
from app.files import locked
from app.ingest.networks import NetworksError
from app.ingest.pipeline import assemble
from app.ops import backup as archives
from app.ops import snapshot
from app.ops.backup import BackupError
from app.settings.load import (
    load,
)
from app.settings.settings import Settings, SettingsError
from app.storage.clickhouse import StorageError

FAILURES = (AskError, BackupError, StorageError, NetworksError, OSError, sqlite3.Error)


def backup(
    target: Annotated[
        str,
        typer.Argument(
            help="A .tar file, a folder (the file is named after the time), or - for standard"
            " output."
        ),
    ],
    clickhouse: Annotated[
        str,
        typer.Option(
            help="Also back up a ClickHouse server, to Disk('backups', 'name') or S3(...)."
        ),
    ] = "",
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Back up everything of value in DATA_DIR to one file, while the service runs.

    The file contains secrets and email addresses. Only its owner can read it.
    """
    settings = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    if clickhouse and settings.clickhouse_dsn == "chdb":
        raise fail(
            "--clickhouse: only for a ClickHouse server. Embedded tables are in the backup file."
        )
    path = Path(target)
    if path.is_dir():
        path = path / time.strftime("mailwake-%Y%m%dT%H%M%SZ.tar", time.gmtime())
    if target != "-" and path.resolve().is_relative_to(settings.data_dir.resolve()):
        raise fail(
            f"{path} is inside {settings.data_dir}. The next backup would contain this one. Choose"
            " a file elsewhere."
        )
    try:
        with _folder(settings.data_dir) as folder:
            _take_snapshot(settings, folder, clickhouse)
            manifest = archives.pack(settings, folder, sys.stdout.buffer if target == "-" else path)
    except FAILURES as error:
        raise fail(str(error)) from None
    size = "" if target == "-" else f", {path.stat().st_size:,} bytes"
    _say(f"{target}: {len(manifest.files):,} files{size}. The backup contains secrets.")
    if manifest.clickhouse == "server":
        database = urlsplit(settings.clickhouse_dsn).path.strip("/") or "default"
        if clickhouse:
            _say(f"ClickHouse has saved its own backup at {clickhouse}. Restore it with")
            _say(f"  RESTORE DATABASE `{database}` FROM {clickhouse}")
        else:
            _say("ClickHouse's tables are not included. Back them up at the same time with")
            _say(f"  BACKUP DATABASE `{database}` TO Disk('backups', 'name')")
            _say("or with this command: --clickhouse \"Disk('backups', 'name')\"")
    if settings.state_dsn:
        _say("The state in PostgreSQL is not included. Back it up now, after this backup, with")
        _say("  pg_dump --format=custom --file=mailwake-state.dump DATABASE")


def _say(line: str) -> None:
    """Print to standard error, since the backup may go to standard output."""
    typer.echo(line, err=True)


def restore(
    source: Annotated[Path, typer.Argument(help="The .tar file written by `mailwake backup`.")],
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
) -> None:
    """Restore a backup into an empty DATA_DIR, completely or not at all."""
    from app.ops.backup import BackupError, restore  # noqa: PLC0415
    from app.storage.clickhouse import StorageError  # noqa: PLC0415

    try:
        settings = load(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn)
        manifest = restore(source, settings, lambda step: errors.print(f"{step} ..."))
    except (SettingsError, BackupError, StorageError) as error:
        raise fail(str(error)) from None
    if manifest is None:
        typer.echo(f"{settings.data_dir}: finished an earlier, interrupted restore")
        return
    typer.echo(f"{settings.data_dir}: restored to its state at {manifest.made}")
    if manifest.clickhouse == "server":
        typer.echo("Before you start, restore ClickHouse's tables with its own RESTORE DATABASE.")


@contextmanager
def _folder(data_dir: Path) -> Iterator[Path]:
    """Yields an empty folder in DATA_DIR, for hard links; one backup at a time."""
    from app.ops.snapshot import BACKUP  # noqa: PLC0415

    with ExitStack() as held:
        try:
            held.enter_context(locked(data_dir / "backup.lock", wait=False))
        except BlockingIOError:
            raise fail(f"another backup of {data_dir} is running") from None
        for abandoned in data_dir.glob(f"{BACKUP}*/"):
            shutil.rmtree(abandoned, ignore_errors=True)  # left by a command that was killed
        folder = Path(tempfile.mkdtemp(prefix=BACKUP, dir=data_dir))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _take_snapshot(settings: Settings, folder: Path, destination: str = "") -> None:
    """Fill `folder`, which is empty and in DATA_DIR. Raises one of FAILURES."""
    with service_client.service(settings) as client:
        if client:
            # The service accepts only a folder that somebody with access to DATA_DIR has created.
            answer = client.post("/v1/snapshot", json={"folder": folder.name}, timeout=None)
            if answer.status_code != 200:
                raise AskError(f"the service responded with {answer.status_code}: {answer.text}")
            return
    with service_client.storage(settings) as storage:
        _, loader, corrections, _ = assemble(settings, storage, open_state(settings))
        snapshot.take(settings, storage, loader, corrections, folder, destination)
