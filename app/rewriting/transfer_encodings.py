"""Content transfer encodings (RFC 2045, section 6): where each decoded byte lies in the raw ones.

A body is decoded and edited, and only the raw bytes that an edit touches are encoded again: lines
of quoted-printable, chunks of base64. Every other byte stays as it was.
"""

import binascii
import io
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

MAX_STRANGE_BYTES = 2_000_000  # of a body that was never encoded, as it says
MAX_CHUNKS = 1_000  # of base64 in one body; real ones have one, list servers add a second
IDENTITY = ("", "7bit", "8bit", "binary")
_LONGEST = 996  # characters of a line of base64, within 998 (RFC 5322, section 2.1.1)
_WIDTH = 76  # characters of a line (RFC 2045, sections 6.7 and 6.8)
# Encoded within a line: its own end is the only raw one (RFC 2045, section 6.7, rule 4).
_QUOTED = re.compile(rb"[^\t -<>-~]")
_ESCAPE = re.compile(rb"=[0-9A-Fa-f]{2}")
# An equals sign that is neither an escape nor a soft line break. Readers show it.
_LITERAL = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*+(?:\r?\n|\Z))")
_SOFT = re.compile(rb"=[ \t]++(?=\r?\n|\Z)")
_STRANGE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n)")
_HALF = re.compile(rb"=([0-9A-Fa-f]?)\Z")
_CHUNK = re.compile(rb"[A-Za-z0-9+/\s]*+(?:=\s*+){0,2}")
_BLANKS = b" \t\r\n\v\f"


class TransferError(ValueError):
    """A body that is not in its transfer encoding, or in none that is known; the text says why."""


class Edit(NamedTuple):
    """Bytes `start` to `end` give way to `new`."""

    start: int
    end: int
    new: bytes


class Patch(NamedTuple):
    """Raw bytes `start` to `end` are replaced by `new`; their content was bytes `first` to `last`.

    That carries out `edits` of the content.
    """

    start: int
    end: int
    new: bytes
    first: int
    last: int
    edits: Sequence[Edit]


class Body(Protocol):
    """A body in a transfer encoding; `decoded` is its content."""

    decoded: bytes

    def patches(self, edits: Sequence[Edit]) -> Iterable[Patch]:
        """Returns what is to be done to the raw bytes, for edits of the decoded ones in order.

        Each patch can be decoded by itself.
        """


def body(encoding: str, raw: bytes, ending: bytes) -> Body:
    """Decode a body; new lines of it end with `ending`. Raises TransferError."""
    if encoding in IDENTITY:
        return _Identity(raw)
    if encoding == "quoted-printable":
        return _QuotedPrintable(raw, ending)
    if encoding == "base64":
        return _Base64(raw, ending)
    raise TransferError(f"unknown transfer encoding {encoding[:40]!r}")


def applied(data: bytes, edits: Iterable[Edit], offset: int = 0) -> bytes:
    """Returns `data`, which begins at byte `offset`, with the edits made to it."""
    out: list[bytes] = []
    position = 0
    for edit in edits:
        out += [data[position : edit.start - offset], edit.new]
        position = edit.end - offset
    return b"".join([*out, data[position:]])


def quoted_printable(content: bytes, ending: bytes) -> bytes:
    """Encode a whole body; its line ends stay the ends of lines (RFC 2045, section 6.7)."""
    out = bytearray()
    for line in io.BytesIO(content).readlines():
        text = line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line
        out += _QUOTED.sub(_octet, text)
        _close(out)
        out += line[len(text) :]
    return _wrapped(bytes(out), ending)


class _Identity:
    def __init__(self, raw: bytes) -> None:
        self.decoded = raw

    def patches(self, edits: Sequence[Edit]) -> Iterable[Patch]:
        return [Patch(*edit, edit.start, edit.end, [edit]) for edit in edits]


