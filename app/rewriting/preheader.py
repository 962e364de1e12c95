"""Where the top of a mail is: behind the preheader, the hidden text that inboxes show as a preview.

A pixel there is loaded although Gmail clips the mail's end, and the preview stays the preheader's.
"""

import re
from codecs import BOM_UTF8

from app.rewriting import html_scanner
from app.rewriting.html_scanner import Segment

MAX_LOOK = 20_000  # bytes of <body>'s content in which preheaders are looked for

_HIDDEN = re.compile(
    rb"display\s*+:\s*+none|max-height\s*+:\s*+0|mso-hide\s*+:\s*+all|visibility\s*+:\s*+hidden"
    rb"|opacity\s*+:\s*+0(?![.\d])|font-size\s*+:\s*+[01]px",
    re.IGNORECASE,
)
_NAMED = re.compile(rb"pre-?header|preview", re.IGNORECASE)  # class or id; hidden by a style sheet
_HEAD = (
    b"html",
    b"head",
    b"/head",
    b"meta",
    b"title",
    b"/title",
    b"style",
    b"/style",
    b"link",
    b"base",
    b"script",
    b"/script",
)
_BLANK = re.compile(rb"(?:[\s\xa0]|\xc2\xa0|\xef\xbb\xbf|&nbsp;)*+")


def end(html: bytes) -> int:
    """Returns the byte after <body> and the hidden elements that it begins with.

    Without <body> that is the byte after the head, or the first one.
    """
    place = len(BOM_UTF8) if html.startswith(BOM_UTF8) else 0
    body = depth = 0
    hidden = b""
    outlook = False
    for segment in html_scanner.segments(html):
        name = segment.name
        if body and segment.start > body + MAX_LOOK:
            break
        if hidden:
            depth += (name == hidden) - (name == b"/" + hidden) if segment.kind == "tag" else 0
            if not depth:
                hidden, place = b"", segment.end
        elif segment.kind == "comment":
            conditional = html.startswith((b"<!--[", b"<!-- ["), segment.start)
            if conditional and body:
                break
            text = html[segment.start : segment.end]
            # "<!-->" and "-->" end the part of a condition that only Outlook reads.
            outlook = conditional or (outlook and text != b"<!-->" and b"[endif]" not in text)
            place = place if outlook or body else segment.end
        elif outlook and b"-->" in html[segment.start : segment.end]:
            outlook, place = False, place if body else segment.end
        elif outlook or (not body and segment.kind == "raw"):
            continue
        elif segment.kind == "text":
            if not _BLANK.fullmatch(html, segment.start, segment.end):
                break
        elif name == b"body":
            place = body = segment.end
        elif not body and name in _HEAD:
            place = segment.end
        elif _is_hidden(html, segment):
            hidden, depth = name, 1
        else:
            break
    return place


def _is_hidden(html: bytes, tag: Segment) -> bool:
    if tag.name not in (b"div", b"span", b"p", b"font", b"center"):
        return False
    for attribute in html_scanner.attributes(html, tag):
        value = attribute.value or b""
        if attribute.name == b"hidden":
            return True
        if attribute.name == b"style" and _HIDDEN.search(value):
            return True
        if attribute.name in (b"class", b"id") and _NAMED.search(value):
            return True
    return False
