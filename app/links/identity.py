"""Identifies a link by its `data-track-name`, else by its URL without UTM fields.

A link's place in a mail does not identify it, since mails of one newsletter differ. Its key is a
64-bit hash of the name, or of the URL without UTM fields and with secrets masked: two recipients'
links that differ only in a secret are one link. Links whose URLs differ only in parts that vary
with the recipient share a family, the key of their common template (`masking.template_url`).
"""

import re
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import urlsplit

from app.links import masking, url_patterns
from app.rewriting import urls

WHOLE = 1  # flag: the link's key is the family's, which does not follow from the URL
FULL_URL = 2  # flag: the newsletter keeps URLs as they are, secrets included
MAX_REMEMBERED = 8192  # URLs
masked = lru_cache(MAX_REMEMBERED)(masking.mask_url)
_ID = re.compile(r"[0-9a-f]{16}")


class Identity(NamedTuple):
    """A link's identity. `link` and `family` are 64-bit keys, equal if a link has no family.

    `url` is the link's URL as it is stored and shown, `template` that of its family. `flags` go
    into the link's token, so that a click is counted without looking anything up.
    """

    link: int
    family: int
    url: str
    template: str
    flags: int = 0


@lru_cache(MAX_REMEMBERED)
def identify(
    target: str, name: str = "", patterns: tuple[str, ...] = (), full: bool = False
) -> Identity:
    """Returns the identity of a link to `target` (an absolute URL, with or without UTM fields).

    `name` is its data-track-name. `patterns` are the mailer's own for families: the first one that
    matches decides (`url_patterns.pattern_url`). `full` keeps the URL unmasked.
    """
    flags = FULL_URL if full else 0
    url = without_utm(target)
    shown, template = (
        (url, masking.template_url) if full else (masking.mask_url(url), masking.template_of)
    )
    if name:
        key = _key("name", name)
        return Identity(key, key, shown, template(shown), flags | WHOLE)
    if patterns and (stated := url_patterns.pattern_url(url, patterns)):
        return family(stated, flags)
    of = template(shown)
    key = _key("url", shown)
    if of == shown:
        return Identity(key, key, shown, shown, flags)
    return Identity(key, _key("url", of), shown, of, flags)


def identify_shown(url: str) -> Identity:
    """Returns the identity of a link by the URL that version 0.1 recorded: as clients show it."""
    with suppress(ValueError):
        url = urls.split_url(url).target({})
    return identify(url)


def family(template: str, flags: int = 0) -> Identity:
    """Returns the common identity of all links with one template, which are counted as one."""
    key = _key("url", template)
    return Identity(key, key, template, template, flags | WHOLE)


def host_family(target: str, flags: int = 0) -> Identity:
    """Returns the common identity of all links to one host.

    It is for newsletters with more links than are counted one by one.
    """
    url = urlsplit(target)
    return family(f"{url.scheme}://{url.netloc.rpartition('@')[2]}/...", flags & FULL_URL)


@lru_cache(MAX_REMEMBERED)
def detail(label: str, tags: tuple[str, ...]) -> int:
    """Returns the 32-bit key of a link's label and topics in one mail; never 0, for unknown."""
    return _hash("detail", "\0".join((label, *tags)), 4) or 1


def without_utm(url: str) -> str:
    """Returns the URL without the query's utm_ fields; every other character stays."""
    if "utm_" not in url.lower():
        return url
    rest, hash_, fragment = url.partition("#")
    before, mark, query = rest.partition("?")
    fields = [part for part in query.split("&") if not part.lower().startswith("utm_")]
    return before + (mark + "&".join(fields) if fields else "") + hash_ + fragment


def shown_id(key: int) -> str:
    """Returns a key as pages, events and the API write it: 16 hexadecimal digits."""
    return f"{key:016x}"


def read_id(text: str) -> int | None:
    """Returns the key of a text from `shown_id`; None for any other text."""
    return int(text, 16) if _ID.fullmatch(text) else None


def _key(kind: str, text: str) -> int:
    """Returns a key that is never 0: 0 means no key."""
    return _hash("link", f"{kind}\0{text}", 8) or 1


def _hash(purpose: str, text: str, size: int) -> int:
    name = text.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=size, person=purpose.encode()).digest(), "big")
