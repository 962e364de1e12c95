"""Checks the bytes of a message for SMTP: the gateway accepts and sends no others.

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
    """How many bytes of some data are a bare CR, a bare LF, or NUL."""

    cr: int
    lf: int
    nul: int


def faults(data: bytes) -> Faults:
    """Returns what SMTP must not carry."""
    pairs = data.count(b"\r\n")
    return Faults(data.count(b"\r") - pairs, data.count(b"\n") - pairs, data.count(b"\0"))


def has_long_line(data: bytes, limit: int = LINE_LIMIT) -> bool:
    """Returns whether a line is longer than `limit` bytes without its end, CR LF or LF."""
    position = 0
    while len(data) - position > limit:
        # From one line end to the last one in reach: lines between need not be looked at.
        end = data.rfind(b"\n", position, position + limit + 1)
        if end < 0:
            end = position + limit + 1
            if data[end - 1 : end + 1] != b"\r\n":
                return True
        position = end + 1
    return False


def line_lengths(data: bytes) -> list[int]:
    """Returns the bytes of each line, without its end."""
    *lines, last = data.split(b"\n")
    return [*(len(line.removesuffix(b"\r")) for line in lines), len(last)]


def refusal(data: bytes) -> str:
    """Returns why SMTP must not carry `data`, with code and enhanced code; empty where it may."""
    pairs = data.count(b"\r\n")  # counting is far quicker than searching
    sound = pairs == data.count(b"\n") == data.count(b"\r") and b"\0" not in data
    if not sound and (bare := _BARE.search(data)):
        return f"554 5.6.0 {_NAMES[bare[0]]} at byte {bare.start()}: lines end with CR LF"
    if has_long_line(data, LONGEST_LINE):
        return f"500 5.5.2 a line is longer than {LONGEST_LINE} bytes"
    return ""
