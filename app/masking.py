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
from typing import NamedTuple
from urllib.parse import unquote

MASK = "***"
PART = "..."
MAX_DEPTH = 4  # levels of percent-encoding, or of URLs inside URLs, that are read
MAX_PATTERNS = 50
MAX_PATTERN_CHARS = 500
MIN_RANDOM_CHARS = 12  # video and product ids are shorter

_HEAD = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*+:)?[/\\]{2}(?P<user>[^/\\?#]*@)?[^/\\?#]*")
_TAIL = re.compile(r"[?#]")
_QUERY = re.compile(r"([?&;#])")
_PARAMETERS = re.compile(r"[^/\\?#=]*=")  # of a query without its question mark
_PATH = re.compile(r"([/\\;&])")
_EMAIL = re.compile(r"(?<![\w.+-])[.+-]*+\w[\w.+-]*+@\w[\w-]*+\.[\w.+-]*+")
_WORD = re.compile(rf"eyJ[\w-]{{6,}}+(?:\.[\w-]*+)+|[A-Za-z0-9_~-]{{{MIN_RANDOM_CHARS},}}+")
_BASE64 = re.compile(r"[A-Za-z0-9_-]*+[+/][A-Za-z0-9+/_-]*+")
_ENCODED = re.compile(r"%(?:25)*+[0-9A-Fa-f]{2}|(?:[A-Za-z_]*+[0-9])[A-Za-z0-9_]*+")
_PARTS = re.compile(r"\.{3}(?:[-_,:+]?\.{3})+")

# What reads like words: each run of letters or digits is a word, a Word or a number.
_READABLE = re.compile(
    r"(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,4}|[0-9]{1,19})(?:[_~-]+(?:[A-Z]?[a-z]{1,15}|[0-9]{1,19}))*+[_~-]*"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_HEX = re.compile(r"[0-9a-f]{16,}|[0-9A-F]{16,}")
_CHUNK = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_CAMEL = re.compile(r"(?<=[a-z]{3})(?=[A-Z][a-z]{2})")
_NO_SEPARATORS = {ord(c): None for c in "-_~"}
_NUMBER = re.compile(r"[0-9]{20,}")
_ID = re.compile(r"[0-9]{6}|[0-9][A-Za-z]|[A-Za-z][0-9]|[a-z][A-Z]+[a-z]*[A-Z]")

# How surprising a letter is after another in words of 26 languages that are written in Latin
# letters, in bits more than in random text: a row is the first letter, a column the second, 0 is
# -2 bits and 6 is 4 or more. Computed from the 20,000 commonest words of each.
_SURPRISE = (
    "33226423242120536011235634 03660666046164166134166636 06360660052366066252266654 "
    "05640656056453056234145634 34223434243120536001435454 06660156066265066142166646 "
    "05640622053252156133166636 06650666055343066251145646 14121424432120136211436553 "
    "06640666163553066635066666 06560664153253066221146636 05530545044144156632246636 "
    "02660666066524116634166646 06210404143562166610346634 42324434333110326012223654 "
    "06660663166165026033266656 56666666666666666666066666 04320535053333156321246634 "
    "16260663052334126510245644 06660662065454166122155635 23221434242110326011445544 "
    "06650666066463066345356645 06550662066562166425466626 05160564066666206660246436 "
    "03231534242222136212344655 04430645054332156453234623"
)
_ROWS = _SURPRISE.split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _bits(first: str, second: str) -> int:
    """How much more likely a pair is in random text than in readable text, in bits."""
    if first in "-_~" or second in "-_~":
        return -1
    if first.isdigit() or second.isdigit():
        return -2 if first.isdigit() and second.isdigit() else 3
    if first.islower() and second.isupper():
        return 4
    return int(_ROWS[_LETTERS.index(first.lower())][_LETTERS.index(second.lower())]) - 2


_ALPHABET = _LETTERS + _LETTERS.upper() + "0123456789-_~"
_BITS = {a + b: _bits(a, b) for a in _ALPHABET for b in _ALPHABET}

# Names, or parts of names between separators and capitals, whose values are secrets.
_SECRET_PARTS = (
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
_SECRET_WORDS = frozenset(_SECRET_PARTS.split())
# Names whose values are secrets wherever the word stands in them.
_SECRET_NAME = re.compile(
    r"token|secret|passw|passcode|passphrase|signature|session|sessid|hmac|jwt|apikey|verif|confirm"
    r"|invit|credential|ticket|nonce|csrf|xsrf|hash(?!tag)|auth(?!or(?!iz))|(?<!p)reset|activat"
    r"|magic|cookie|bearer|onetime"
)
_HARMLESS_PARTS = (  # what makes a code or key an ordinary one
    "promo promotion discount country currency lang language locale zip postal area region sort"
    " campaign source medium product item color colour size offer category status error utm"
)
_HARMLESS_WORDS = frozenset(_HARMLESS_PARTS.split())
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
    head = _HEAD.match(masked)
    start = head.end() if head else 0
    after = _TAIL.search(masked, start)
    end = after.start() if after else len(masked)
    pieces = _QUERY.split(masked[end:])
    tail = [_without_ids(masked[start:end])]
    for mark, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        name, equals, value = piece.rpartition("=")
        fixed = name.lower().startswith("utm_")
        tail += mark, name, equals, value if fixed else _without_ids(value)
    return (masked[:start] + "".join(tail)).replace(MASK, PART)


def _without_ids(text: str) -> str:
    replaced = _ENCODED.sub(lambda match: match[0] if match[0][0] == "%" else PART, text)
    return _PARTS.sub(PART, replaced.replace(MASK, PART))


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
        pieces[n] = _parameter(piece, depth)
        revealing = revealing or (len(piece) < 40 and _is_secret(piece))
    return "".join(pieces)


def _parameter(piece: str, depth: int) -> str:
    """`name=value`, or a value alone."""
    if "=" not in piece:
        return _value(piece, depth)
    bare = piece.rstrip("=") or piece
    parts = bare.split("=")
    for n, name in enumerate(parts[:-1]):
        if _is_secret(name) and parts[n + 1 :] != [""]:
            value = "=".join(parts[n + 1 :])
            masked = value if value.lower() in _FLAGS else MASK
            return "=".join([*(_value(part, depth) for part in parts[: n + 1]), masked])
    masked = "=".join(_value(part, depth) for part in parts)
    return masked if masked.endswith(MASK) else masked + piece[len(bare) :]


def _value(text: str, depth: int) -> str:
    if "%" in text:
        plain = unquote(text, "latin-1")
        if plain != text:
            masked = _mask(plain, depth + 1)
            return text if masked == plain else _quoted(masked, text)
    if "+" in text or "/" in text:
        if text[:1] != "/" and _BASE64.fullmatch(text) and _is_random(re.sub("[+/]", "-", text)):
            return MASK
        if "/" in text:
            return _mask(text, depth + 1)
    if "@" in text:
        text = _EMAIL.sub(MASK, text)
    if len(text) < MIN_RANDOM_CHARS:
        return text
    return _WORD.sub(_word, text)


def _quoted(text: str, original: str) -> str:
    """Percent-encoded, but for characters that `original` has as they are."""
    plain = set(original) - {"%"} | {"*"}
    return "".join(
        c if c in plain or c in _ALPHABET or c == "." or ord(c) > 255 else f"%{ord(c):02X}"
        for c in text
    )


def _word(match: re.Match[str]) -> str:
    return MASK if _is_random(match[0]) else match[0]


def _is_random(word: str) -> bool:
    """Whether letters, digits and the separators between them are more likely chance than words."""
    if _READABLE.fullmatch(word):
        return False
    if word[:3] == "eyJ" or _UUID.search(word) or _NUMBER.search(word):
        return True
    for match in _HEX.finditer(word):
        if len(_CHUNK.findall(match[0])) > (2 if len(match[0]) < 32 else 1):
            return True
    separators = len(word) - len(word.translate(_NO_SEPARATORS))
    mixed = not word.islower() and not word.isupper()
    dense = mixed and len(word) > 15 and separators * 10 <= len(word)
    chunks = len(_CHUNK.findall(word))
    if dense and chunks * 2.6 > len(word):
        return True
    if not separators and len(word) > 15 and chunks * 3.5 > len(word):
        return True
    bits = best = 0
    split = _CAMEL.sub("-", word)
    for pair in map(str.__add__, split, split[1:]):
        bits += _BITS[pair]
        if bits < 0:
            bits = 0
        elif bits > best:
            best = bits
    numbered = any(map(str.isdigit, word))
    dense = (dense and numbered) or (mixed and "-" in word and "_" in word)
    return best > (8 if dense else 12 if mixed and numbered else 15)


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
    if words & _HARMLESS_WORDS:
        return False
    return bool(words & _SECRET_WORDS or _SECRET_NAME.search(name.lower()))


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
