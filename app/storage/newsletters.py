"""Remembers the last recorded metadata of each newsletter, so that only changes are journalled.

A mailer states a newsletter's name, subject and tags with every message; a line for each message
would double the size of the journal. Losing what is remembered is harmless: ClickHouse has it.

The metadata of a newsletter is a small file that all processes of a data folder share. When one
process records a change, the others see it with their next message, and every process knows a
newsletter before ClickHouse does. Each of several hosts that share a ClickHouse records its
mailers' metadata again once in RESTATE_SECONDS.
"""

import asyncio
import logging
import os
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from app.files import locked
from app.model.errors import UNREADABLE
from app.model.records import Newsletter

log = logging.getLogger(__name__)

MAX_REMEMBERED = 100_000  # newsletters
MAX_BYTES = 2**17  # more than the longest name, subject and tags
RESTATE_SECONDS = 60.0
SWEEP_SECONDS = 86_400.0
FOLDER = "newsletters"  # of DATA_DIR
KEPT_DAYS = 90  # after so long without a statement only ClickHouse knows a newsletter
FIELDS = ("name", "subject", "tags")


class Statement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A newsletter's fields, each with the millisecond (since 1970 UTC) at which it was stated.

    The greater pair wins, as in ClickHouse: statements may be merged in any order and repeatedly.
    """

    id: str
    name: tuple[int, str] = (0, "")
    subject: tuple[int, str] = (0, "")
    tags: tuple[int, tuple[str, ...]] = (0, ())

    @property
    def at(self) -> int:
        """Returns when a field was last stated; 0 for never."""
        return max(self.name[0], self.subject[0], self.tags[0])

    def merged(self, newsletter: Newsletter) -> "Statement":
        """Returns this statement merged with what a record states."""
        stated = {
            field: max(getattr(self, field), (newsletter.at, value))
            for field in FIELDS
            if (value := getattr(newsletter, field)) is not None
        }
        return replace(self, **stated)

    def agrees(self, newsletter: Newsletter) -> bool:
        """Returns whether a record states nothing new.

        A field that was never stated is not the same as one that was stated to be empty.
        """
        return all(
            value is None or (at > 0 and known == value)
            for field in FIELDS
            for value, (at, known) in [(getattr(newsletter, field), getattr(self, field))]
        )


_decode = msgspec.json.Decoder(Statement).decode
_encode = msgspec.json.Encoder().encode


class Newsletters:
    """Reads and writes the last statement of each newsletter: a file in `folder` for each key.

    This is a cache and may be lost: the next statement is then journalled although it is not new.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[bytes, Statement] | None = None

    def read(self, newsletter: int) -> Statement | None:
        """Returns a newsletter's statement; None if no process of this data folder has made one."""
        try:
            with locked(self._path(newsletter), shared=True, flags=os.O_RDONLY) as file:
                return self._decode_statement(os.read(file, MAX_BYTES))
        except OSError:
            return None

    def keep(self, record: Newsletter) -> None:
        """Merge a record that is in the journal. Raises OSError."""
        path, mode = self._path(record.newsletter), os.O_RDWR | os.O_CREAT
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path, flags=mode) as file:
            old = os.read(file, MAX_BYTES)
            known = self._decode_statement(old) or Statement(record.id)
            content = _encode(known.merged(record))
            os.pwrite(file, content, 0)
            if len(content) < len(old):
                os.ftruncate(file, len(content))

    async def run(self) -> None:
        """Sweep once a day, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.sweep)
            except OSError as error:
                log.warning("old files of newsletters could not be deleted: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    def sweep(self) -> int:
        """Remove statements older than KEPT_DAYS; returns how many files. Raises OSError."""
        count, until = 0, time.time() - KEPT_DAYS * 86_400
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < until:
                    path.unlink()
                    count += 1
        return count

    def _decode_statement(self, content: bytes) -> Statement | None:
        """Returns a file's statement; None if it is still empty or a crash has cut it off."""
        last = self._last  # another thread may replace it meanwhile
        if last is None or last[0] != content:
            try:
                self._last = last = content, _decode(content)
            except UNREADABLE:
                return None
        return last[1]

    def _path(self, newsletter: int) -> Path:
        return self._folder / f"{newsletter:016x}.json"


class RecordedMetadata:
    """Remembers when this process stated the last MAX_REMEMBERED newsletters."""

    def __init__(self, newsletters: Newsletters) -> None:
        self._newsletters = newsletters
        self._stated: OrderedDict[int, float] = OrderedDict()

    def changed(self, newsletter: Newsletter) -> Newsletter | None:
        """Returns the record to write to the journal; None if it would state nothing new."""
        known = self._newsletters.read(newsletter.newsletter)
        stated = self._stated.get(newsletter.newsletter)
        recently = stated is not None and time.monotonic() - stated < RESTATE_SECONDS
        if recently and known and known.agrees(newsletter):
            return None
        # The statement that is accepted later wins, even if the clock was set back meanwhile.
        return replace(newsletter, at=max(newsletter.at, known.at + 1 if known else 0))

    def remember(self, record: Newsletter) -> None:
        """Remember a record. Call it once the record is in the journal."""
        try:
            self._newsletters.keep(record)
        except OSError as error:  # it is recorded again with the next message
            log.warning("newsletter %s: %s", record.id, error)
            return
        self._stated[record.newsletter] = time.monotonic()
        self._stated.move_to_end(record.newsletter)
        if len(self._stated) > MAX_REMEMBERED:
            self._stated.popitem(last=False)
