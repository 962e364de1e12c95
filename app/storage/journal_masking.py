"""Masks secrets in lines of the journal that are stored or copied before they are loaded."""

import re

from msgspec.structs import replace

from app.links import identity
from app.model.records import Hit, PlacedLink, RecordError, decode, encode

_URL = re.compile(rb"https?:[^\s\"<>\x00-\x1f]+", re.IGNORECASE)


def masked(lines: bytes) -> bytes:
    """Returns whole lines with the secrets in URLs masked, as `identity` does at loading.

    They load as the original lines do. In lines that are not records, every URL is masked.
    """
    if b"http" not in lines.lower():
        return lines
    return b"".join(map(_line, lines.splitlines(keepends=True)))


def _line(line: bytes) -> bytes:
    try:
        record = decode(line)
    except RecordError:
        return _URL.sub(_url, line)
    if isinstance(record, Hit) and record.flags & identity.FULL_URL:
        return line
    if isinstance(record, Hit | PlacedLink) and (url := identity.masked(record.url)) != record.url:
        return encode(replace(record, url=url))
    return line


def _url(match: re.Match[bytes]) -> bytes:
    return identity.masked(match[0].decode("latin-1")).encode("latin-1", "replace")
