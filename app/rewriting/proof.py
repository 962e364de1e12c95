"""Checks a rewritten message before use: it has the intended changes, and no new defects.

It looks at what changed only, so that it costs little; every other byte is compared.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.rewriting import smtp_lines, transfer_encodings
from app.rewriting.smtp_lines import LINE_LIMIT
from app.rewriting.transfer_encodings import IDENTITY, Edit, Patch, TransferError

_LINE_END_OR_NUL = re.compile(rb"[\r\n\0]")
_OTHER = "has different content"


class Change(NamedTuple):
    """A body that was edited, bytes `start` to `end` of the message.

    `edits` are those of its `content`; `patches` carry them out, in the message's own bytes and in
    the transfer encoding `encoding`, which was `before`. `field` announces another one. New lines
    end with `ending`, and `marks` are the boundaries around the body.
    """

    start: int
    end: int
    content: bytes
    edits: Sequence[Edit]
    patches: Sequence[Patch]
    before: str
    encoding: str
    ending: bytes
    marks: tuple[bytes, ...]
    field: Edit | None = None

    def raw_edits(self) -> Iterator[Edit]:
        """Yields what is done to the message's bytes, in order."""
        if self.field:
            yield self.field
        yield from (Edit(*patch[:3]) for patch in self.patches)


def flaw(message: bytes, result: bytes, changes: Sequence[Change]) -> str:
    """Returns why `result` must not be sent; empty where it may.

    Taking the edits back gives `message`. Decoding what was changed and taking the edits back gives
    what was in it. No bare CR, bare LF, NUL, 8-bit byte, boundary or line of more than LINE_LIMIT
    bytes is in a body that had none.
    """
    edits: list[Edit | Patch] = []
    for change in changes:
        edits += [change.field, *change.patches] if change.field else change.patches
    if _undone(result, edits, message) != message:
        return "does not lead back to the original"
    shift = 0  # of the result's bytes against the message's
    for change in changes:
        shift += _growth(change.field) if change.field else 0
        start = change.start + shift
        if list(change.edits) != [edit for patch in change.patches for edit in patch.edits]:
            return f"lacks an edit at byte {start}"
        long_line, ascii_only = False, True
        for patch in change.patches:
            at = patch.start + shift
            if problem := _content_flaw(message, change, patch) or _wire_flaw(
                message, result, change, patch, at
            ):
                return f"{problem} at byte {at}"
            # Lines are as they were, apart from those that a patch is in.
            around = result[max(0, at - LINE_LIMIT - 2) : at + len(patch.new) + LINE_LIMIT + 2]
            long_line = long_line or smtp_lines.has_long_line(around)
            ascii_only = ascii_only and patch.new.isascii()
            shift += _growth(patch)
        if ascii_only and not long_line:
            continue
        new, old = result[start : change.end + shift], message[change.start : change.end]
        if long_line and smtp_lines.has_long_line(new) and not smtp_lines.has_long_line(old):
            return f"has a line of more than {LINE_LIMIT} bytes at byte {start}"
        if not ascii_only and old.isascii() and not new.isascii():
            return f"has a byte that is not ASCII at byte {start}"
    return ""


def _undone(new: bytes, edits: Sequence[Edit | Patch], old: bytes) -> bytes | None:
    """Returns `new` with the edits taken back, None where it does not hold them."""
    pieces: list[bytes] = []
    position = reached = 0
    for edit in edits:
        at = reached + edit.start - position
        if not position <= edit.start <= edit.end <= len(old) or not new.startswith(edit.new, at):
            return None
        pieces += [new[reached:at], old[edit.start : edit.end]]
        position, reached = edit.end, at + len(edit.new)
    return b"".join([*pieces, new[reached:]])


def _growth(edit: Edit | Patch) -> int:
    return len(edit.new) - (edit.end - edit.start)


def _content_flaw(message: bytes, change: Change, patch: Patch) -> str:
    """Decode what a patch takes out and what it puts in; returns what is wrong."""
    old = change.content[patch.first : patch.last]
    position = patch.first
    for edit in patch.edits:
        if not position <= edit.start <= edit.end <= patch.last:
            return "has an edit in the wrong place"
        position = edit.end
    raw = message[patch.start : patch.end]
    content = transfer_encodings.applied(old, patch.edits, patch.first)
    if change.encoding == "base64":
        return "" if transfer_encodings.is_base64(patch.new, content, change.ending) else _OTHER
    try:
        if _decoded(change.before, raw, change.ending) != old:
            return "has an unexpected edit"
        lines = change.encoding == "quoted-printable" and patch.end < change.end
        if lines and not (raw.endswith(b"\n") and patch.new.endswith(b"\n")):
            return "joins two lines"
        new = _decoded(change.encoding, patch.new, change.ending)
    except TransferError as error:
        return f"cannot be read ({error})"
    return "" if new == content else _OTHER


def _decoded(encoding: str, raw: bytes, ending: bytes) -> bytes:
    return raw if encoding in IDENTITY else transfer_encodings.body(encoding, raw, ending).decoded


def _wire_flaw(message: bytes, result: bytes, change: Change, patch: Patch, at: int) -> str:
    """Check what was put in, at byte `at` of the result, together with its neighbours."""
    if change.encoding == "base64" and patch.new:
        return ""  # lines of its alphabet, as _content_flaw has seen
    stop = at + len(patch.new)
    if _LINE_END_OR_NUL.search(result, max(0, at - 1), stop + 1):
        now = smtp_lines.faults(result[max(0, at - 1) : stop + 1])
        before = smtp_lines.faults(message[max(0, patch.start - 1) : patch.end + 1])
        if now.cr > before.cr:
            return "has a new bare CR"
        if now.lf > before.lf and change.ending == b"\r\n":
            return "has a new bare LF"
        if now.nul and b"\0" not in message[change.start : change.end]:
            return "has a NUL"
    for mark in change.marks:
        delimiter = b"\n--" + mark
        reach = len(delimiter) - 1
        count = result.count(delimiter, max(0, at - reach), stop + reach)
        if count > message.count(delimiter, max(0, patch.start - reach), patch.end + reach):
            return "has a boundary"
    return ""
