"""The journal's folder: segments that wait for ClickHouse, and those that a killed process left.

<id>.open   the segment being written, under flock by its writer
<id>.seg    sealed: immutable until ClickHouse has acknowledged it, then deleted
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OPEN, SEALED, PARTIAL = ".open", ".seg", ".new"
DONE, FIX = ".done", ".fix"  # notes of what loaded segments touched, and of corrections begun


def sealed(folder: Path) -> list[Path]:
    """The sealed segments, oldest first."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(SEALED))
    return [folder / name for name in names]


def waiting_since(folder: Path, otherwise: float) -> float:
    """When the oldest segment that waits was begun, in seconds since 1970 UTC."""
    names = [path.name for path in folder.iterdir() if path.suffix in (OPEN, SEALED)]
    return min(map(begun_at, names), default=otherwise)


def waiting_to_settle(folder: Path, otherwise: float) -> float:
    """When the oldest of what waits to be settled was loaded, in seconds since 1970 UTC."""
    times = []
    for path in folder.iterdir():
        if path.suffix in (DONE, FIX):
            with suppress(FileNotFoundError):  # it has just been settled
                times.append(path.stat().st_mtime)
    return min(times, default=otherwise)


def adopt_orphans(folder: Path) -> list[Path]:
    """Seal the segments that a killed process left open; a torn last line is cut off.

    A torn line was never answered, so nothing that was acknowledged is lost.
    """
    adopted = []
    for path in sorted(folder.glob("*" + OPEN)):
        with claim(path) as fd:
            if fd is None:
                continue
            whole = _whole_lines(fd)
            if whole == 0:
                path.unlink()
                continue
            os.ftruncate(fd, whole)
            target = path.with_suffix(SEALED)
            path.rename(target)
            adopted.append(target)
    return adopted


@contextmanager
def claim(path: Path) -> Iterator[int | None]:
    """Open a segment under its lock; None when another process has it or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = path.exists() and os.path.samestat(os.fstat(fd), path.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        yield fd if mine else None
    finally:
        os.close(fd)


def begun_at(name: str) -> float:
    """When a segment was begun, in seconds since 1970 UTC: its id is a UUIDv7."""
    return int(name[:13].replace("-", ""), 16) / 1000


def _whole_lines(fd: int) -> int:
    """Bytes up to and with the last newline."""
    size = os.fstat(fd).st_size
    step = 1 << 16
    position = size
    while position > 0:
        start = max(0, position - step)
        found = os.pread(fd, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
