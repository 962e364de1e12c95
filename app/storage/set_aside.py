"""Keeps what could not be loaded, so that it holds up nothing and can be looked at or loaded later.

<id>.bad           lines of a journal segment that are no records
<id>.damaged.bad   a whole journal segment whose checksum was wrong; what could be read was loaded
<name>.fix.bad     corrections that could not be read, and were computed again

All are in the journal's folder, with the secrets in URLs masked.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from app.files import write_private
from app.storage.journal_masking import masked
from app.storage.journal_segments import BAD, PARTIAL, SEALED, with_footer

DAMAGED = ".damaged"
MAX_BYTES = 64 * 2**20  # of a folder: a fault of ours must not divert everything
_LINES = re.compile(r"[0-9a-f-]{36}\.bad")


class SetAsideError(Exception):
    """Something cannot be set aside, or cannot be loaded; the message says why."""


class SetAside(NamedTuple):
    """A file of what was set aside. `at` is in seconds since 1970 UTC."""

    name: str
    at: float
    lines: int
    bytes: int
    reason: str

    @property
    def loadable(self) -> bool:
        """Returns whether nothing of it was loaded, so that it can be tried again."""
        return _LINES.fullmatch(self.name) is not None


def keep(segment: Path, lines: Iterable[bytes]) -> None:
    """Keep lines of a journal segment that are no records. Repeating it changes nothing.

    Raises SetAsideError beyond MAX_BYTES.
    """
    _write(segment.with_suffix(BAD), masked(b"".join(line + b"\n" for line in lines)))


def keep_damaged(segment: Path, content: bytes) -> None:
    """Keep a whole journal segment whose checksum is wrong. Raises SetAsideError."""
    _write(segment.with_suffix(DAMAGED + BAD), masked(content))


def _write(path: Path, content: bytes) -> None:
    others = (other.stat().st_size for other in path.parent.glob("*" + BAD) if other != path)
    if sum(others) + len(content) > MAX_BYTES:
        raise SetAsideError(
            f"{path.stem} has lines that cannot be read, and more than {MAX_BYTES // 2**20} MB are"
            " set aside already: look at them with `mailwake set-aside list`"
        )
    write_private(path, content)


def entries(folder: Path) -> list[SetAside]:
    """Returns what is set aside, the oldest first."""
    return sorted(map(_entry, folder.glob("*" + BAD)), key=lambda entry: entry.at)


def _entry(path: Path) -> SetAside:
    stat = path.stat()
    reason = "no records"
    if path.name.endswith(DAMAGED + BAD):
        reason = "wrong checksum"
    elif not _LINES.fullmatch(path.name):
        reason = "unreadable corrections, computed again"
    return SetAside(path.name, stat.st_mtime, path.read_bytes().count(b"\n"), stat.st_size, reason)


def find(folder: Path, name: str) -> SetAside:
    """Returns an entry by its file's name. Raises SetAsideError."""
    for entry in entries(folder):
        if entry.name == name:
            return entry
    raise SetAsideError(f"there is no {name!r} among what was set aside")


def load_again(folder: Path, name: str) -> None:
    """Give lines back to the journal, as a segment of their own, which a newer version may read.

    The segment's id follows from the first one's, so that an interrupted attempt repeats the same.
    Raises SetAsideError.
    """
    entry = find(folder, name)
    if not entry.loadable:
        raise SetAsideError(f"{name} cannot be loaded again: {entry.reason}")
    path = folder / name
    digest = hashlib.sha256(path.stem.encode()).hexdigest()[:12]
    again = folder / f"{path.stem[:-12]}{digest}"
    partial = again.with_suffix(PARTIAL)
    write_private(partial, with_footer(path.read_bytes()))
    partial.rename(again.with_suffix(SEALED))
    path.unlink()


def drop(folder: Path, name: str) -> None:
    """Delete an entry for good. Raises SetAsideError."""
    find(folder, name)
    (folder / name).unlink()