class _QuotedPrintable:
    def __init__(self, raw: bytes, ending: bytes) -> None:
        self._raw, self._ending = raw, ending
        # The library drops bytes after an equals sign that is no escape; readers do not.
        self._decode: Callable[[bytes], bytes] = binascii.a2b_qp
        if _STRANGE.search(raw):
            if len(raw) > MAX_STRANGE_BYTES:
                raise TransferError("it has equals signs that are not escapes")
            self._decode = _strange
        self.decoded = self._decode(raw)

    def patches(self, edits: Sequence[Edit]) -> Iterator[Patch]:
        """Whole lines, wrapped where they have become too long."""
        line = _Line(self._raw, self._decode)
        block: list[Edit] = []
        meant: list[Edit] = []
        begin = place = end = stop = before = 0
        for edit in edits:
            line.seek(edit.start)
            start = last = line.raw_at(edit.start)
            if block and line.begin >= end and line.begin != before:
                yield Patch(begin, end, self._encoded(block, begin, end), place, stop, meant)
                block, meant = [], []
            if not block:
                begin, place = line.begin, line.place
            if edit.end > edit.start:
                line.seek(edit.end - 1)
                last = line.raw_at(edit.end)
            if last == line.end < len(self._raw):
                line.advance()  # its end is gone, or text comes before the next one
            before, end, stop = line.begin, line.end, line.stop
            block.append(Edit(start, last, edit.new))
            meant.append(edit)
        if block:
            yield Patch(begin, end, self._encoded(block, begin, end), place, stop, meant)

    def _encoded(self, edits: Sequence[Edit], start: int, end: int) -> bytes:
        """Returns the lines from byte `start` to `end`, for edits of them."""
        out = bytearray()
        position = start
        for edit in edits:
            out += self._raw[position : edit.start]
            # What was a literal equals sign must not begin an escape with what follows now.
            if half := _HALF.search(out, max(0, len(out) - 2)):
                out[half.start() :] = b"=3D" + half[1]
            out += _QUOTED.sub(_octet, edit.new)
            position = edit.end
            if position == len(self._raw) or self._raw.startswith((b"\n", b"\r\n"), position):
                _close(out)
        out += self._raw[position:end]
        return _wrapped(_LITERAL.sub(b"=3D", bytes(out)), self._ending)


class _Line:
    """A line of quoted-printable: raw bytes `begin` to `end`, decoded bytes `place` to `stop`."""

    def __init__(self, raw: bytes, decode: Callable[[bytes], bytes]) -> None:
        self._raw, self._decode = raw, decode
        self.begin = self.end = self.place = self.stop = 0
        self.advance()

    def advance(self) -> None:
        """Go to the next line."""
        self.begin, self.place = self.end, self.stop
        self.end = self._raw.find(b"\n", self.begin) + 1 or len(self._raw)
        self.stop += len(self._decode(self._raw[self.begin : self.end]))
        self._escapes: list[int] | None = None

    def seek(self, place: int) -> None:
        """Go to the line that has decoded byte `place`, or the last one. It is not before this."""
        while self.stop <= place and self.end < len(self._raw):
            # Nothing is longer decoded than raw, so this many bytes do not go too far.
            far = self._raw.rfind(b"\n", self.end, self.end + place - self.stop) + 1
            if far:
                self.stop += len(self._decode(self._raw[self.end : far]))
                self.end = far
            self.advance()

    def raw_at(self, place: int) -> int:
        """Returns where a decoded byte of the line begins in the raw ones, or its last one ends."""
        if self._escapes is None:
            matches = enumerate(_ESCAPE.finditer(self._raw[self.begin : self.end]))
            self._escapes = [match.start() - 2 * number for number, match in matches]
        within = place - self.place
        return self.begin + within + 2 * bisect_left(self._escapes, within)


