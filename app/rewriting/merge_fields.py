"""Merge fields: `{{ name }}` and `*|NAME|*` in a mail, filled with each recipient's values.

A value is encoded for its context and cannot leave it: as text or attribute of HTML
(HTML standard, 13.1.2), as one part of a URL's path, query or fragment (RFC 3986, section 2), or as
it is in text/plain. In scripts, style sheets, comments, event handlers and tags nothing is filled.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial
from html import escape
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote

from app.rewriting import html_scanner, urls
from app.rewriting.html_scanner import Segment

MAX_PLACES = 2_000  # where values are filled in one mail
MAX_FILLED_BYTES = 5_000_000  # of all that is filled in one body
MAX_FILLED_URL_CHARS = 100_000
MAX_VALUES = 100  # of one recipient
MAX_VALUE_CHARS = 4_000
NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"

Values = Mapping[str, str | None]

_FIELD = re.compile(
    rf"(?<!\{{)\{{\{{[ \t]{{0,9}}({NAME})[ \t]{{0,9}}\}}\}}(?!\}})|\*\|({NAME})\|\*"
)
# Editors percent-encode the content of a link.
_IN_URL = re.compile(
    rf"(?<!\{{)\{{\{{(?:[ \t]|%20){{0,9}}({NAME})(?:[ \t]|%20){{0,9}}\}}\}}(?!\}})"
    rf"|%7[Bb]%7[Bb](?:[ +]|%20){{0,9}}({NAME})(?:[ +]|%20){{0,9}}%7[Dd]%7[Dd]"
    rf"|\*(?:\||%7[Cc])({NAME})(?:\||%7[Cc])\*"
)
_FIELD_BYTES = re.compile(_FIELD.pattern.encode("ascii"))
_CHAIN = re.compile(rb"(?:" + _FIELD_BYTES.pattern + rb")*")
_SIGN = re.compile(rb"\{\{|\*\||%7[Bb]%7[Bb]|\*%7")
# What has been written of a URL, where that ends within its host or before it.
_IN_HOST = re.compile(
    r"(?:https?:[/\\]*|[a-zA-Z][a-zA-Z0-9+.-]*:[/\\]{2,}|[/\\]{2,})([^/\\?#]*)", re.I
)
_HOST = re.compile(r"[^/\\?#]*")
_NO_HOST = "%252E"  # browsers decode a host once, and none may hold the "%" that is left
_UNSAFE = re.compile(r"[\x00-\x20\"'<>`\x7f]")
# Schemes that a value may bring along; and those whose URLs are programs or documents themselves.
_SCHEMES = ("http", "https", "mailto", "tel", "sms")
_ACTIVE = ("javascript", "vbscript", "data", "livescript", "mocha", "view-source")
# Attributes that hold one URL (HTML standard, 4.2 to 4.10; and those of older mails).
_URL_ATTRIBUTES = (
    b"href",
    b"src",
    b"background",
    b"action",
    b"formaction",
    b"poster",
    b"cite",
    b"longdesc",
    b"xlink:href",
    b"data",
    b"dynsrc",
    b"lowsrc",
)
_CLOSED_ATTRIBUTES = re.compile(
    rb"on.*|style|srcdoc|srcset|imagesrcset|ping|sizes|media", re.DOTALL
)
_CLOSED_TAGS = (
    b"base",
    b"meta",
    b"object",
    b"embed",
    b"param",
    b"script",
    b"link",
    b"iframe",
    b"frame",
    b"animate",
    b"set",
)
_OTHER_RULES = (b"svg", b"math", b"select")  # of raw text (HTML standard, 13.2.6)
_TEXT_ELEMENTS = (b"title", b"textarea")


class MissingValueError(ValueError):
    """A mail has a field for which there is no value; `name` is the field's."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no value for the merge field {name!r}: add one, or null to leave the field as it is"
        )
        self.name = name


class Field(NamedTuple):
    """Bytes `start` to `end` are replaced by what `fill` returns for the values of `names`.

    `occurrences` is how many fields there are; a URL may have several.
    """

    start: int
    end: int
    names: frozenset[str]
    fill: Callable[[Values], str]
    occurrences: int = 1


def may_have_fields(mail: bytes) -> bool:
    """Returns whether it is worth looking for fields."""
    return any(sign in mail for sign in (b"{{", b"*|", b"%7B%7B", b"%7b%7b", b"*%7C", b"*%7c"))


