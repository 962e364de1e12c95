"""Buffers lines on disk between a request's body and its answer."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

READ_BYTES = 262_144  # bytes


@dataclass
class Spool:
    """A file between a writer and a reader that run at different speeds."""

    folder: Path
    _file: IO[bytes] = field(init=False)
    _written: int = 0
    _ended: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  (closed by close)
        self._more = asyncio.Condition()

    async def write(self, data: bytes) -> None:
        """Append data."""
        os.pwrite(self._file.fileno(), data, self._written)
        async with self._more:
            self._written += len(data)
            self._more.notify_all()

    async def end(self) -> None:
        """Mark the end of the data."""
        async with self._more:
            self._ended = True
            self._more.notify_all()

    async def read(self) -> AsyncIterator[bytes]:
        """Yields everything from the beginning, as it is written."""
        position = 0
        while True:
            async with self._more:
                while self._written == position and not self._ended:
                    await self._more.wait()
            if position == self._written:
                return
            part = os.pread(self._file.fileno(), READ_BYTES, position)
            position += len(part)
            yield part

    def close(self) -> None:
        """Free the disk space."""
        self._file.close()