class _Base64:
    """Chunks that end with padding may follow each other: list servers append them."""

    def __init__(self, raw: bytes, ending: bytes) -> None:
        self._raw, self._ending = raw, ending
        try:
            whole = binascii.a2b_base64(raw.translate(None, _BLANKS), strict_mode=True)
            chunks = [(0, len(raw), whole)]
        except binascii.Error:
            chunks = list(_chunks(raw))
        self._places = [_stripped(raw, start, end) for start, end, _ in chunks]
        self._contents = [content for _, _, content in chunks]
        self.decoded = b"".join(self._contents)
        self._ends = list(accumulate(map(len, self._contents))) or [0]

    def patches(self, edits: Sequence[Edit]) -> Iterator[Patch]:
        """Whole chunks, in lines as long as they were."""
        together: list[Edit] = []
        first = last = -1
        for edit in edits:
            begins = self._chunk_of(edit.start)
            if together and begins > last:
                yield self._encoded(together, first, last)
                together = []
            first = first if together else begins
            last = max(begins, self._chunk_of(edit.end - 1))
            together.append(edit)
        if together:
            yield self._encoded(together, first, last)

    def _chunk_of(self, place: int) -> int:
        return min(bisect_right(self._ends, place), len(self._ends) - 1)

    def _encoded(self, edits: Sequence[Edit], first: int, last: int) -> Patch:
        offset = self._ends[first - 1] if first else 0
        start = end = len(self._raw)  # of an empty body
        if self._places:
            start, end = self._places[first][0], self._places[last][1]
        raw = self._raw[start:end]
        width = raw.find(self._ending)
        if 4 <= width <= _LONGEST and width % 4 == 0:
            # Lines before the first edit stay, where they are as long as the first.
            lines = (edits[0].start - offset) * 4 // 3 // width
            kept = raw[: lines * (width + len(self._ending))]
            characters = len(kept.translate(None, _BLANKS))
            if characters == lines * width and _is_even(kept, width, self._ending, lines):
                start, offset = start + len(kept), offset + lines * width // 4 * 3
        else:
            width = _WIDTH
        content = b"".join(self._contents[first : last + 1])
        content = content[len(content) - (self._ends[last] - offset) :]
        text = binascii.b2a_base64(applied(content, edits, offset), newline=False)
        cut = [text[place : place + width] for place in range(0, len(text), width)]
        return Patch(start, end, self._ending.join(cut), offset, self._ends[last], edits)


def is_base64(raw: bytes, content: bytes, ending: bytes) -> bool:
    """Returns whether `raw` is `content` in base64 in lines of one length, with no other byte."""
    text = binascii.b2a_base64(content, newline=False)
    width = raw.find(ending)
    if width <= 0:
        return raw == text
    lines = (len(text) - 1) // width
    return (
        width <= _LONGEST
        and len(raw) == len(text) + lines * len(ending)
        and _is_even(raw, width, ending, lines)
        and raw.translate(None, b"\r\n") == text
    )


def _is_even(raw: bytes, width: int, ending: bytes, lines: int) -> bool:
    """Returns whether `raw` begins with that number of lines, each `width` bytes and a line end."""
    step = width + len(ending)
    return all(
        raw[width + place : lines * step : step] == ending[place : place + 1] * lines
        for place in range(len(ending))
    )


def _chunks(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    position = number = 0
    while position < len(raw):
        match = _CHUNK.match(raw, position)
        assert match  # noqa: S101  (it may be empty)
        if match.end() == position:
            raise TransferError(f"its base64 is truncated at byte {position}")
        text = match[0].translate(None, _BLANKS + b"=")
        if len(text) % 4 == 1:
            raise TransferError(
                f"its base64 has {len(text)} characters at byte {position}, not a multiple of four"
            )
        number += 1
        if text:
            # The padding of the last chunk may be missing: every reader decodes that.
            content = binascii.a2b_base64(text + b"=" * (-len(text) % 4))
            yield position, match.end(), content
        if number > MAX_CHUNKS:
            raise TransferError(f"its base64 has more than {MAX_CHUNKS:,} chunks")
        position = match.end()


def _stripped(raw: bytes, start: int, end: int) -> tuple[int, int]:
    chunk = raw[start:end]
    first = start + len(chunk) - len(chunk.lstrip(_BLANKS))
    return first, max(first, start + len(chunk.rstrip(_BLANKS)))


def _strange(data: bytes) -> bytes:
    """Decoded lines, equals signs that are no escapes included."""
    return binascii.a2b_qp(_SOFT.sub(b"=", _LITERAL.sub(b"=3D", data)))


def _octet(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % ord(match[0])


def _close(out: bytearray) -> None:
    """White space before a line's end is lost on the way, unless it is encoded."""
    if out.endswith((b" ", b"\t")):
        out[-1:] = b"=%02X" % out[-1]


def _wrapped(text: bytes, ending: bytes) -> bytes:
    """Soft line breaks so that no line is longer than _WIDTH; every equals sign is an escape."""
    lines = []
    for line in io.BytesIO(text).readlines():
        stop = len(line.rstrip(b"\r\n"))
        start = 0
        while stop - start > _WIDTH:
            end = start + _WIDTH - 1
            escape = line.rfind(b"=", end - 2, end)  # =XX stays whole
            end = end if escape < 0 else escape
            lines += [line[start:end], b"=", ending]
            start = end
        lines.append(line[start:])
    return b"".join(lines)
