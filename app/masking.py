"""Masks what looks like a secret in a link's URL, and gives the templates of personal links.

Mail carries live secrets: password resets, signed downloads, one-time logins. Whoever reads
statistics must not be able to use them, so a URL is masked when its line leaves the journal. There
is no list of all secrets: parameters are known by their names, path segments by what stands before
them, and everything else by whether it reads like words or like chance. In doubt a part is masked.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_letters, digits
from typing import NamedTuple
from urllib.parse import unquote

from app.randomness import MIN_CHARS, is_random

MASK = "***"
PART = "..."
MAX_DEPTH = 4  # levels of percent-encoding, or of URLs inside URLs, that are read
MAX_PATTERNS = 50
MAX_PATTERN_CHARS = 500

_HEAD = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*+:)?[/\\]{2}(?P<user>[^/\\?#]*@)?[^/\\?#]*")
_TAIL = re.compile(r"[?#]")
_QUERY = re.compile(r"([?&;#])")
_PARAMETERS = re.compile(r"[^/\\?#=]*=")  # of a query without its question mark
_PATH = re.compile(r"([/\\;&])")
_EMAIL = re.compile(r"(?<![\w.+-])[.+-]*+\w[\w.+-]*+@\w[\w-]*+\.\w[\w.+-]*+")
_WORD = re.compile(rf"eyJ[\w-]{{6,}}+(?:\.[\w-]*+)+|[A-Za-z0-9_~-]{{{MIN_CHARS},}}+")
_BASE64 = re.compile(r"[A-Za-z0-9_-]*+[+/][A-Za-z0-9+/_-]*+")
_PIECES = re.compile(r"([/\\?&;#])")
_WITH_DIGIT = re.compile(r"%(?:25)*+[0-9A-Fa-f]{2}|(?:[A-Za-z_]*+[0-9])[A-Za-z0-9_]*+")
_PARTS = re.compile(r"\.{3}(?:[-_,:+]?\.{3})+")

_UNRESERVED = frozenset(ascii_letters + digits + "-._~")  # RFC 3986, section 2.3
_ID = re.compile(r"[0-9]{6}|[0-9][A-Za-z]|[A-Za-z][0-9]|[a-z][A-Z]+[a-z]*[A-Z]")

# Names, or parts of names between separators and capitals, whose values are secrets.
_NAME_PARTS = (
    "tok code key keys sig sign signed auth otp totp pass pwd pw pin secret sid ssid hash hmac mac"
    " checksum expires expiry exp se access grant assertion samlresponse reset magic invite confirm"
    " verify jwt ticket sess cred nonce csrf xsrf"
    # names that mailers and advertisers give to persons
    " elqtrackid mkt hsenc hsmi eid kx vero oly ck mc gclid dclid fbclid msclkid yclid"
    # other languages
    " jeton cle clave codigo contrasena passwort kennwort schlussel senha chave wachtwoord sleutel"
    " haslo klucz kod heslo losenord parola sifre salasana jelszo пароль ключ код токен 密码 令牌"
    " パスワード トークン 비밀번호"
)
_SECRETS = frozenset(_NAME_PARTS.split())
# Names whose values are secrets wherever the word stands in them.
_SECRET_NAME = re.compile(
    r"token|secret|passw|passcode|passphrase|signature|session|sessid|hmac|jwt|apikey|verif|confirm"
    r"|invit|credential|ticket|nonce|csrf|xsrf|hash(?!tag)|auth(?!or(?!iz))|(?<!p)reset|activat"
    r"|magic|cookie|bearer|onetime"
)
_ORDINARY_PARTS = (  # what makes a code or key an ordinary one
    "promo promotion discount country currency lang language locale zip postal area region sort"
    " campaign source medium product item color colour size offer category status error utm"
)
_ORDINARY = frozenset(_ORDINARY_PARTS.split())
_FLAGS = frozenset(("", MASK, "true", "false", "yes", "no", "on", "off"))


def mask_url(url: str) -> str:
    """Returns a URL in which what looks like a secret is replaced by `***`.

    Masked are user and password, the values of parameters named like secrets (`token`, `key`,
    `X-Amz-Signature`; in the query, the fragment and path parameters), path segments with digits
    after a segment such as `reset` or `verify`, and wherever they stand: email addresses, UUIDs,
    JSON Web Tokens, hexadecimal from 16 and decimal from 20 digits, and runs of 12 or more letters
    and digits that do not read like words. UUIDs are masked although some are ids of products:
    those of invitations, orders and resets look the same, and open what they name. URLs inside of
    parameters are masked within, whatever their percent-encoding. Scheme, host and port stay.

    Never raises; a URL without secrets comes back as it is, and so does a masked one.
    """
    return _mask(url, 0)


def template_url(url: str) -> str:
    """Returns the masked URL with everything that looks like an id replaced by `...`.

    Beside the secrets of `mask_url` those are runs of letters and digits with a digit in them, in
    the path, in values of the query (those of `utm_` parameters apart) and in the fragment: links
    that differ only there have one template. `/parcel/1?key=abc` gives `/parcel/...?key=...`.
    The template of a masked URL is that of the URL, a template's is the template.
    """
    return template_of(mask_url(url))


def template_of(masked: str) -> str:
    """The same of a URL that is masked already."""
    template = _without_ids(masked)
    while template != masked:
        masked, template = template, _without_ids(mask_url(template))
    return template


def _without_ids(url: str) -> str:
    head = _HEAD.match(url)
    start = head.end() if head else 0
    pieces = _PIECES.split(url[start:])
    for n in range(0, len(pieces), 2):
        name, equals, value = pieces[n].rpartition("=")
        if not name.lower().startswith("utm_"):
            value = _WITH_DIGIT.sub(lambda match: match[0] if match[0][0] == "%" else PART, value)
        pieces[n] = name.replace(MASK, PART) + equals + _PARTS.sub(PART, value.replace(MASK, PART))
    return url[:start].replace(MASK, PART) + "".join(pieces)


def _mask(text: str, depth: int) -> str:
    """`text` is a URL, a part of one from its path on, or the value of a parameter."""
    if depth > MAX_DEPTH:
        return MASK
    head = _HEAD.match(text)
    start = head.end() if head else 0
    kept = text[:start]
    if head and head["user"]:
        kept = f"{text[: head.start('user')]}{MASK}@{text[head.end('user') : start]}"
    if not head and _PARAMETERS.match(text):
        pieces = _QUERY.split(text)
        masked = [_parameter(pieces[0], depth)]
    else:
        tail = _TAIL.search(text, start)
        end = tail.start() if tail else len(text)
        masked, pieces = [_path(text[start:end], depth)], _QUERY.split(text[end:])
    for mark, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if mark in "?;" and masked[-1].endswith(f"={MASK}") and piece and "=" not in piece:
            continue  # the value itself has a question mark or semicolon
        masked += mark, _parameter(piece, depth)
    return kept + "".join(masked)


def _path(path: str, depth: int) -> str:
    if not path.strip("/"):
        return path
    pieces = _PATH.split(path)
    revealing = False  # whether what follows is likely a token
    for n in range(0, len(pieces), 2):
        piece = pieces[n]
        if not piece:
            continue
        if revealing and len(piece) > 3 and piece.isalnum() and _ID.search(piece):
            pieces[n] = MASK
            continue
        shown = pieces[n] = _parameter(piece, depth)
        revealing = revealing or (len(shown) < 40 and _is_secret(shown))
    return "".join(pieces)


def _parameter(piece: str, depth: int) -> str:
    """`name=value`, or a value alone."""
    if "=" not in piece:
        return _value(piece, depth)
    bare = piece.rstrip("=") or piece
    parts = bare.split("=")
    shown = [_value(part, depth) for part in parts]
    for n, name in enumerate(parts[:-1], 1):
        if _is_secret(name) or (shown[n - 1] != name and _is_secret(shown[n - 1])):
            value = "=".join(parts[n:])
            return "=".join([*shown[:n], value if value.lower() in _FLAGS else MASK])
    masked = "=".join(shown)
    return masked if masked.endswith(MASK) else masked + piece[len(bare) :]


def _value(text: str, depth: int) -> str:
    if "%" in text:
        plain = unquote(text, "latin-1")
        if plain != text:
            masked = _mask(plain, depth + 1)
            return text if masked == plain else _quoted(masked, text)
    if "+" in text or "/" in text:
        if text[:1] != "/" and _BASE64.fullmatch(text) and is_random(re.sub("[+/]", "-", text)):
            return MASK
        if "/" in text:
            return _mask(text, depth + 1)
    if "@" in text:
        text = _EMAIL.sub(MASK, text)
    if len(text) < MIN_CHARS:
        return text
    return _WORD.sub(_word, text)


def _quoted(text: str, original: str) -> str:
    """Percent-encoded, but for characters that `original` has as they are."""
    plain = set(original) - {"%"} | {"*"}
    return "".join(
        c if c in plain or c in _UNRESERVED or ord(c) > 255 else f"%{ord(c):02X}" for c in text
    )


def _word(match: re.Match[str]) -> str:
    return MASK if is_random(match[0]) else match[0]


@lru_cache(4096)
def _is_secret(name: str) -> bool:
    """Whether a parameter of this name, or what follows a segment of this name, is a secret."""
    for _ in range(MAX_DEPTH):
        plain = unquote(name)
        if plain == name:
            break
        name = plain
    if not name.isascii():
        name = unicodedata.normalize("NFKD", name)
        name = "".join(c for c in name if not unicodedata.combining(c))
    words = {word.lower() for word in _NAME.findall(name)}
    if words & _ORDINARY:
        return False
    return bool(words & _SECRETS or _SECRET_NAME.search(name.lower()))


_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")


class _Pattern(NamedTuple):
    """A mailer's pattern: globs of its scheme, host and path segments, and of named parameters."""

    scheme: str
    host: str
    segments: tuple[str, ...]
    rest: bool  # whether it ends with /**
    query: tuple[tuple[str, str], ...] | None


