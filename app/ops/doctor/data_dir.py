"""The data folder: whose it is, where it is, and whether what is in it is sound."""

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from app.files import locked
from app.ops.doctor.finding import Finding
from app.schemas.verification import Verification, in_words
from app.settings.load import CUT_OFF
from app.settings.settings import PREFIX, Settings
from app.storage.journal_segments import OPEN, waiting_segments, waiting_since
from app.storage.state_steps import VersionError, steps_missing

ROOM, NO_ROOM = 2 * 2**30, 200 * 2**20  # bytes
LATE_SECONDS = 60.0  # seconds that a segment may wait
AHEAD_SECONDS = 120.0  # seconds that a file may be ahead of the clock
MANY = 10_000_000  # suppressed
DIFFERENCES = 20  # reported
DISTANT = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "ceph", "glusterfs"}
MEMORY = {"tmpfs", "ramfs"}


def folder(settings: Settings) -> Iterator[Finding]:
    """Check the folder's owner, mode, free space and file system."""
    path = settings.data_dir
    if not path.is_dir():
        yield Finding(
            "folder",
            "error",
            f"{path} does not exist",
            f"set {PREFIX}DATA_DIR, or run `mailwake serve`, which creates it",
        )
        return
    about, before = path.stat(), True
    if about.st_uid != os.geteuid():
        before = False
        yield Finding(
            "folder",
            "error",
            f"{path} belongs to user {about.st_uid}, not to you",
            "run this command as that user, or chown the folder and everything in it",
        )
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        before = False
        yield Finding("folder", "error", f"other users can access {path}", f"run chmod 700 {path}")
    if left := [name for name in CUT_OFF if (path / name).is_dir()]:
        before = False
        yield Finding(
            "folder",
            "error",
            f"a restore was interrupted ({left[0]})",
            "run `mailwake restore` again",
        )
    if before:
        yield Finding("folder", "ok", f"data folder {path} is private")


def disk(settings: Settings) -> Iterator[Finding]:
    """Room, and whether locks and renames can be relied on."""
    path = settings.data_dir
    if not path.is_dir():
        return
    free = shutil.disk_usage(path).free
    room = f"{free / 2**30:.1f} GB of disk space free for {path}"
    fix = "free disk space: without it hits are answered but not counted"
    state = "error" if free < NO_ROOM else "warning" if free < ROOM else "ok"
    yield Finding("disk", state, room, "" if state == "ok" else fix)  # type: ignore[arg-type]
    kind = filesystem(path, Path("/proc/mounts").read_text())
    if kind in DISTANT:
        yield Finding(
            "disk",
            "error",
            f"{path} is on {kind}, where locks and fdatasync are not reliable",
            "move it to a local disk",
        )
    elif kind in MEMORY:
        yield Finding(
            "disk",
            "error",
            f"{path} is in memory ({kind}): all data is lost at the next reboot",
            "move it to a disk",
        )


def filesystem(path: Path, mounts: str) -> str:
    """Returns the kind of the file system that a path is on, as /proc/mounts has it."""
    real, mount = path.resolve(), ("", "")
    for line in mounts.splitlines():
        place, kind = line.split()[1:3]
        if real.is_relative_to(place) and len(place) >= len(mount[0]):
            mount = place, kind
    return mount[1]


def clock(settings: Settings) -> Iterator[Finding]:
    """Check for files from the future: the clock has gone back, and times of hits with it."""
    now = time.time()
    ahead = [
        path.name
        for path in (settings.data_dir, settings.data_dir / "journal")
        if path.is_dir()
        for path in path.iterdir()
        if _changed(path) > now + AHEAD_SECONDS
    ]
    if ahead:
        yield Finding(
            "clock",
            "error",
            f"{ahead[0]} has a time in the future: the clock was set back",
            "synchronise the clock by NTP (timedatectl set-ntp true)",
        )


