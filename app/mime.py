"""Whole messages: finds the HTML and text leaves of a MIME message and splices into their bytes.

Nothing is parsed into a tree and written again. A leaf's range of bytes is decoded, rewritten, and
put back in its own transfer encoding, the lines that did not change as they were; every other byte
of the message stays. What is signed, encrypted, attached, forwarded or made for calendars and AMP
is left alone (RFC 1847, RFC 8551, RFC 3156, RFC 2046).
"""

import binascii
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from email import policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from itertools import accumulate
from typing import NamedTuple

MAX_DEPTH = 50
PARAMETERS = 50  # of a field that says what a body is; real ones have five
OWN = b"x-mailwake-"
LINE_LIMIT = 998  # RFC 5322, section 2.1.1
_BLANK = re.compile(rb"(?:\A|(?<=\n))\r?\n")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*(.*?)\r?\n?\Z", re.DOTALL)
_TELLING = ("content-type", "content-transfer-encoding", "content-disposition")
_SEALED = ("multipart/signed", "multipart/encrypted", "multipart/report", "multipart/digest")
_QUOTED = re.compile(rb"[^\t -<>-~]")
_IDENTITY = ("", "7bit", "8bit", "binary")


class MimeError(ValueError):
    """A message that cannot be read; the text names the header or byte."""


class Field(NamedTuple):
    """A header field at bytes `start` to `end`, folding and line end included."""

    name: str  # in lower case
    value: bytes
    start: int
    end: int


class Leaf(NamedTuple):
    """A text/html or text/plain body at bytes `start` to `end` of the message.

    `named` is where its Content-Transfer-Encoding field stands, or would.
    """

    kind: str
    start: int
    end: int
    encoding: str
    charset: str | None
    named: tuple[int, int] = (0, 0)


class Edit(NamedTuple):
    """Decoded bytes `start` to `end` of a leaf give way to `new`."""

    start: int
    end: int
    new: bytes


Rewrite = Callable[[Leaf, bytes], Sequence[Edit]]


def fields(message: bytes, start: int = 0, end: int | None = None) -> tuple[list[Field], int]:
    """The header fields from `start` on, and where the body begins.

    Lines that are no field are passed over, as mail clients do.
    """
    end = len(message) if end is None else end
    blank = _BLANK.search(message, start, end)
    stop, body = (blank.start(), blank.end()) if blank else (end, end)
    found: list[Field] = []
    position = start
    while position < stop:
        line_end = _line_end(message, position, stop)
        while line_end < stop and message[line_end : line_end + 1] in (b" ", b"\t"):
            line_end = _line_end(message, line_end, stop)
        match = _FIELD.match(message[position:line_end])
        if match:
            name = match[1].decode("ascii").lower()
            found.append(Field(name, match[2], position, line_end))
        position = line_end
    return found, body


def leaves(message: bytes) -> Iterator[Leaf]:
    """The bodies that may be rewritten, in order."""
    yield from _walk(message, 0, len(message), 0)


def _walk(message: bytes, start: int, end: int, depth: int) -> Iterator[Leaf]:
    if not _BLANK.search(message, start, end):
        return  # fields alone: what would be put in would be one of them
    head, body = fields(message, start, end)
    about = _about(head)
    kind = about.get_content_type()
    if about.get_content_maintype() == "multipart":
        boundary = about.get_boundary()
        if kind not in _SEALED and boundary and depth < MAX_DEPTH:
            for first, last in _parts(message, body, end, boundary):
                yield from _walk(message, first, last, depth + 1)
        return
    if kind in ("text/html", "text/plain") and about.get_content_disposition() != "attachment":
        charset = about.get_content_charset()
        encoding = str(about.get("content-transfer-encoding", "")).strip().lower()
        named = [(f.start, f.end) for f in head if f.name == "content-transfer-encoding"]
        at = head[-1].end if head else start
        yield Leaf(kind, body, end, encoding, charset, named[0] if named else (at, at))


