"""The syntax of HTML's tags and comments, as patterns for bytes.

HTML standard, section 13.2.5. Every pattern is possessive, so that time is linear.
"""

import re
from collections.abc import Iterable

from msgspec import Struct

MAX_STEPS = 100_000  # tags of links, </body>, raw text elements and conditional comments

# The standard's white space; \s would add a vertical tab.
SPACES = rb"[\t\n\f\r ]*+"
NAME = rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
VALUE = rb"(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+|(?=>))"
ASSIGNMENT = SPACES + rb"=" + SPACES
NAME_ENDS = rb"(?=[\t\n\f\r />])"
# Where `=` follows a name so must a value: an unclosed quote fails the tag instead of ending it.
REST = (
    rb"(?:[\t\n\f\r /]*+"
    + NAME
    + rb"(?:"
    + ASSIGNMENT
    + VALUE
    + rb"|(?!"
    + SPACES
    + rb"=)))*+[\t\n\f\r /]*+>"
)
# The same, with the most frequent parts tried first.
# A typical attribute. `re` tests a set of allowed characters faster than a negated one.
QUOTED = rb"[a-zA-Z_:-]++=\"[^\"]*+\""
QUICK_REST = rb"(?>>|(?:[\t\n\f\r ]++" + QUOTED + rb")*+[\t\n\f\r /]*+>|" + REST + rb")"
TAG_NAME = rb"/?+[a-zA-Z][^\t\n\f\r />]*+"
COMMENT = rb"<!--(?:-?+>|(?:[^-]++|-(?!-!?+>))*+--!?+>)"
BOGUS = rb"<(?:\?|!(?!--)|/(?![a-zA-Z]))[^>]*+>"


def any_of(names: Iterable[bytes]) -> bytes:
    """Returns a pattern for names in any case, by their first characters: `re` skips others."""
    by_first: dict[bytes, list[bytes]] = {}
    for name in names:
        by_first.setdefault(name[:1].lower(), []).append(re.escape(name[1:]))
    return rb"|".join(
        (rb"[%b%b]" % (first, first.upper()) if first.isalpha() else re.escape(first))
        + rb"(?i:"
        + rb"|".join(rests)
        + rb")"
        for first, rests in by_first.items()
    )


def attribute(names: Iterable[bytes]) -> bytes:
    """Returns a pattern for the names of some attributes."""
    return rb"(?:" + any_of(names) + rb")(?=[\t\n\f\r />=])"


def others(names: Iterable[bytes], never: bytes = rb"(?!)") -> bytes:
    """Returns a pattern for attributes in double quotes, as most are, with none of `names`.

    The pattern `never` fits none of them either.
    """
    return rb"(?:[\t\n\f\r ]++(?!" + attribute(names) + rb"|" + never + rb")" + QUOTED + rb")*+"


RAW = (b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes")
RAW_END = {name: re.compile(rb"</(?i:" + name + rb")" + NAME_ENDS) for name in RAW}
RAW_END[b"plaintext"] = re.compile(rb"(?!)")  # nothing ends it
TOKEN = COMMENT + rb"|" + BOGUS + rb"|<(?![a-zA-Z/!?])|<(" + TAG_NAME + rb")(" + QUICK_REST + rb")"

_UNQUOTED = re.compile(rb"=[\t\n\f\r ]*+[^\t\n\f\r >\"']++\Z")


class RewriteError(ValueError):
    """A mail beyond the limits of the rewriter; the text names the limit."""


class Tag(Struct, frozen=True, gc=False):
    """A tag at bytes `start` to `end`; `name` is in lower case, an end tag's starts with `/`.

    `mso` says that it is inside a conditional comment, for Outlook only, `foreign` that it is
    part of SVG or MathML. `rest` is where the attributes begin.
    """

    name: bytes
    start: int
    end: int
    rest: int
    mso: bool
    foreign: bool = False


def closes_itself(html: bytes, tag: Tag) -> bool:
    """Returns whether /> ends the tag; in `<a href=x/>` the slash is part of the value."""
    if html[tag.end - 2 : tag.end] != b"/>":
        return False
    return not _UNQUOTED.search(html, max(tag.rest, tag.end - 2_000), tag.end - 1)
