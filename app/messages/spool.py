"""Buffers lines on disk between a request's body and its answer.

A client may send faster than it reads, but not without limit: what it has not read may be a
multiple of what it has sent, and all spools of a workspace share its quota of disk. Beyond that
the writer waits, so the client's body is not read on. What is read is removed from the disk.
"""

import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from app.auth.quotas import SpoolRoom

READ_BYTES = 262_144
FILE_BYTES = 64 * 2**20  # of one file; it is removed once it is read
FREE_BYTES = 16 * 2**20  # that may always wait to be read
# Bytes that may wait for each byte received: a line of 50 makes a mail of 100 KB.
MAX_RATIO = 2_000


class Spool:
    """Files between a writer and a reader that run at different speeds."""

    def __init__(self, folder: Path, room: SpoolRoom | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._room = folder, room or SpoolRoom()
        self._files: deque[IO[bytes]] = deque()
        self._written = self._read = 0  # bytes of the last and of the first file
        self._waiting = 0  # bytes written and not yet read
        self._ended = self._closed = False

    async def write(self, data: bytes, received: int) -> None:
        """Append data, once there is room for it; `received` counts the request's bytes so far."""
        limit = FREE_BYTES + MAX_RATIO * received
        for start in range(0, len(data), READ_BYTES):
            piece = data[start : start + READ_BYTES]
            while not self._fits(piece, limit):
                await self._room.changed()
            if self._closed:
                return
            if not self._files or self._written >= FILE_BYTES:
                self._files.append(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115
                self._written = 0
            self._written += _write(self._files[-1].fileno(), piece, self._written)
            self._count(len(piece))

    def _fits(self, piece: bytes, limit: int) -> bool:
        if not self._waiting or self._closed:
            return True  # a stream always gets on, also when others have taken all the room
        room, size = self._room, len(piece)
        return self._waiting + size <= limit and room.used_bytes + size <= room.max_bytes

    def end(self) -> None:
        """Mark the end of the data."""
        self._ended = True
        self._room.notify()

    async def read(self) -> AsyncIterator[bytes]:
        """Yields everything once, as it is written."""
        while True:
            while not self._waiting:
                if self._ended:
                    return
                await self._room.changed()
            file = self._files[0]
            part = os.pread(file.fileno(), READ_BYTES, self._read)
            self._read += len(part)
            if len(part) == self._waiting:
                file.truncate(0)
                self._read = self._written = 0
            elif not part:
                self._files.popleft().close()
                self._read = 0
            self._count(-len(part))
            if part:
                yield part

    def close(self) -> None:
        """Free the disk space; nothing is written any more."""
        self._closed = True
        while self._files:
            self._files.pop().close()
        self._count(-self._waiting)

    def _count(self, size: int) -> None:
        self._waiting += size
        self._room.used_bytes += size
        self._room.notify()


def _write(fd: int, data: bytes, position: int) -> int:
    """Write all of `data`; returns its size. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], position + written)
    return written
