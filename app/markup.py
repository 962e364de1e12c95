"""Reads HTML as bytes, as far as links in mail need it: the tags that matter, with attributes.

Follows the tokenizer of the HTML standard (html.spec.whatwg.org, section 13.2.5) in any charset
whose `<`, `>`, quotes, `=`, `/` and white space are ASCII's and stand for nothing else. What stands
in Outlook's conditional comments is read as markup too. Time is linear: every pattern is
possessive, and what never closes is looked for once.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

# The standard's white space; \s would add a vertical tab.
_SPACES = rb"[\t\n\f\r ]*+"
_NAME = rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
_VALUE = rb"(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+|(?=>))"
_ASSIGNMENT = _SPACES + rb"=" + _SPACES
# Where `=` follows a name so must a value: an unclosed quote fails the tag instead of ending it.
_REST = (
    rb"(?:[\t\n\f\r /]*+" + _NAME
    + rb"(?:" + _ASSIGNMENT + _VALUE + rb"|(?!" + _SPACES + rb"=)))*+[\t\n\f\r /]*+>"
)  # fmt: skip
_RAW = (b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes")
_WANTED = (
    rb"(?i:a|area|base|v:[^\t\n\f\r />]*+|/a|/body|" + b"|".join(_RAW) + rb")(?=[\t\n\f\r />])"
)

# Everything up to the next thing worth a look, in one go.
_SKIP = re.compile(
    rb"(?:[^<]++|<(?![a-zA-Z/!?])|<(?!" + _WANTED
    + rb")/?+[a-zA-Z][^\t\n\f\r />]*+" + _REST + rb")*+"
)  # fmt: skip
_TAG = re.compile(rb"<(/?+[a-zA-Z][^\t\n\f\r />]*+)(" + _REST + rb")")
_ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*+(" + _NAME + rb")(?:" + _ASSIGNMENT + rb"(" + _VALUE + rb"))?+"
)
_COMMENT_END = re.compile(rb"--!?>")
_CONDITION = re.compile(rb"<!--" + _SPACES + rb"\[(?i:if)[^\]>]*+\]?+>")
_BOGUS = re.compile(rb"<[!?/][^>]*+>")
_RAW_END = {name: re.compile(rb"</(?i:" + name + rb")(?=[\t\n\f\r />])") for name in _RAW}


class Attribute(NamedTuple):
    """`value` is what stands between the quotes, at bytes `start` to `end`; None without a `=`.

    `outer` is where the whole attribute stands, with the white space before it.
    """

    name: bytes
    value: bytes | None
    start: int
    end: int
    outer: tuple[int, int]


class Tag(NamedTuple):
    """A tag at bytes `start` to `end`; `name` is in lower case, an end tag's starts with `/`.

    `mso` says that it stands inside a conditional comment, for Outlook alone. `rest` is where the
    attributes begin.
    """

    name: bytes
    start: int
    end: int
    rest: int
    mso: bool

    def attributes(self, html: bytes) -> dict[bytes, Attribute]:
        """By name in lower case; of duplicates the first counts."""
        found: dict[bytes, Attribute] = {}
        for match in _ATTRIBUTE.finditer(html, self.rest, self.end - 1):
            name = match[1].lower()
            start, end = match.span(2)
            if start >= 0 and html[start : start + 1] in (b'"', b"'"):
                start, end = start + 1, end - 1
            value = html[start:end] if start >= 0 else None
            found.setdefault(name, Attribute(name, value, start, end, match.span()))
        return found


class Unclosed(NamedTuple):
    """From byte `start` on, clients show nothing: `what` never closes."""

    what: str
    start: int


def read(html: bytes) -> Iterator[Tag | Unclosed]:
    """The tags a, area, base, v:*, </a>, </body> in order, then what never closes, if anything."""
    position, size = 0, len(html)
    end, mso = size, False  # of the region at hand: the document or a conditional comment
    opened = -1  # where a conditional comment began that never closes
    while True:
        skipped = _SKIP.match(html, position, end)
        position = skipped.end() if skipped else end
        if position >= end:
            if not mso:
                return
            if opened >= 0:
                yield Unclosed("comment", opened)
                return
            position, end, mso = end, size, False
            continue
        start, what = position, "tag"
        if html.startswith(b"<!--", start):
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
        elif match := _TAG.match(html, start, end):
            tag = Tag(match[1].lower(), start, match.end(), match.start(2), mso)
            position = tag.end
            if tag.name in _RAW_END:
                raw_end = _RAW_END[tag.name].search(html, position, end)
                what = f"<{tag.name.decode()}>"
                position = raw_end.start() if raw_end else -1
            else:
                yield tag
        else:
            bogus = None if _opens_tag(html, start) else _BOGUS.match(html, start, end)
            position = bogus.end() if bogus else -1
        if position < 0:
            if not mso:
                yield Unclosed(what, start)
                return
            position = end


def _opens_tag(html: bytes, start: int) -> bool:
    """Whether a letter follows `<` or `</`: then it is a tag, if one that never closes."""
    return html[start + 1 : start + 3].lstrip(b"/")[:1].isalpha()


def _comment_end(html: bytes, start: int) -> tuple[int, int]:
    """Where the content of the comment at `start` ends and where the comment does; -1 if never."""
    for empty in (b"<!-->", b"<!--->"):
        if html.startswith(empty, start):
            return start + 4, start + len(empty)
    match = _COMMENT_END.search(html, start + 4)
    return match.span() if match else (-1, -1)