def sample(url: str) -> str:
    """Returns the URL with its fields filled, to see what would become of it."""
    return _IN_URL.sub(lambda m: "https://x.example/" if m.start() == 0 else "x", url)


def fill_url(url: str, values: Values) -> str:
    """Returns the URL with every field filled that has a value.

    A value is one part of the URL: its `/`, `?`, `#`, `&` and `=` are percent-encoded. Where a
    field begins the URL, an http(s), mailto, tel or sms URL is taken as it is; no other scheme can
    come about. In a host a value is the whole host, or a label before its domain. Raises
    RewriteError for more than MAX_FILLED_URL_CHARS.
    """
    filled, position = "", 0
    for match in _IN_URL.finditer(url):
        value = values.get(_name(match))
        if value is None:
            continue
        filled += url[position : match.start()]
        position = match.end()
        if len(filled) > MAX_FILLED_URL_CHARS:
            raise html_scanner.RewriteError(
                f"a URL of more than {MAX_FILLED_URL_CHARS:,} characters after filling its fields"
            )
        host = _IN_HOST.fullmatch(filled)
        if not filled:
            filled = _whole(value)
        elif host:
            rest = _HOST.match(url, position)
            filled += _host_part(value, host[1], rest[0] if rest else "")
        else:
            filled += quote(value, safe="")
    filled += url[position:]
    if urls.scheme(filled) in ("", *_SCHEMES, urls.scheme(url)):
        return filled
    return f"%{ord(filled[0]):02X}{filled[1:]}"


def _whole(value: str) -> str:
    """Returns a value that begins a URL: itself a URL, or one part."""
    url = value.strip()
    scheme = urls.scheme(url)
    try:
        if scheme in ("http", "https"):
            urls.split_url(url)
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        return quote(value, safe="")
    return _UNSAFE.sub(lambda match: quote(match[0]), url)


def _host_part(value: str, before: str, after: str) -> str:
    """Returns a value in a host between two pieces of the template."""
    part = quote(value, safe="")
    if not before and not after.strip(":0123456789"):
        return part or _NO_HOST
    return part.replace(".", _NO_HOST) if "." in after else _NO_HOST


def mask(text: str) -> str:
    """Returns text of the same length in which each field is one word."""
    return (
        _FIELD.sub(lambda match: "x" * len(match[0]), text)
        if "{{" in text or "*|" in text
        else text
    )


@lru_cache(2048)  # URLs of templates
def fillable(url: str) -> frozenset[str]:
    """Returns the names of the fields in a URL that may be filled: none in a `javascript:` URL."""
    if urls.scheme(url) in _ACTIVE:
        return frozenset()
    return frozenset(map(_name, _IN_URL.finditer(url)))


def count_in_url(url: str) -> int:
    """Returns how many fields a URL has; `fillable` returns each name once."""
    return sum(1 for _ in _IN_URL.finditer(url))


def is_filled(url: str, values: Values) -> bool:
    """Returns whether each field of a URL has a value that is one part of it."""
    return not _IN_URL.match(url) and all(values.get(name) is not None for name in fillable(url))


def in_text(text: bytes, links: Sequence[tuple[int, int]]) -> list[Field]:
    """Returns the places to fill in text/plain outside of `links`, the ranges of those with fields.

    Both are in order.
    """
    places: list[Field] = []
    number = 0
    for match in _FIELD_BYTES.finditer(text):
        while number < len(links) and links[number][1] <= match.start():
            number += 1
        if number == len(links) or match.end() <= links[number][0]:
            name = (match[1] or match[2]).decode("ascii")
            places.append(Field(*match.span(), frozenset((name,)), partial(_plain, name)))
            if len(places) > MAX_PLACES:
                break  # such a mail is not filled
    return places