def _changed(path: Path) -> float:
    """Returns when a file was changed, in seconds since 1970 UTC; 0 if it is there no longer."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def state(settings: Settings) -> Iterator[Finding]:
    """state.db: whole, of this version, and what in it waits for somebody."""
    if settings.state_dsn:
        yield _shared_state(settings.state_dsn)
        return
    path = settings.data_dir / "state.db"
    if not path.exists():
        return
    try:
        steps = steps_missing(settings.data_dir)
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            yield from _in_state(connection)
    except VersionError as error:
        yield Finding("state.db", "error", str(error), "install the newer version again")
        return
    except sqlite3.Error as error:
        yield Finding(
            "state.db",
            "error",
            f"{path} is damaged: {error}",
            "stop the service and restore the file from a backup",
        )
        return
    if steps:
        yield Finding(
            "state.db", "error", f"{path} is from an older version", "run `mailwake migrate`"
        )
    else:
        yield Finding("state.db", "ok", f"{path} is intact")


def _shared_state(dsn: str) -> Finding:
    """Returns whether PostgreSQL answers, and has the tables of this version."""
    # Imported here: other checks need no SQLAlchemy.
    from app.storage.state_db import UnreachableError, missing_shared  # noqa: PLC0415

    try:
        steps = missing_shared(dsn)
    except UnreachableError as error:
        return Finding("state", "error", str(error), f"check {PREFIX}STATE_DSN and PostgreSQL")
    except VersionError as error:
        return Finding("state", "error", str(error), "install the newer version again")
    if steps:
        text = "the tables in PostgreSQL are from an older version"
        return Finding("state", "error", text, "run `mailwake migrate`")
    return Finding("state", "ok", "PostgreSQL answers")


def _in_state(connection: sqlite3.Connection) -> Iterator[Finding]:
    for url, why in connection.execute("SELECT url, disabled FROM webhooks WHERE disabled != ''"):
        yield Finding(
            "webhooks",
            "warning",
            f"{_host(url)} is disabled: {why}",
            "fix the receiver, then enable the webhook on the dashboard",
        )
    dead = connection.execute("SELECT count(*) FROM deliveries WHERE state = 'dead'").fetchone()[0]
    if dead:
        yield Finding(
            "webhooks",
            "warning",
            f"{dead:,} deliveries have failed for good",
            "replay them: docs/events.md",
        )
    count = connection.execute("SELECT count(*) FROM suppressions").fetchone()[0]
    if count > MANY:
        yield Finding(
            "suppressions",
            "warning",
            f"{count:,} recipients are suppressed, and every rewrite checks them",
            "remove former recipients from your lists, and then their suppressions",
        )


def verified(settings: Settings) -> Iterator[Finding]:
    """Report the latest comparison of the journal with ClickHouse."""
    if settings.state_dsn:
        return  # the status page and the metrics have it
    path = settings.data_dir / "state.db"
    if not path.exists():
        return
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            row = connection.execute(
                "SELECT report FROM verifications ORDER BY id DESC LIMIT 1"
            ).fetchone()
        except sqlite3.Error:  # damaged, or of an earlier version: another check reports it
            return
    if not row:
        return
    result = msgspec.json.decode(row[0], type=Verification)
    for difference in result.differences[:DIFFERENCES]:
        if not difference.repaired:
            yield Finding(
                "verification",
                "error",
                in_words(difference),
                "run `mailwake verify --repair`, which makes roll-ups equal to the stored hits",
            )
    if result.unrepaired:
        return
    age = time.time() - result.at
    what = f"{result.hits:,} hits were compared {age / 3600:.0f} hours ago"
    if result.differences:
        yield Finding(
            "verification",
            "warning",
            f"{what}; {len(result.differences):,} differences were repaired",
            "check the disk and the memory of this machine, or of the ClickHouse server",
        )
    else:
        yield Finding("verification", "ok", f"{what}, without a difference")


def _host(url: str) -> str:
    """Returns a URL's host; what follows it may be a secret."""
    return "/".join(url.split("/")[:3])


def journal(settings: Settings) -> Iterator[Finding]:
    """Check which journal segments wait, which are unreadable, and which no process has adopted."""
    path = settings.data_dir / "journal"
    if not path.is_dir():
        return
    bad = sorted(file.name for file in path.glob("*.bad"))
    if bad:
        yield Finding(
            "journal",
            "warning",
            f"{len(bad)} journal segments had invalid lines ({bad[0]})",
            "all other lines were loaded. Check the file, then delete it.",
        )
    there = [(file, found.st_size) for file, found in waiting_segments(path, Path.stat)]
    orphans = [file.name for file, size in there if file.suffix == OPEN and size and _free(file)]
    if orphans:
        yield Finding(
            "journal",
            "warning",
            f"{len(orphans)} journal segments of killed processes are waiting",
            "they are loaded within ten seconds after the service starts",
        )
    waited = time.time() - waiting_since(path, time.time())
    if waited > LATE_SECONDS and not orphans:
        yield Finding(
            "journal",
            "error",
            f"{len(there)} journal segments are waiting, the oldest for {waited:,.0f} seconds",
            "check that ClickHouse responds and `mailwake serve` or `mailwake load` is running",
        )
    elif not bad and not orphans:
        yield Finding("journal", "ok", "everything written has been loaded or is being loaded")


def _free(path: Path) -> bool:
    """Returns whether no process writes the file."""
    try:
        with locked(path, shared=True, wait=False, flags=os.O_RDONLY):
            return True
    except (BlockingIOError, FileNotFoundError):
        return False


CHECKS = (folder, disk, clock, state, verified, journal)
