"""Reads HTML as bytes, as far as links in mail need it: the tags that matter, with attributes.

Follows the tokenizer of the HTML standard (html.spec.whatwg.org, section 13.2.5) in any charset
whose `<`, `>`, quotes, `=`, `/` and white space are ASCII's and have no other meaning. The content
of Outlook's conditional comments is read as markup too. Time is linear: every pattern is
possessive, is matched at its position instead of searched for, and an unclosed construct is
searched once; MAX_STEPS bounds the pieces that cannot be skipped inside one match.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

from app.rewriting.foreign_elements import Foreign
from app.rewriting.html_syntax import (
    ASSIGNMENT,
    BOGUS,
    COMMENT,
    MAX_STEPS,
    NAME,
    NAME_ENDS,
    QUICK_REST,
    QUOTED,
    RAW,
    RAW_END,
    SPACES,
    TAG_NAME,
    VALUE,
    RewriteError,
    Tag,
    any_of,
    attribute,
    closes_itself,
    others,
)

__all__ = ["MAX_STEPS", "RewriteError", "Tag"]

MAX_SEGMENTS = 300_000  # tags, texts and comments of a mail whose every piece is looked at
MAX_TAG = 2_000_000  # bytes of one tag whose attributes are asked for
LABEL_BYTES = 4096  # how much of an element's content is looked at for a label
MAX_ATTRIBUTES = 200  # of one tag, those that are asked for, duplicates included

_CONDITION_START = rb"<!--" + SPACES + rb"\[(?i:if)"
_LINK = rb"(?:[aA](?:[rR][eE][aA])?+|[vV]:[^\t\n\f\r />]*+)" + NAME_ENDS
_WANTED = (
    _LINK
    + rb"|(?:"
    + any_of((b"base", b"/body", b"plaintext", b"svg", b"math", *RAW))
    + rb")"
    + NAME_ENDS
)
_TEXT = rb"[^<]++|<(?![a-zA-Z/!?])"

# Most end tags, and start tags of names that begin unlike the searched ones.
_PLAIN_TAG = (
    rb"</[ac-zAC-Z][a-zA-Z0-9]*+>|<(?:t[abdhr]|[c-hj-loqruwyz]|p(?!l)|br|im|sp)[a-zA-Z0-9]*+(?:"
    rb"[\t\n\f\r ]++" + QUOTED + rb")*+[\t\n\f\r /]*+>"
)
MAX_PIECES = 2_000  # skipped by one match: `re` lets no other thread run before it is done
# Up to the next thing worth a look and, if that is a tag, over it, in one go, or over MAX_PIECES:
# in a conditional comment, and in the document.
_SKIPPED = (
    _PLAIN_TAG
    + rb"|</(?![bB][oO][dD][yY]"
    + NAME_ENDS
    + rb")[a-zA-Z][^\t\n\f\r />]*+"
    + QUICK_REST
    + rb"|<(?!"
    + _WANTED
    + rb")"
    + TAG_NAME
    + QUICK_REST
    + rb"|"
    + BOGUS
    + rb"|<(?![a-zA-Z/!?])"
)
# No comment closes within a conditional one, so to look for its end there would be quadratic.
_THEN_TAG = rb"(?:<(?=" + _WANTED + rb")(" + TAG_NAME + rb")" + QUICK_REST + rb")?+"
_TIMES = rb"{0,%d}+" % MAX_PIECES
_SKIP_MSO = re.compile(rb"[^<]*+(?:(?:" + _SKIPPED + rb")[^<]*+)" + _TIMES + _THEN_TAG)
# A comment that may hold a link is worth a look: it may be one for Outlook. This is [^<-], which
# takes `re` more than twice the time.
_DULL = rb"[\x00-,.-;=-\xff]*+"
_SKIP = re.compile(
    rb"[^<]*+(?:(?:"
    + _SKIPPED
    + rb"|<!--(?:-?+>|"
    + _DULL
    + rb"(?:(?:<[b-uw-z/!]|-(?!-!?+>)|<(?!"
    + _LINK
    + rb"))"
    + _DULL
    + rb")*+--!?+>))[^<]*+)"
    + _TIMES
    + _THEN_TAG
)
_CONDITION = re.compile(_CONDITION_START + rb"[^\]>]*+\]?+>")
_COMMENT_END = re.compile(rb"--!?>")
_CONTENT = re.compile(
    rb"("
    + _TEXT
    + rb")|"
    + COMMENT
    + rb"|"
    + BOGUS
    + rb"|<("
    + TAG_NAME
    + rb")(?P<rest>"
    + QUICK_REST
    + rb")"
)
# Elements that do not separate the words on their two sides.
_INLINE = (
    rb"/?+(?:"
    + any_of(
        b"abbr acronym b bdi bdo big cite code del em font i ins kbd mark o:p q s small span strike"
        b" strong sub sup tt u var wbr".split()
    )
    + rb")"
)
_INLINE_NAME = re.compile(_INLINE)
# A link's content in one go, unless it holds comments, other links or raw text.
_END_A = re.compile(rb"</[aA]" + NAME_ENDS)
_UNEVEN = re.compile(
    rb"<(?:[!?]|[aA](?:[rR][eE][aA])?+"
    + NAME_ENDS
    + rb"|[vV]:|[sS](?:[tT][yY]|[cC][rR])|[iI][fF]|[nN][oO][eEfF])"
)
_NO_BREAKS = re.compile(rb"<" + _INLINE + NAME_ENDS + QUICK_REST)
_BREAKS = re.compile(rb"<" + TAG_NAME + QUICK_REST)
_TAG_STARTS = re.compile(rb"<[a-zA-Z/]")
_IMAGE_NAME = rb"<[iI][mM][gG]" + NAME_ENDS
_IMAGE_TAG = re.compile(_IMAGE_NAME + rb"(?P<rest>" + QUICK_REST + rb")")
_ONLY_IMAGE = re.compile(
    SPACES + _IMAGE_NAME + rb"(?P<rest>" + QUICK_REST + rb")" + SPACES + rb"</[aA]" + NAME_ENDS
)


class Attribute(Struct, frozen=True, gc=False):
    """`value` is the text between the quotes, at bytes `start` to `end`; None without a `=`.

    `outer` is the range to remove from the tag: the white space before it included, if other
    white space or the tag's end follows.
    """

    name: bytes
    value: bytes | None
    start: int
    end: int
    outer: tuple[int, int]


class Unclosed(Struct, frozen=True, gc=False):
    """An unclosed `what`: clients show nothing from byte `start` on."""

    what: str
    start: int


def plain_element(
    name: bytes, names: Iterable[bytes], never: bytes = rb"(?!)"
) -> re.Pattern[bytes]:
    """Returns a pattern for the rest of a tag whose only attribute of `names` is `name`.

    All attributes are in double quotes, and the pattern `never` fits none. The value of `name` is
    the first group. The second is the content up to </a>, if that is text of less than
    LABEL_BYTES bytes, else None.
    """
    rest = others(names, never)
    return re.compile(
        rest
        + rb"[\t\n\f\r ]++"
        + name
        + rb"=\"([^\"]*+)\""
        + rest
        + rb"[\t\n\f\r /]*+>"
        + rb"(?:([^<]{0,%d}+)</[aA]>)?+" % (LABEL_BYTES - 1)
    )


class Attributes:
    """Finds the attributes of some names in a tag; the others are skipped within one match."""

    def __init__(self, names: Iterable[bytes]) -> None:
        name_pattern = attribute(names)
        self._pattern = re.compile(
            rb"(?:[\t\n\f\r /]*+(?!"
            + name_pattern
            + rb")"
            + NAME
            + rb"(?:"
            + ASSIGNMENT
            + VALUE
            + rb")?+)*+"
            + rb"([\t\n\f\r /]*+)("
            + name_pattern
            + rb")(?:"
            + ASSIGNMENT
            + rb"("
            + VALUE
            + rb"))?+"
        )

    def read(self, html: bytes, tag: Tag) -> list[Attribute]:
        """Returns them in order with duplicates, of which the first counts. Raises RewriteError."""
        if tag.end - tag.start > MAX_TAG:
            raise RewriteError(f"byte {tag.start}: a tag of more than {MAX_TAG:,} bytes")
        attributes: list[Attribute] = []
        position = tag.rest
        while match := self._pattern.match(html, position, tag.end):
            position = match.end()
            start, end = match.span(3)
            value = None
            if start < 0:
                start = end = position
            else:
                if html[start : start + 1] in (b'"', b"'"):
                    start, end = start + 1, end - 1
                value = html[start:end]
            # The next piece must not join the piece before.
            apart = html[position : position + 1] in b"\t\n\f\r >"
            outer = (match.start(1) if apart else match.start(2), position)
            attributes.append(Attribute(match[2].lower(), value, start, end, outer))
            if len(attributes) > MAX_ATTRIBUTES:
                raise RewriteError(f"byte {tag.start}: a tag with over {MAX_ATTRIBUTES} attributes")
        return attributes

    def values(self, html: bytes, start: int, rest: int, end: int) -> dict[bytes, bytes]:
        """Returns values by name of the tag at bytes `start` to `end`, empty without a `=`.

        The first of duplicates counts. Raises RewriteError.
        """
        values: dict[bytes, bytes] = {}
        for _ in range(MAX_ATTRIBUTES + 1):
            match = self._pattern.match(html, rest, end)
            if match is None:
                return values
            rest = match.end()
            _, name, value = match.groups(b"")
            quoted = value[:1] in (b'"', b"'")
            values.setdefault(name.lower(), value[1:-1] if quoted else value)
        raise RewriteError(f"byte {start}: a tag with over {MAX_ATTRIBUTES} attributes")


_IMAGES = (b"img", b"v:fill", b"v:imagedata")
_UNSEEN = (b"script", b"style", b"iframe", b"noembed", b"noframes")
_ALT = (b"alt", b"title", b"aria-label")
_IMAGE = Attributes([*_ALT, b"src"])
# _ONLY_IMAGE, where of these attributes it has just `src` and `alt`, as most do.
_OTHERS = others([*_ALT, b"src"])
_SRC = rb"[\t\n\f\r ]++src=\"([^\"]*+)\"" + _OTHERS
_PLAIN_IMAGE = re.compile(
    SPACES
    + rb"<img"
    + _OTHERS
    + rb"(?:"
    + _SRC
    + rb")?+[\t\n\f\r ]++alt=\"([^\"]*+)\""
    + _OTHERS
    + rb"(?(1)|"
    + _SRC
    + rb")[\t\n\f\r /]*+>"
    + SPACES
    + rb"</[aA]>"
)


# The visible content of an element: its text, and its first image's alternative text and source.
Content = tuple[bytes, bytes, bytes]


def content(html: bytes, tag: Tag) -> Content:
    """Returns what element `tag` shows in its first LABEL_BYTES, character references undecoded.

    It ends where the element does, or the next link begins.
    """
    limit = tag.end + LABEL_BYTES
    next_tag = html.find(b"<", tag.end, limit)
    if tag.name == b"a" and html[next_tag : next_tag + 4] in (b"</a>", b"</A>"):
        return html[tag.end : next_tag], b"", b""  # nothing but text, as most links
    if image := _PLAIN_IMAGE.match(html, tag.end, limit):
        src, alt, later = image.groups(b"")
        return b"", alt if alt.strip() else b"", src or later
    if image := _ONLY_IMAGE.match(html, tag.end, limit):
        return b"", *_images(html, [image])
    if tag.name == b"a" and (end := _END_A.search(html, tag.end, limit)):
        inner = html[tag.end : end.start()]
        if not _UNEVEN.search(inner):
            text = _BREAKS.sub(b" ", _NO_BREAKS.sub(b"", inner))
            if not _TAG_STARTS.search(text):
                return text, *_images(html, _IMAGE_TAG.finditer(html, tag.end, end.start()))
    return _content(html, tag, limit)


def _content(html: bytes, tag: Tag, limit: int) -> Content:
    """Returns the same as `content`, piece by piece."""
    text: list[bytes] = []
    images: list[re.Match[bytes]] = []
    position = tag.end
    while match := _CONTENT.match(html, position, limit):
        position = match.end()
        if match[1]:
            text.append(match[1])
        elif match[2]:
            name = match[2].lower()
            if name in (b"a", b"area", tag.name, b"/" + tag.name):
                break
            if name in _UNSEEN and (end := RAW_END[name].search(html, position, limit)):
                position = end.start()
            elif name in _IMAGES:
                images.append(match)
            if not _INLINE_NAME.fullmatch(name):
                text.append(b" ")
    return b"".join(text), *_images(html, images)


def _images(html: bytes, tags: Iterable[re.Match[bytes]]) -> tuple[bytes, bytes]:
    """Returns the first alternative text of some images, and the first source."""
    src = b""
    for match in tags:
        about = _IMAGE.values(html, match.start(), *match.span("rest"))
        src = src or about.get(b"src", b"")
        for name in _ALT:
            if about.get(name, b"").strip():
                return about[name], src
    return b"", src


def read(html: bytes) -> Iterator[Tag | Unclosed]:
    """Yields the tags a, area, base, v:* and </body> in order, then an unclosed construct, if any.

    Raises RewriteError beyond MAX_STEPS.
    """
    size = len(html)
    position, end, mso = 0, size, False  # `end` of the document or of a conditional comment
    foreign = Foreign(html)
    opened = -1  # where a conditional comment began that never closes
    for _ in range(MAX_STEPS):
        skipped = _skip(html, position, end, mso)
        position = skipped.end() if skipped else end
        what = "tag"
        if skipped and (name := skipped[1]):
            name = name.lower()
            start, rest = skipped.span(1)
            start -= 1
            if name in RAW_END:
                raw_end = RAW_END[name].search(html, position, end)
                if raw_end:
                    position = raw_end.start()
                    continue
                position, what = -1, f"<{name.decode()}>"
            else:
                tag = Tag(name, start, position, rest, mso)
                if name not in (b"svg", b"math"):
                    yield tag
                elif not mso and not closes_itself(html, tag):
                    position = yield from foreign.links(tag, end)
                continue
        elif position >= end:
            if opened >= 0:
                yield Unclosed("comment", opened)
            if opened >= 0 or not mso:
                return
            position, end, mso = end, size, False
            continue
        elif html.startswith(b"<!--", start := position):
            what = "comment"
            condition = _CONDITION.match(html, start, end)
            close = (-1, -1) if mso else _comment_end(html, start)
            if condition and (mso or not 0 <= close[0] < condition.end()):
                if not mso:
                    opened = start if close[0] < 0 else -1
                    end, mso = size if close[0] < 0 else close[0], True
                position = condition.end()
                continue
            position = close[1]
        else:
            position = -1
        if position < 0:
            if not mso:
                yield Unclosed(what, start)
                return
            position = end
    raise RewriteError(f"more than {MAX_STEPS:,} links, Outlook comments and similar elements")


def _skip(html: bytes, position: int, end: int, mso: bool) -> re.Match[bytes] | None:
    """Returns the match that ends at the next thing worth a look; its group is a tag's name."""
    pattern = _SKIP_MSO if mso else _SKIP
    skipped = pattern.match(html, position, end)
    while skipped and not skipped[1] and skipped.end() > position:  # those were MAX_PIECES
        position = skipped.end()
        skipped = pattern.match(html, position, end)
    return skipped


