"""What a message may be made of on its way by SMTP: the gateway takes and sends nothing else.

Servers that read a bare line feed as the end of a line find the end of a mail where others do not,
and take what follows for a second mail with a sender of its own (RFC 5321, section 2.3.8).
"""

import re
from typing import NamedTuple

LINE_LIMIT = 998  # bytes of a line without its end (RFC 5322, section 2.1.1)
# Bytes; many mailers write longer lines than LINE_LIMIT, and most servers take them.
LONGEST_LINE = 100_000
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_NAMES = {b"\r": "a bare CR", b"\n": "a bare LF", b"\0": "NUL"}


class Faults(NamedTuple):
    """How many bytes of some data are a bare CR, a bare LF or NUL, and its longest line."""

    cr: int
    lf: int
    nul: int
    longest: int


def faults(data: bytes) -> Faults:
    """Counts; `longest` is in bytes, without the line's end."""
    pairs = data.count(b"\r\n")
    return Faults(
        data.count(b"\r") - pairs, data.count(b"\n") - pairs, data.count(b"\0"), longest(data)
    )


def longest(data: bytes) -> int:
    """Returns the length of the longest line in bytes, without its end."""
    return max(map(len, data.splitlines()), default=0)


def refusal(data: bytes) -> str:
    """Returns why SMTP must not carry `data`, with code and enhanced code; empty where it may."""
    pairs = data.count(b"\r\n")  # counting is far quicker than searching
    sound = pairs == data.count(b"\n") == data.count(b"\r") and b"\0" not in data
    if not sound and (bare := _BARE.search(data)):
        return f"554 5.6.0 {_NAMES[bare[0]]} at byte {bare.start()}: lines end with CR LF"
    if len(data) > LONGEST_LINE and longest(data) > LONGEST_LINE:
        return f"500 5.5.2 a line is longer than {LONGEST_LINE} bytes"
    return ""
