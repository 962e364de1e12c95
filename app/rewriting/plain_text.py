"""Finds URLs in text/plain where mail clients see them, in bytes of any charset.

A URL in angle brackets is the text between them (RFC 3986, appendix C). Another ends before
white space, a quotation mark that was opened before it, and punctuation that ends a sentence. In
format=flowed with DelSp a URL continues after a soft line break (RFC 3676, section 4.2).
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.rewriting import encoding_standard, merge_fields
from app.rewriting.charsets import Charset

# None of these is in a URL (RFC 3986); the backtick ends code in Markdown.
_IN_URL = r"[^\x00-\x20<>\"`\x7f]"
_URL = re.compile(rf"https?://{_IN_URL}++", re.IGNORECASE)
_ASCII_URL = re.compile(r"https?://[!#-;=?-_a-~]++", re.IGNORECASE)
_MORE = re.compile(rf"{_IN_URL}++")
_DEPTH = re.compile(r">*+")
_SOFT_BREAK = re.compile(r" \r?\n(>*+) ?")
_WRAPPED = re.compile(rf"[ \t]*+\r?\n[> \t]*+{_IN_URL}{{1,1000}}+>")
# What ends a sentence or a quotation rather than a URL.
_TRAIL = ".,;:!?'\N{HORIZONTAL ELLIPSIS}\u2019\u201d\u00bb\u3001\u3002\uff0c\uff01\uff1f"
_EMPHASIS = "*_~"  # part of a URL, unless it is before it too
_TRAIL_CHARS = 100
_BRACKETS = {")": "(", "]": "[", "}": "{", "\uff09": "\uff08", "\u300d": "\u300c"}
_QUOTES = {
    "'": "'",
    "\u2018": "\u2019",
    "\u201c": "\u201d",
    "\u201e": "\u201c\u201d",
    "\xab": "\xbb",
    "\xbb": "\xab",
    "\u2039": "\u203a",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}
_LINE_BYTES = 1_000  # of a line that a URL may leave; format=flowed has shorter ones
_BEFORE_BYTES = 400  # how far before a URL the words that introduce it are looked for


class TextUrl(NamedTuple):
    """A URL at bytes `start` to `end`; `hint` are the words that introduce it.

    `wrapped` says that its closing bracket follows in the next line: where it ends is unclear.
    """

    url: str
    start: int
    end: int
    hint: str
    wrapped: bool


def urls(text: bytes, charset: Charset, delsp: bool = False) -> Iterator[TextUrl]:
    """Yields the http(s) URLs in order. ASCII's bytes must be ASCII: ISO-2022 comes masked."""
    view = merge_fields.mask(text.decode("latin-1"))  # a character for each byte
    pattern = _ASCII_URL if charset.form == "iso2022" else _URL
    reached = 0
    hidden = view.encode("latin-1")
    for match in pattern.finditer(view):
        start = match.start()
        if start < reached:
            continue  # the URL before continued here
        pieces = [match.span()]
        if delsp:
            pieces += _continued(view, start, match.end())
        reached = pieces[-1][1]
        before = charset.decode(text[max(0, start - _BEFORE_BYTES) : start])
        bracketed = before[-1:] == "<" or before[-5:].upper() == "<URL:"
        shown, ends = _characters(hidden, pieces, charset)
        kept = len(ends)
        if not (bracketed and view[reached : reached + 1] == ">"):
            kept = _kept(shown, before[-1:])
        url = "".join(_characters(text, pieces, charset)[0][:kept])
        wrapped = bracketed and bool(_WRAPPED.match(view, reached))
        yield TextUrl(url, start, ends[kept - 1], _hint(before), wrapped)


def _continued(view: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Returns where a URL continues after soft line breaks, in lines that are quoted as deeply."""
    line = view.rfind("\n", max(0, start - _LINE_BYTES), start)
    quoted = _DEPTH.match(view, line + 1) if line >= 0 or start <= _LINE_BYTES else None
    while soft := _SOFT_BREAK.match(view, end):
        more = _MORE.match(view, soft.end())
        if more is None or quoted is None or soft[1] != quoted[0]:
            return
        end = more.end()
        yield more.span()


def _characters(
    text: bytes, pieces: Sequence[tuple[int, int]], charset: Charset
) -> tuple[Sequence[str], Sequence[int]]:
    """Returns the characters of some ranges, and the byte at which each ends."""
    start, end = pieces[0]
    data = text[start:end]
    if len(pieces) == 1 and data.isascii():
        return data.decode("ascii"), range(start + 1, end + 1)
    shown: list[str] = []
    ends: list[int] = []
    for start, end in pieces:
        place = start
        for character in encoding_standard.characters(charset.name, text[start:end]):
            place += len(character)
            shown.append(charset.decode(character))
            ends.append(place)
    return shown, ends


def _kept(shown: Sequence[str], opened: str) -> int:
    """Returns how many characters are the URL's; `opened` is the one before it."""
    end = len(shown)
    if opened in _QUOTES or not isinstance(shown, str):  # ASCII's white space is in no match
        closing = _QUOTES.get(opened, "")
        end = next((n for n, c in enumerate(shown) if c.isspace() or c in closing), end)
    trail = _TRAIL + (opened if opened and opened in _EMPHASIS else "")
    surplus = {
        close: shown[:end].count(close) - shown[:end].count(open_)
        for close, open_ in _BRACKETS.items()
    }
    first = max(len("http://"), end - _TRAIL_CHARS)
    while end > first and (shown[end - 1] in trail or surplus.get(shown[end - 1], 0) > 0):
        end -= 1
        if shown[end] in surplus:
            surplus[shown[end]] -= 1
    return end


def _hint(before: str) -> str:
    """Returns the words before a URL on its line, or the line above if it starts its own."""
    lines = before.splitlines() or [""]
    here = lines[-1].strip() if before[-1:] not in ("\n", "\r") else ""
    if not here:
        above = [line.strip() for line in lines if line.strip()]
        here = above[-1] if above and not _URL.search(above[-1]) else ""
    return here
