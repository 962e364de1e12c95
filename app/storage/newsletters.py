"""What was last recorded of each newsletter, so that only changes are journalled.

A mailer names the newsletter with every message; one line per message would be enough to
double the journal. Forgetting is harmless: ClickHouse keeps what was stated last.

What was stated of a newsletter is a small file, which all processes of a data folder share: one
that names a newsletter anew is seen by the others with their next message, and a newsletter is
known in every process before ClickHouse has heard of it. Of hosts that share a ClickHouse each
states anew what its mailers say once in RESTATED seconds.
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
from app.model.records import Newsletter

log = logging.getLogger(__name__)

REMEMBERED = 100_000
MAX_BYTES = 2**17  # more than the longest name, subject and tags
RESTATE_SECONDS = 60.0  # seconds
SWEEP_SECONDS = 86_400.0
FOLDER = "newsletters"  # of DATA_DIR
KEPT_DAYS = 90  # after that long without a statement ClickHouse alone knows a newsletter
FIELDS = ("name", "subject", "tags")


class Statement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A newsletter's fields, each with the millisecond (since 1970 UTC) at which it was stated.

    The greater pair holds, as in ClickHouse: the order in which statements are merged, and how
    often, does not matter.
    """

    id: str
    name: tuple[int, str] = (0, "")
    subject: tuple[int, str] = (0, "")
    tags: tuple[int, tuple[str, ...]] = (0, ())

    @property
    def at(self) -> int:
        """When anything was stated last; 0 for never."""
        return max(self.name[0], self.subject[0], self.tags[0])

    def merged(self, newsletter: Newsletter) -> "Statement":
        """With what a record states."""
        stated = {
            field: max(getattr(self, field), (newsletter.at, value))
            for field in FIELDS
            if (value := getattr(newsletter, field)) is not None
        }
        return replace(self, **stated)

    def agrees(self, newsletter: Newsletter) -> bool:
        """Whether a record states nothing new. What was never stated is not known to be empty."""
        return all(
            value is None or (at > 0 and known == value)
            for field in FIELDS
            for value, (at, known) in [(getattr(newsletter, field), getattr(self, field))]
        )


_decode = msgspec.json.Decoder(Statement).decode
_encode = msgspec.json.Encoder().encode


class Newsletters:
    """What was stated last of each newsletter, by its key: a file each in `folder`.

    A cache that may be lost: then the next statement is journalled although it says nothing new.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[bytes, Statement] | None = None

    def read(self, newsletter: int) -> Statement | None:
        """None for a newsletter that no process of this data folder has named."""
        try:
            with locked(self._path(newsletter), shared=True, flags=os.O_RDONLY) as file:
                return self._decoded(os.read(file, MAX_BYTES))
        except OSError:
            return None

    def keep(self, record: Newsletter) -> None:
        """Merge a record that is in the journal. Raises OSError."""
        path, mode = self._path(record.newsletter), os.O_RDWR | os.O_CREAT
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path, flags=mode) as file:
            old = os.read(file, MAX_BYTES)
            known = self._decoded(old) or Statement(record.id)
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
        """Remove what was not stated for KEPT_DAYS; returns how many files. Raises OSError."""
        count, until = 0, time.time() - KEPT_DAYS * 86_400
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < until:
                    path.unlink()
                    count += 1
        return count

    def _decoded(self, content: bytes) -> Statement | None:
        """None for a file that is empty yet, or that a crash has cut off."""
        last = self._last  # other threads may be reading other newsletters
        if last is None or last[0] != content:
            try:
                self._last = last = content, _decode(content)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
        return last[1]

    def _path(self, newsletter: int) -> Path:
        return self._folder / f"{newsletter:016x}.json"


class RecordedMetadata:
    """Remembers when this process stated the last REMEMBERED newsletters."""

    def __init__(self, newsletters: Newsletters) -> None:
        self._newsletters = newsletters
        self._stated: OrderedDict[int, float] = OrderedDict()

    def changed(self, newsletter: Newsletter) -> Newsletter | None:
        """The record to enter in the journal; None where it would say nothing new."""
        known = self._newsletters.read(newsletter.newsletter)
        stated = self._stated.get(newsletter.newsletter)
        recently = stated is not None and time.monotonic() - stated < RESTATE_SECONDS
        if recently and known and known.agrees(newsletter):
            return None
        # What is accepted later holds, also where the clock was set back meanwhile.
        return replace(newsletter, at=max(newsletter.at, known.at + 1 if known else 0))

    def remember(self, record: Newsletter) -> None:
        """Call it once the record is in the journal."""
        try:
            self._newsletters.keep(record)
        except OSError as error:  # it is stated again with the next message
            log.warning("newsletter %s: %s", record.id, error)
            return
        self._stated[record.newsletter] = time.monotonic()
        self._stated.move_to_end(record.newsletter)
        if len(self._stated) > REMEMBERED:
            self._stated.popitem(last=False)