def in_html(html: bytes, links: Collection[int]) -> tuple[list[Field], list[int]]:
    """Returns the places to fill outside of links, and at which bytes fields cannot be filled.

    `links` is where the links' URLs begin: those are left to `fill_url`.
    """
    places: list[Field] = []
    closed: list[int] = []
    reached = 0
    foreign = False
    for segment in html_scanner.segments(html):
        foreign = foreign or segment.name in _OTHER_RULES
        escaped = segment.name == b"script" and b"<!--" in html[segment.start : segment.end]
        if segment.kind == "raw" and (foreign or escaped):
            # Where it ends depends on rules that are not followed here: nothing is filled after it.
            break
        reached = segment.end
        if not _SIGN.search(html, segment.start, segment.end):
            continue
        if len(places) > MAX_PLACES:
            return places, closed  # such a mail is not filled
        if segment.kind == "tag":
            filled, unfilled = _in_tag(html, segment, links)
            places += filled
            closed += unfilled[: MAX_PLACES - len(closed)]
            continue
        begin = segment.end  # of what is filled
        if segment.kind == "text":
            # "<" and a value would be a tag.
            less = html[segment.start - 1 : segment.start] == b"<" if segment.start else False
            chain = _CHAIN.match(html, segment.start) if less else None
            begin = chain.end() if chain else segment.start
        elif segment.name in _TEXT_ELEMENTS and b"<" not in html[segment.start : segment.end]:
            begin = segment.start
        open_fields = _FIELD_BYTES.finditer(html, begin, segment.end)
        places += map(_in_markup, islice(open_fields, MAX_PLACES + 1))
        closed += _closed(html, segment.start, begin, closed)
    closed += _closed(html, reached, len(html), closed)
    return places, closed


def _closed(html: bytes, start: int, end: int, known: Sequence[int]) -> list[int]:
    """Returns the bytes of fields that are not filled, as many as the note on them counts."""
    fields = _FIELD_BYTES.finditer(html, start, end)
    return [match.start() for match in islice(fields, MAX_PLACES - len(known))]


def _in_tag(html: bytes, tag: Segment, links: Collection[int]) -> tuple[list[Field], list[int]]:
    places: list[Field] = []
    known: list[tuple[int, int]] = []  # ranges already handled
    for attribute in html_scanner.attributes(html, tag):
        start, end = attribute.start, attribute.end
        if attribute.value is None or not _SIGN.search(html, start, end):
            continue
        if start in links:
            known.append((start, end))
            continue
        if tag.name in _CLOSED_TAGS or _CLOSED_ATTRIBUTES.fullmatch(attribute.name):
            continue
        quoted = html[start - 1 : start] in (b'"', b"'")
        if attribute.name in _URL_ATTRIBUTES:
            url = urls.read_url(attribute.value.decode("utf-8", "replace"))
            if names := fillable(url):
                fill = partial(_url_attribute, url, quoted)
                places.append(Field(start, end, names, fill, count_in_url(url)))
                known.append((start, end))
        elif quoted:
            places += map(_in_markup, _FIELD_BYTES.finditer(html, start, end))
            known.append((start, end))
        elif b'"' not in attribute.value and (names := _names(attribute.value)):
            value = attribute.value.decode("utf-8", "replace")
            count = sum(1 for _ in _FIELD.finditer(value))
            places.append(Field(start, end, names, partial(_unquoted, value), count))
            known.append((start, end))
    every = [match.start() for match in _FIELD_BYTES.finditer(html, tag.start, tag.end)]
    starts = [start for start, _ in known]  # in order, as the attributes are
    before = [bisect_right(starts, at) - 1 for at in every]
    unfilled = [
        at for at, number in zip(every, before, strict=True) if number < 0 or known[number][1] <= at
    ]
    return places, unfilled


def _in_markup(match: re.Match[bytes]) -> Field:
    """Returns a field in text or in a quoted attribute."""
    name = (match[1] or match[2]).decode("ascii")
    return Field(*match.span(), frozenset((name,)), partial(_escaped, name))


def _plain(name: str, values: Values) -> str:
    return values[name] or ""


def _escaped(name: str, values: Values) -> str:
    return escape(values[name] or "")


def _url_attribute(url: str, quoted: bool, values: Values) -> str:
    return attribute_value(fill_url(url, values), quoted)


def _unquoted(value: str, values: Values) -> str:
    filled = _FIELD.sub(lambda match: escape(_value(match, values)), value)
    return f'"{filled}"'


def attribute_value(text: str, quoted: bool) -> str:
    """Returns text as an attribute's value, with quotes where there are none."""
    return escape(text) if quoted else f'"{escape(text)}"'


def _names(value: bytes) -> frozenset[str]:
    return frozenset(
        (match[1] or match[2]).decode("ascii") for match in _FIELD_BYTES.finditer(value)
    )


def _name(match: re.Match[str]) -> str:
    return next(name for name in match.groups() if name)


def _value(match: re.Match[str], values: Values) -> str:
    value = values.get(_name(match))
    return str(match[0]) if value is None else value
