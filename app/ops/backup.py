"""Writes and restores backups: one private tar file with a manifest of every file's SHA-256.

It holds the secrets, the email addresses of recipients and all that was counted: protect it like
the data folder.
"""

import hashlib
import io
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from app import __version__
from app.model.errors import UNREADABLE
from app.settings.load import CUT_OFF
from app.settings.settings import Settings
from app.storage.clickhouse import Storage
from app.storage.clickhouse_backup import thaw
from app.storage.clickhouse_migrations import files
from app.storage.clickhouse_schema import migrate
from app.storage.state_steps import VersionError, steps_missing

MANIFEST = "manifest.json"
STAGING, COMPLETE = CUT_OFF
BLOCK = 1 << 20


class BackupError(Exception):
    """A backup cannot be written, read or restored; the message says why."""


class Manifest(msgspec.Struct, frozen=True):
    """The manifest; `clickhouse` is `chdb` if it has the tables, else `server`; `files` by path."""

    mailwake: str
    made: str
    clickhouse: str
    migrations: list[str]
    files: dict[str, str]
    format: int = 1


def pack(settings: Settings, folder: Path, target: Path | IO[bytes]) -> Manifest:
    """Write a snapshot's folder to a stream, or to a new 0600 file. Raises BackupError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(
        __version__,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "chdb" if settings.clickhouse_dsn == "chdb" else "server",
        [path.stem for path in files()],
        {path.relative_to(folder).as_posix(): _digest(path) for path in paths},
    )
    if not isinstance(target, Path):
        _write(manifest, folder, target)
        return manifest
    partial = target.with_name(f"{target.name}.new")
    try:
        partial.unlink(missing_ok=True)
        number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file:
            _write(manifest, folder, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BackupError(f"{target}: {error.strerror}") from None
    return manifest


def _write(manifest: Manifest, folder: Path, file: IO[bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        content = msgspec.json.format(msgspec.json.encode(manifest))
        tar.addfile(_member(MANIFEST, len(content)), io.BytesIO(content))
        for name in manifest.files:
            with (folder / name).open("rb") as source:
                tar.addfile(_member(name, os.fstat(source.fileno()).st_size), source)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restore(source: Path, settings: Settings, say: Callable[[str], object]) -> Manifest | None:
    """Fill DATA_DIR, which must be empty, completely or not at all.

    Returns None if this call finished an earlier restore that was interrupted while it moved files.
    Raises BackupError and StorageError.
    """
    data = settings.data_dir
    if (data / COMPLETE).is_dir():
        _settle(data)
        return None
    existed = data.exists()
    _check_empty(data)
    staging = data / STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging.mkdir(mode=0o700)
        say("reading and checking")
        manifest = unpack(source, staging)
        _check_fits(manifest, settings)
        steps_missing(staging)  # raises an error for a newer version
        if manifest.clickhouse == "chdb":
            say("attaching the tables")
            _attach(manifest, settings.model_copy(update={"data_dir": staging}))
        staging.rename(data / COMPLETE)
    except OSError as error:
        raise BackupError(f"{error.filename or data}: {error.strerror}") from None
    except VersionError as error:
        raise BackupError(str(error)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and data.exists() and not any(data.iterdir()):
            data.rmdir()
    _settle(data)
    return manifest


def unpack(source: Path, folder: Path) -> Manifest:
    """Extract every file and check it against the manifest. Raises BackupError."""
    try:
        with tarfile.open(source, mode="r|") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST:
                raise BackupError(f"{source} is not a Mailwake backup: it contains no {MANIFEST}")
            manifest = msgspec.json.decode(_content(tar, first).read(), type=Manifest)
            if manifest.format != 1:
                raise BackupError(
                    f"{source}: format {manifest.format} needs a newer version of Mailwake"
                )
            missing = dict(manifest.files)
            for member in tar:
                if member is first:
                    continue
                expected = missing.pop(member.name, None)
                path = PurePosixPath(member.name)
                if expected is None or path.is_absolute() or ".." in path.parts:
                    raise BackupError(f"{source}: {member.name} is not in the manifest")
                if _take_out(_content(tar, member), folder / path) != expected:
                    raise BackupError(f"{source}: {member.name} is damaged")
    except (tarfile.TarError, EOFError, *UNREADABLE) as error:
        raise BackupError(f"{source} is damaged or not a Mailwake backup: {error}") from None
    if missing:
        raise BackupError(f"{source} is incomplete: {next(iter(missing))} is missing")
    return manifest


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> io.BufferedReader:
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise BackupError(f"{member.name} is not a file")
    return content  # type: ignore[return-value]


def _take_out(content: io.BufferedReader, target: Path) -> str:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while block := content.read(BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _check_empty(data: Path) -> None:
    there = sorted(path.name for path in data.iterdir()) if data.is_dir() else []
    if entries := [name for name in there if name not in (STAGING, "lost+found")]:
        raise BackupError(
            f"{data} is not empty (it contains {entries[0]}). Restore into a new folder."
        )


def _check_fits(manifest: Manifest, settings: Settings) -> None:
    if unknown := set(manifest.migrations) - {path.stem for path in files()}:
        raise BackupError(
            f"the backup was created by a newer version of Mailwake ({manifest.mailwake}:"
            f" {max(unknown)})"
        )
    here = "chdb" if settings.clickhouse_dsn == "chdb" else "server"
    if manifest.clickhouse != here:
        required = "`chdb`" if manifest.clickhouse == "chdb" else "the URL of the ClickHouse server"
        raise BackupError(f"set MAILWAKE_CLICKHOUSE_DSN to {required} for this backup")


def _attach(manifest: Manifest, settings: Settings) -> None:
    """Attach the tables of the backup and migrate them."""
    tables = settings.data_dir / "tables"
    storage = Storage(settings)
    try:
        migrate(storage, until=manifest.migrations[-1])
        thaw(storage, tables)
        migrate(storage)
    finally:
        storage.close()
    shutil.rmtree(tables, ignore_errors=True)


def _settle(data: Path) -> None:
    """Move complete files into place; may be interrupted and called again."""
    complete = data / COMPLETE
    for path in sorted(complete.iterdir()):
        path.rename(data / path.name)
    complete.rmdir()
