"""Finds and reads the header fields of a message (RFC 5322).

Reading takes time linear in the length of a field, whatever its content.
"""

import binascii
import re
from collections.abc import Sequence
from email.utils import getaddresses
from itertools import islice
from typing import NamedTuple

from app.rewriting import charsets
from app.rewriting.charsets import Charset

MAX_HEAD_BYTES = 1_000_000  # of a header; servers accept a tenth
MAX_FIELDS = 10_000
MAX_FIELD_BYTES = 32_768  # of a field whose text is read
MAX_OWN = 50  # X-Mailwake-* fields that are read; there are a dozen, and 20 of metadata
MAX_ADDRESS_BYTES = 4_096  # of a field, up to the first email address
MAX_ADDRESS_FIELDS = 10
OWN = b"x-mailwake-"
_FIRST = re.compile(rb"\r?\n")
_EMPTY = re.compile(rb"\n(\r?\n)")
_LINES = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*+\n?")
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*")
_WORD = re.compile(r"=\?([^?\s]*)\?([qQbB])\?([^?]*)\?=")


class HeaderError(ValueError):
    """A header past a limit; the text names its byte."""


class Field(NamedTuple):
    """A header field at bytes `start` to `end`, folding and line end included."""

    name: str  # in lower case
    value: bytes
    start: int
    end: int


def blank(message: bytes, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
    """Returns the byte of the empty line that ends the header from `start`, None without one."""
    if start == 0 and (first := _FIRST.match(message)):
        return first.span()
    end = len(message) if end is None else end
    empty = _EMPTY.search(message, max(0, start - 1), end)
    return empty.span(1) if empty else None


def begins_within(message: bytes) -> bool:
    """Returns whether a message begins within a field: text inserted before it would join it."""
    return message.startswith((b" ", b"\t"))


def fields(message: bytes, start: int = 0, end: int | None = None) -> tuple[list[Field], int]:
    """Returns the header fields from `start` on, and where the body begins.

    Lines that are not fields are skipped, as mail clients do. Raises HeaderError past MAX_FIELDS
    and MAX_HEAD_BYTES.
    """
    end = len(message) if end is None else end
    stop, body = blank(message, start, end) or (end, end)
    if stop - start > MAX_HEAD_BYTES:
        raise HeaderError(f"byte {start}: a header of more than {MAX_HEAD_BYTES:,} bytes")
    fields: list[Field] = []
    for lines in _LINES.finditer(message, start, stop):
        if match := _NAME.match(lines[0]):
            name = match[1].decode("ascii").lower()
            value = lines[0][match.end() :].removesuffix(b"\n").removesuffix(b"\r")
            fields.append(Field(name, value, lines.start(), lines.end()))
            if len(fields) > MAX_FIELDS:
                raise HeaderError(f"byte {start}: a header of more than {MAX_FIELDS:,} fields")
    return fields, body


def address(head: Sequence[Field], name: str) -> str:
    """Returns the first email address of the fields of that name (in lower case), "" without one.

    An email address that cannot be parsed is ignored.
    """
    values = (field.value for field in head if field.name == name)
    for value in islice(values, MAX_ADDRESS_FIELDS):
        whole = value
        if len(value) > MAX_ADDRESS_BYTES:
            whole = value[:MAX_ADDRESS_BYTES].rpartition(b",")[0]
        # Encoded words may hold commas and brackets, so they are no part of the grammar; some
        # mailers encode a whole email address nevertheless.
        emails = [_first(unfolded(whole)), _first(text_of(whole))]
        if any(emails):
            return next((email for email in emails if "@" in email), emails[0] or emails[1])
    return ""


def _first(text: str) -> str:
    try:
        return next((email for _, email in getaddresses([text]) if email), "")
    except (ValueError, IndexError, RecursionError):  # the library follows each bracket
        return ""


def text_of(value: bytes) -> str:
    """Returns a header's value as text, encoded words decoded (RFC 2047).

    Undecodable text is unchanged, and text after byte MAX_FIELD_BYTES is omitted.
    """
    text = _unfolded(value)
    pieces: list[str] = []
    held: list[bytes] = []  # characters may continue in the next word, if it has the same charset
    charset = charsets.UTF8
    position = 0
    for match in _WORD.finditer(text):
        if (word := _word(match)) is None:
            continue
        between = text[position : match.start()]
        if not held or between.strip() or word[0] != charset:
            pieces += [_decoded(held, charset), "" if held and not between.strip() else between]
            held.clear()
        charset = word[0]
        held.append(word[1])
        position = match.end()
    pieces += [_decoded(held, charset), text[position:]]
    return _shown("".join(pieces))


def unfolded(value: bytes) -> str:
    """Returns a header's value as text up to byte MAX_FIELD_BYTES, encoded words as they are."""
    return _shown(_unfolded(value))


def _unfolded(value: bytes) -> str:
    text = value[:MAX_FIELD_BYTES].decode("utf-8", "surrogateescape")
    return re.sub(r"\r?\n[ \t]?", " ", text).strip()


def _shown(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _decoded(words: Sequence[bytes], charset: Charset) -> str:
    text = charset.decode(b"".join(words))
    return text.encode("utf-8", "replace").decode("utf-8")  # some codecs return surrogates


def _word(match: re.Match[str]) -> tuple[Charset, bytes] | None:
    """Returns the charset and bytes of an encoded word, None if it cannot be decoded."""
    known = charsets.lookup(match[1].partition("*")[0])  # RFC 2231, section 5
    data = match[3].encode("utf-8", "surrogateescape")
    try:
        if not known:
            return None
        if match[2] in "qQ":
            return known, binascii.a2b_qp(data, header=True)
        return known, binascii.a2b_base64(data + b"=" * (-len(data) % 4))
    except binascii.Error:
        return None


def without_own(message: bytes) -> tuple[bytes, dict[str, str]]:
    """Returns the message without its X-Mailwake-* fields, and those by the rest of their names.

    Raises MimeError for a header past the limits of `fields`.
    """
    head, _ = fields(message)
    out: list[bytes] = []
    own: dict[str, str] = {}
    position = 0
    for field in head:
        if field.name.encode("ascii").startswith(OWN):
            name = field.name[len(OWN) :]
            if name not in own and len(own) < MAX_OWN:
                own[name] = text_of(field.value)
            out.append(message[position : field.start])
            position = field.end
    return b"".join([*out, message[position:]]), own