def pattern_url(url: str, patterns: Sequence[str]) -> str | None:
    """Returns the template that the first matching pattern gives a URL, None if none matches.

    A pattern is `/path`, `host/path` or `scheme://host/path`, and may have `?name=value`. `*`
    stands for one or more characters: of the host, dots included, of one path segment, or of one
    value; a last segment `**` stands for one or more segments. The whole host (without port and
    user; its case does not matter) and the whole path (but for a slash at its end) must match, and
    every parameter of the pattern must be there, in any order. A pattern without a host is for
    every host, one without a scheme for http and https.

    In the template each `*` is shown as `...`, and so are the fragment and the values of parameters
    that the pattern does not state. Takes time proportional to the length of URL and patterns.

    Raises ValueError as `check_patterns` does.
    """
    check_patterns(patterns)
    return next(filter(None, (_matched(url, _compile(pattern)) for pattern in patterns)), None)


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
        raise ValueError("must be printable, without spaces and fragment")
    before, mark, query = pattern.partition("?")
    scheme, colon, rest = before.partition("://")
    if not colon:
        scheme, rest = "", before
    elif scheme.lower() not in ("http", "https"):
        raise ValueError("must begin with http://, https://, a host or a slash")
    host, slash, path = rest.partition("/")
    if not (host or (slash and not colon)):
        raise ValueError("must have a host or begin with a slash")
    segments = path.rstrip("/").split("/")
    below = segments[-1] == "**"
    if any("**" in segment for segment in segments[: -1 if below else None]):
        raise ValueError("must have ** as its last segment only")
    named = tuple(piece.partition("=")[::2] for piece in query.split("&")) if mark else None
    return _Pattern(
        scheme.lower(),
        host.lower(),
        tuple(segments[:-1] if below else segments),
        below,
        named,
    )