def _comment_end(html: bytes, start: int) -> tuple[int, int]:
    """Returns the ends of the content and of the comment at `start`; -1 if unclosed."""
    match = _COMMENT_END.search(html, start + 4)
    return match.span() if match else (-1, -1)


class Segment(NamedTuple):
    """A piece of a document at bytes `start` to `end`: text, a tag, a comment, or raw text.

    Raw text is the content of script, style, title and the like. `name` is the tag's or the
    element's, `rest` where a tag's attributes begin.
    """

    kind: Literal["text", "tag", "comment", "raw"]
    name: bytes
    start: int
    end: int
    rest: int


def segments(html: bytes) -> Iterator[Segment]:
    """Yields every piece of a document in order, up to an unclosed one; at most MAX_SEGMENTS.

    The content of conditional comments for Outlook is read as markup.
    """
    position = 0
    for _ in range(MAX_SEGMENTS):
        start = position
        if condition := _CONDITION.match(html, start):
            position = condition.end()
            yield Segment("comment", b"", start, position, position)
            continue
        match = _CONTENT.match(html, start)
        if match is None:
            return
        position = match.end()
        if match[1]:
            yield Segment("text", b"", start, position, position)
            continue
        if not match[2]:
            yield Segment("comment", b"", start, position, position)
            continue
        name = match[2].lower()
        yield Segment("tag", name, start, position, match.start(3))
        if name in RAW_END:
            raw_end = RAW_END[name].search(html, position)
            start, position = position, raw_end.start() if raw_end else len(html)
            yield Segment("raw", name, start, position, position)


_ANY_ATTRIBUTE = re.compile(
    rb"([\t\n\f\r /]*+)(" + NAME + rb")(?:" + ASSIGNMENT + rb"(" + VALUE + rb"))?+"
)


def attributes(html: bytes, tag: Segment) -> Iterator[Attribute]:
    """Yields every attribute of a tag in order."""
    for match in _ANY_ATTRIBUTE.finditer(html, tag.rest, tag.end):
        start, end = match.span(3)
        value = None
        if start < 0:
            start = end = match.end()
        else:
            if html[start : start + 1] in (b'"', b"'"):
                start, end = start + 1, end - 1
            value = html[start:end]
        yield Attribute(match[2].lower(), value, start, end, (match.start(1), match.end()))
