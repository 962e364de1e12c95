"""Locks files, replaces files atomically and durably, and keeps folders private."""

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path


@contextmanager
def locked(
    path: Path, shared: bool = False, wait: bool = True, flags: int = os.O_RDWR | os.O_CREAT
) -> Iterator[int]:
    """Hold a file's lock among threads and processes: exclusively, or with `shared` a shared one.

    Yields the file's descriptor, opened with `flags`. Raises BlockingIOError if `wait` is false and
    another thread or process holds the lock.
    """
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(fd, operation if wait else operation | fcntl.LOCK_NB)
        yield fd
    finally:
        os.close(fd)


@asynccontextmanager
async def leading(path: Path, poll_seconds: float) -> AsyncIterator[None]:
    """Hold a lock file exclusively; waits for it without blocking the event loop."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(poll_seconds)
        yield
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk: those of files that were created, renamed or deleted.

    fsync of a file does not (fsync(2)).
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_private(path: Path, content: bytes) -> None:
    """Write a file by renaming a new 0600 file, so that no reader sees it half written.

    It survives a power failure once this returns.
    """
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def make_private(folder: Path) -> bool:
    """Take away other users' access to a folder of our own; returns whether they had any.

    Raises PermissionError for a folder that is shared on purpose, such as /tmp, or of another user.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & 0o077:
        return False
    if mode & (stat.S_ISVTX | stat.S_IWOTH):
        raise PermissionError(f"{folder} is shared with other users")
    folder.chmod(0o700)
    return True
