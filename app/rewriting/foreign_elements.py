"""Reads SVG and MathML inside HTML, where tags have other rules (HTML standard, 13.2.6.5).

There, <title>, <style> and <script> are ordinary elements, CDATA is text and /> ends an element;
some elements have HTML inside again, and tags of HTML end it all.
"""

import re
from collections.abc import Generator

from msgspec.structs import replace

from app.rewriting.html_syntax import (
    MAX_STEPS,
    NAME_ENDS,
    RAW_END,
    TOKEN,
    RewriteError,
    Tag,
    closes_itself,
)

MAX_DEPTH = 100  # of distinguished elements
MAX_AROUND = 20_000  # bytes before <svg> in which its ancestors are searched
MAX_LOOKS = 50  # for such elements in one document

# In an element of SVG or MathML, and in one of HTML inside it.
_FOREIGN = re.compile(
    rb"[^<]*+(?:\Z|<!\[CDATA\[(?:[^\]]++|\](?!\]>))*+(?:\]\]>|\Z)|" + TOKEN + rb")"
)
_INSIDE = re.compile(rb"[^<]*+(?:\Z|" + TOKEN + rb")")
# Elements with HTML inside; `annotation-xml` has only <svg>.
_INTEGRATION = frozenset(
    [(b"svg", name) for name in (b"foreignobject", b"desc", b"title")]
    + [(b"math", name) for name in (b"mi", b"mo", b"mn", b"ms", b"mtext")]
)
_VOID = (
    b"area",
    b"base",
    b"br",
    b"col",
    b"embed",
    b"hr",
    b"img",
    b"input",
    b"link",
    b"meta",
    b"source",
    b"track",
    b"wbr",
)
_BREAKOUT = re.compile(
    rb"b|big|blockquote|body|br|center|code|d[dlt]|div|em|embed|h[1-6]|head|hr|i|img|li|listing"
    rb"|menu|meta|nobr|ol|p|pre|ruby|s|small|span|strong|strike|su[bp]|table|tt|ul?|var|/p|/br"
)
_BREAKOUT_FONT = re.compile(rb"[\t\n\f\r /\"'](?i:color|face|size)[\t\n\f\r />=]")


class Foreign:
    """Reads the SVG and MathML of one document."""

    def __init__(self, html: bytes) -> None:
        self._html = html
        self._looks = 0

    def links(self, root: Tag, end: int) -> Generator[Tag, None, int]:
        """Yields the links inside <svg> or <math>, and </body>; returns where HTML continues."""
        html = self._html
        stack = [(root.name, root.name)]  # of each open element: its language and name
        position = root.end
        for _ in range(MAX_STEPS):
            language = stack[-1][0]
            foreign = language != b"html" and stack[-1] not in _INTEGRATION
            pattern = _INSIDE if language == b"html" else _FOREIGN
            match = pattern.match(html, position, end)
            if match is None:  # it never closes, as the reader of the document will find
                return position
            position = match.end()
            if match[1]:
                name, start = match[1].lower(), match.start(1) - 1
                tag = Tag(name, start, position, match.start(2), False, foreign)
                if foreign and _breaks_out(html, tag):
                    while stack and stack[-1][0] != b"html" and stack[-1] not in _INTEGRATION:
                        stack.pop()
                    if not stack:
                        return start
                    tag = replace(tag, foreign=False)
                if name in (b"a", b"area", b"base", b"/body") or name[:2] == b"v:":
                    yield tag
                if name[:1] == b"/":
                    if not _close(stack, name[1:]) and self._is_open(name[1:], root.start):
                        return start
                elif not tag.foreign and name in RAW_END:
                    raw_end = RAW_END[name].search(html, position, end)
                    position = raw_end.start() if raw_end else end
                elif len(stack) < MAX_DEPTH:
                    _open(html, stack, tag)
            if not stack or position >= end:
                return position
        raise RewriteError(f"more than {MAX_STEPS:,} tags in <{root.name.decode()}>")

    def _is_open(self, name: bytes, start: int) -> bool:
        """Returns whether an element of HTML is open where SVG or MathML starts."""
        self._looks += 1
        if self._looks > MAX_LOOKS or name in (b"body", b"html", b"foreignobject"):
            return False
        tags = re.compile(rb"<(/?)" + re.escape(name) + NAME_ENDS, re.IGNORECASE)
        closed = [bool(tag) for tag in tags.findall(self._html, max(0, start - MAX_AROUND), start)]
        return closed.count(False) > closed.count(True)


def _open(html: bytes, stack: list[tuple[bytes, bytes]], tag: Tag) -> None:
    """Apply a start tag to the stack of open elements."""
    language = stack[-1][0] if tag.foreign else b"html"
    starts = tag.name in (b"svg", b"math") and not tag.foreign
    if starts or (tag.name == b"svg" and stack[-1] == (b"math", b"annotation-xml")):
        language = tag.name
    if not (tag.name in _VOID if language == b"html" else closes_itself(html, tag)):
        stack.append((language, tag.name))


def _close(stack: list[tuple[bytes, bytes]], name: bytes) -> bool:
    """Close an element of the stack by its end tag; returns whether there is one.

    An end tag of HTML closes nothing of SVG or MathML around it.
    """
    html = stack[-1][0] == b"html"
    for at in range(len(stack) - 1, -1, -1):
        if html and stack[at][0] != b"html":
            return True
        if stack[at][1] == name:
            del stack[at:]
            return True
    return False


def _breaks_out(html: bytes, tag: Tag) -> bool:
    """Returns whether an HTML tag inside SVG or MathML ends it."""
    if tag.name == b"font":
        return bool(_BREAKOUT_FONT.search(html, tag.rest, tag.end))
    return bool(_BREAKOUT.fullmatch(tag.name))
