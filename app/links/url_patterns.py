"""Matches URLs with a mailer's patterns of personal links: globs, in linear time."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from app.links.masking import HEAD, PART, mask_url

MAX_PATTERNS = 50
MAX_PATTERN_CHARS = 500


class _Pattern(NamedTuple):
    """A mailer's pattern: a scheme, and globs of host, path segments and named parameters."""

    scheme: str
    host: str
    segments: tuple[str, ...]
    rest: bool  # whether it ends with /**
    query: tuple[tuple[str, str], ...] | None


def pattern_url(url: str, patterns: Sequence[str]) -> str | None:
    """Returns a URL's template by the first pattern that matches; None if none does.

    A pattern is `/path`, `host/path` or `scheme://host/path`, and may have `?name=value`. `*`
    matches one or more characters: of the host, dots included, of one path segment, or of one
    value. A last path segment `**` matches one or more segments. The whole host (without port and
    user; its case does not matter) and the whole path (except for a slash at its end) must match,
    and every parameter of the pattern must be present, in any order. A pattern without a host
    matches every host, one without a scheme matches http and https.

    The template shows each `*` as `...`, and likewise the fragment and the values of parameters
    that the pattern does not name. Takes time proportional to the length of URL and patterns.

    Raises ValueError as `check_patterns` does.
    """
    check_patterns(patterns)
    return next(filter(None, (_template_of(url, _compile(pattern)) for pattern in patterns)), None)


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises ValueError naming the pattern that is wrong.

    There are at most 50, each of 1 to 500 printable characters without spaces, with a host or path.
    """
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"patterns: at most {MAX_PATTERNS}")
    for n, pattern in enumerate(patterns):
        try:
            _compile(pattern)
        except ValueError as error:
            raise ValueError(f"patterns[{n}]: {error}") from None


@lru_cache(1024)
def _compile(pattern: str) -> _Pattern:
    """Raises ValueError."""
    if not 1 <= len(pattern) <= MAX_PATTERN_CHARS:
        raise ValueError(f"must have 1 to {MAX_PATTERN_CHARS} characters")
    if not pattern.isprintable() or " " in pattern or "#" in pattern:
        raise ValueError("must be printable, without spaces or a fragment")
    before, mark, query = pattern.partition("?")
    scheme, colon, rest = before.partition("://")
    if not colon:
        scheme, rest = "", before
    elif scheme.lower() not in ("http", "https"):
        raise ValueError("must start with http://, https://, a host or a slash")
    host, slash, path = rest.partition("/")
    if not (host or (slash and not colon)):
        raise ValueError("must have a host or start with a slash")
    segments = path.rstrip("/").split("/")
    below = segments[-1] == "**"
    if any("**" in segment for segment in segments[: -1 if below else None]):
        raise ValueError("must have ** only as the last segment")
    named = tuple(piece.partition("=")[::2] for piece in query.split("&")) if mark else None
    return _Pattern(
        scheme.lower(),
        host.lower(),
        tuple(segments[:-1] if below else segments),
        below,
        named,
    )


def _template_of(url: str, pattern: _Pattern) -> str | None:
    head = HEAD.match(url)
    if not head:
        return None
    scheme, _, authority = head[0].partition("//")
    authority = authority.rpartition("@")[2].lower()
    host = re.sub(r":\d*$", "", authority)
    if pattern.scheme and f"{pattern.scheme}:" != scheme.lower():
        return None
    if pattern.host and not _glob(pattern.host, host) and not _glob(pattern.host, authority):
        return None
    before, hash_mark, _ = url[head.end() :].partition("#")
    path, mark, query = before.partition("?")
    segments = path.replace("\\", "/").lstrip("/").rstrip("/").split("/")
    globs = pattern.segments
    if len(segments) <= len(globs) if pattern.rest else len(segments) != len(globs):
        return None
    if not all(_glob(glob, segment) for glob, segment in zip(globs, segments, strict=False)):
        return None
    shown = _template_query(query, pattern.query)
    if shown is None:
        return None
    template = "/".join([*globs, "*"] if pattern.rest else globs).replace("*", PART)
    shown_host = pattern.host.replace("*", PART) or authority
    return f"{scheme.lower()}//{shown_host}/{template}" + (
        mark + shown + (f"#{PART}" if hash_mark else "")
    )


def _template_query(query: str, stated: tuple[tuple[str, str], ...] | None) -> str | None:
    """Returns the query as the template shows it; None if a stated parameter does not match."""
    globs = dict(stated or ())
    shown = []
    for piece in query.split("&") if query else ():
        name, equals, value = piece.partition("=")
        glob = globs.get(name)
        if glob is not None and _glob(glob, value):
            del globs[name]
            shown.append(f"{name}{equals}{glob.replace('*', PART)}")
        else:
            name = mask_url(f"?{name}")[1:]
            shown.append(f"{name}{equals}{PART if value else ''}" if equals else PART)
    return None if globs else "&".join(shown)


def _glob(pattern: str, text: str) -> bool:
    """Returns whether a pattern matches a text, `*` being one or more characters.

    Searches from left to right.
    """
    if "%" in text or "%" in pattern:
        pattern, text = unquote(pattern), unquote(text)
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    *middle, last = others
    at, end = len(first), len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last):
        return False
    for literal in middle:
        at = text.find(literal, at + 1, end)
        if at < 0:
            return False
        at += len(literal)
    return at < end
