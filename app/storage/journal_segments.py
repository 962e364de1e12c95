"""Finds and locks journal segments: those that wait for ClickHouse, and those of killed processes.

<id>.open   the journal segment being written, locked by its writer (flock)
<id>.seg    sealed: immutable until ClickHouse has acknowledged it, then kept for some time

A sealed journal segment ends with a footer: how many lines it has, and their CRC-32. Those of
earlier versions, and those of killed processes, have none.
"""

import fcntl
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from app.files import sync_folder

OPEN, SEALED, PARTIAL = ".open", ".seg", ".new"
# Notes of what a loaded journal segment touched, and corrections that wait for ClickHouse.
DONE, FIX = ".done", ".fix"
BAD = ".bad"  # what could not be read, kept for a look at it
T = TypeVar("T")
_FOOTER = re.compile(rb'\{"record":"footer","lines":(\d+),"crc32":"([0-9a-f]{8})"\}\n\Z')
_FOOTER_BYTES = 100  # at most
_PIECE_BYTES = 1 << 20  # read at once


def footer(lines: int, crc: int) -> bytes:
    """Returns the last line of a journal segment that has so many lines with this CRC-32."""
    return b'{"record":"footer","lines":%d,"crc32":"%08x"}\n' % (lines, crc)


def with_footer(lines: bytes) -> bytes:
    """Returns the content of a sealed journal segment with these lines."""
    return lines + footer(lines.count(b"\n"), zlib.crc32(lines))


def without_footer(content: bytes) -> tuple[bytes, bool]:
    """Returns the lines of a journal segment, and whether they are what its footer says.

    Without a footer nothing is known to be wrong.
    """
    match = _FOOTER.search(content, max(0, len(content) - _FOOTER_BYTES))
    if not match:
        return content, True
    lines = content[: match.start()]
    return lines, (lines.count(b"\n"), zlib.crc32(lines)) == (int(match[1]), int(match[2], 16))


def lines_of(path: Path) -> int:
    """Returns how many lines a journal segment has: from its footer, else by reading it."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _FOOTER_BYTES))
        match = _FOOTER.search(file.read())
        if match:
            return int(match[1])
        file.seek(0)
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(_PIECE_BYTES), b""))


def sealed(folder: Path) -> list[Path]:
    """Returns the sealed journal segments, the oldest first."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(SEALED))
    return [folder / name for name in names]


def waiting_segments(folder: Path, look: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
    """Look at each journal segment that waits for ClickHouse; yields its path and what was seen.

    One that is sealed meanwhile is looked at under its new name; one that is loaded is left out.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix not in (OPEN, SEALED):
            continue
        for name in (path, path.with_suffix(SEALED)):
            try:
                yield name, look(name)
            except FileNotFoundError:
                continue
            break


def waiting_since(folder: Path, otherwise: float) -> float:
    """Returns when the oldest waiting journal segment was begun, in seconds since 1970 UTC.

    Returns `otherwise` if none waits.
    """
    names = [path.name for path in folder.iterdir() if path.suffix in (OPEN, SEALED)]
    return min(map(begun_at, names), default=otherwise)


def waiting_to_settle(folder: Path, otherwise: float) -> float:
    """Returns when the oldest journal segment that awaits corrections was loaded.

    In seconds since 1970 UTC; `otherwise` if there is none.
    """
    times = []
    for path in folder.iterdir():
        if path.suffix in (DONE, FIX):
            with suppress(FileNotFoundError):  # corrected meanwhile
                times.append(path.stat().st_mtime)
    return min(times, default=otherwise)


def unsettled(folder: Path) -> list[str]:
    """Returns the ids of journal segments that await corrections, or are being loaded.

    Those that are still open may be loaded before a query that follows.
    """
    return [path.stem for path in folder.iterdir() if path.suffix in (DONE, SEALED, OPEN)]


def adopt_orphans(folder: Path) -> list[Path]:
    """Seal the journal segments that killed processes left open; a torn last line is cut off.

    The request of a torn line was never answered, so nothing that was acknowledged is lost. Each
    is on the disk before it is sealed: once a part of it is in ClickHouse, a power failure must
    not change it.
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
            os.fdatasync(fd)
            sync_folder(folder)  # before the rename, after which a loader may take it at any time
            target = path.with_suffix(SEALED)
            path.rename(target)
            adopted.append(target)
    return adopted


@contextmanager
def claim(path: Path) -> Iterator[int | None]:
    """Open and lock a journal segment; yields None if another process has it or it was deleted."""
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
    """Returns when a journal segment was begun, in seconds since 1970 UTC: its id is a UUIDv7."""
    return int(name[:13].replace("-", ""), 16) / 1000


def _whole_lines(fd: int) -> int:
    """Returns the number of bytes up to and including the last newline."""
    size = os.fstat(fd).st_size
    step = 1 << 16
    position = size
    while position > 0:
        start = max(0, position - step)
        newline = os.pread(fd, position - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0