def _about(head: list[Field]) -> Message:
    """The fields that say what a body is, for the standard library to read.

    It takes time that grows with the square of a field's semicolons, so it gets PARAMETERS at most.
    """
    about = Message(policy.compat32)
    for field in head:
        if field.name in _TELLING and field.name not in about:
            value = b";".join(field.value.split(b";", PARAMETERS)[:PARAMETERS]).decode("latin-1")
            about[field.name] = re.sub(r"[\r\n]+", " ", value).strip()
    return about


def _parts(message: bytes, start: int, end: int, boundary: str) -> Iterator[tuple[int, int]]:
    """Ranges of a multipart's parts (RFC 2046, section 5.1.1); a missing end counts as one."""
    try:
        mark = re.escape(boundary.encode("latin-1"))
    except UnicodeEncodeError:
        return
    pattern = re.compile(rb"(?:\A|(?<=\n))--" + mark + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    first = -1
    for match in pattern.finditer(message, start, end):
        if first >= 0:
            last = match.start()
            last -= 2 if message[last - 2 : last] == b"\r\n" else 1
            yield first, max(first, last)
        if match[1]:
            return
        first = match.end()
    if first >= 0:
        yield first, end


def rewrite(message: bytes, leaf_rewrite: Rewrite, fold: bool = False) -> tuple[bytes, list[str]]:
    """The message with the edits that `leaf_rewrite` makes to each leaf's decoded bytes, in order.

    Also returns notes on leaves that could not be rewritten. With `fold` a leaf whose lines become
    too long for SMTP is sent as quoted-printable.
    """
    out: list[bytes] = []
    notes: list[str] = []
    position = 0
    for leaf in leaves(message):
        raw = message[leaf.start : leaf.end]
        try:
            new = _leaf(leaf, raw, leaf_rewrite)
        except (binascii.Error, MimeError) as error:
            notes.append(f"byte {leaf.start}: {leaf.kind} was left alone: {error}")
            continue
        too_long = leaf.encoding in _IDENTITY and _longest(new) > max(LINE_LIMIT, _longest(raw))
        if too_long and fold and leaf.named[1]:
            ending = b"\r\n" if b"\r\n" in message[: leaf.start] else b"\n"
            field = b"Content-Transfer-Encoding: quoted-printable" + ending
            out += [message[position : leaf.named[0]], field, message[leaf.named[1] : leaf.start]]
            out.append(_encode_quoted(new, ending, soft=False))
            position = leaf.end
            continue
        if too_long:
            notes.append(f"byte {leaf.start}: a line is now longer than {LINE_LIMIT} bytes")
        out += [message[position : leaf.start], new]
        position = leaf.end
    return b"".join([*out, message[position:]]), notes


def _leaf(leaf: Leaf, raw: bytes, leaf_rewrite: Rewrite) -> bytes:
    if b"-----BEGIN PGP" in raw:
        raise MimeError("it holds a PGP block")
    if leaf.encoding in _IDENTITY:
        return _applied(raw, leaf_rewrite(leaf, raw))
    if leaf.encoding == "base64":
        body = binascii.a2b_base64(raw)
        edits = leaf_rewrite(leaf, body)
        return _base64(_applied(body, edits), raw) if edits else raw
    if leaf.encoding == "quoted-printable":
        lines = raw.splitlines(keepends=True) or [b""]
        decoded = [binascii.a2b_qp(line) for line in lines]
        edits = leaf_rewrite(leaf, b"".join(decoded))
        return b"".join(_quoted(lines, decoded, edits))
    raise MimeError(f"transfer encoding {leaf.encoding!r} is not known")


def _applied(body: bytes, edits: Sequence[Edit], offset: int = 0) -> bytes:
    out: list[bytes] = []
    position = 0
    for edit in edits:
        out += [body[position : edit.start - offset], edit.new]
        position = edit.end - offset
    return b"".join([*out, body[position:]])


def _base64(new: bytes, raw: bytes) -> bytes:
    """With the original's line length and line ends (RFC 2045, section 6.8)."""
    first = raw.lstrip().partition(b"\n")[0]
    ending = b"\r\n" if first.endswith(b"\r") or b"\n" not in raw else b"\n"
    width = len(first.strip()) // 4 * 4
    width = width if 4 <= width <= 996 and b"\n" in raw.strip() else 76
    text = binascii.b2a_base64(new, newline=False)
    lines = [text[place : place + width] for place in range(0, len(text), width)]
    tail = raw[len(raw.rstrip()) :]
    lead = raw[: len(raw) - len(raw.lstrip())]
    return lead + ending.join(lines) + tail


def _quoted(
    lines: Sequence[bytes], decoded: Sequence[bytes], edits: Sequence[Edit]
) -> Iterator[bytes]:
    """The lines as they were, but for those that an edit touches: these are encoded anew."""
    ends = list(accumulate(map(len, decoded)))
    line = number = 0
    while number < len(edits):
        first = max(line, min(bisect_right(ends, edits[number].start), len(lines) - 1))
        yield from lines[line:first]
        last, until = first, number
        # Edits whose lines meet are encoded together.
        while until < len(edits) and (
            until == number or last == len(lines) - 1 or edits[until].start < ends[last]
        ):
            last = max(last, min(bisect_left(ends, edits[until].end), len(lines) - 1))
            until += 1
        offset = ends[first] - len(decoded[first])
        body = _applied(b"".join(decoded[first : last + 1]), edits[number:until], offset)
        closing = lines[last]
        soft = closing.rstrip(b"\r\n").endswith(b"=") and not decoded[last].endswith(b"\n")
        ending = b"\n" if lines[0].endswith(b"\n") and not lines[0].endswith(b"\r\n") else b"\r\n"
        yield _encode_quoted(body, ending, soft)
        line, number = last + 1, until
    yield from lines[line:]


def _encode_quoted(body: bytes, ending: bytes, soft: bool) -> bytes:
    """RFC 2045, section 6.7; `soft` says that the last line goes on in the next one."""
    out: list[bytes] = []
    for line in body.splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        out.append(_wrap(_QUOTED.sub(_octet, text), bool(line[len(text) :]), ending))
        out.append(line[len(text) :])
    if soft:
        out.append(b"=" + ending)
    return b"".join(out)


def _octet(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % ord(match[0])


def _wrap(text: bytes, ends: bool, ending: bytes) -> bytes:
    """Soft breaks so that no line is longer than 76; white space before a line end is encoded."""
    if ends and text[-1:] in (b" ", b"\t"):
        text = text[:-1] + b"=%02X" % text[-1]
    lines, start = [], 0
    while len(text) - start > 75:
        end = start + 75
        within = text.rfind(b"=", end - 2, end)  # =XX stays whole
        end = end if within < 0 else within
        lines.append(text[start:end] + b"=")
        start = end
    return ending.join([*lines, text[start:]])


def _longest(body: bytes) -> int:
    return max(map(len, body.splitlines()), default=0)


def _line_end(message: bytes, start: int, stop: int) -> int:
    found = message.find(b"\n", start, stop)
    return stop if found < 0 else found + 1


def text_of(value: bytes) -> str:
    """A header's value as text, encoded words resolved (RFC 2047)."""
    unfolded = re.sub(r"\r?\n[ \t]?", " ", value.decode("utf-8", "surrogateescape")).strip()
    try:
        return str(make_header(decode_header(unfolded)))
    except (MessageError, LookupError, ValueError):
        return unfolded.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def without_own(message: bytes) -> tuple[bytes, dict[str, str]]:
    """The message without its X-Mailwake-* fields, and these by the rest of their names."""
    head, _ = fields(message)
    out: list[bytes] = []
    own: dict[str, str] = {}
    position = 0
    for field in head:
        if field.name.encode("ascii").startswith(OWN):
            own.setdefault(field.name[len(OWN) :], text_of(field.value))
            out.append(message[position : field.start])
            position = field.end
    return b"".join([*out, message[position:]]), own