def _matched(url: str, pattern: _Pattern) -> str | None:
    head = _HEAD.match(url)
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
    wanted = pattern.segments
    if len(segments) <= len(wanted) if pattern.rest else len(segments) != len(wanted):
        return None
    if not all(_glob(glob, segment) for glob, segment in zip(wanted, segments, strict=False)):
        return None
    shown = _query(query, pattern.query)
    if shown is None:
        return None
    template = "/".join([*wanted, "*"] if pattern.rest else wanted).replace("*", PART)
    shown_host = pattern.host.replace("*", PART) or authority
    return f"{scheme.lower()}//{shown_host}/{template}" + (
        mark + shown + (f"#{PART}" if hash_mark else "")
    )


def _query(query: str, stated: tuple[tuple[str, str], ...] | None) -> str | None:
    """The query as the template shows it, or None where a stated parameter does not match."""
    globs = dict(stated or ())
    shown = []
    for piece in query.split("&") if query else ():
        name, equals, value = piece.partition("=")
        glob = globs.get(name)
        if glob is not None and _glob(glob, value):
            del globs[name]
            shown.append(f"{name}{equals}{glob.replace('*', PART)}")
        else:
            shown.append(f"{name}{equals}{PART if value else ''}" if equals else PART)
    return None if globs else "&".join(shown)


def _glob(pattern: str, text: str) -> bool:
    """Whether `*`, one or more characters, makes the pattern the text; found from left to right."""
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
