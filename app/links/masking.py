"""Masks what looks like a secret in a link's URL, and computes the templates of personal links.

Mail carries live secrets: password resets, signed downloads, one-time logins. People who read
statistics must not be able to use them, so a URL is masked when its line leaves the journal. No
list of all secrets exists: parameters are recognised by their names, path segments by the segment
before them, and everything else by whether it looks like words or random. In doubt a part is
masked.
"""

import re
import unicodedata
from functools import lru_cache
from html import escape, unescape
from string import ascii_letters, digits
from urllib.parse import unquote

from app.links.randomness import MIN_CHARS, is_random

MASK = "***"
PART = "..."
MAX_DEPTH = 4  # levels of percent-encoding, or of URLs inside URLs, that are decoded

HEAD = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*+:)?[/\\]{2}(?P<user>[^/\\?#]*@)?[^/\\?#]*")
_TAIL = re.compile(r"[?#]")
_QUERY = re.compile(r"([?&;#])")
_PARAMETERS = re.compile(r"[^/\\?#=]*=")  # of a query without its question mark
_PATH = re.compile(r"([/\\;&])")
_EMAIL = re.compile(r"(?<![\w.+-])[.+-]*+\w[\w.+-]*+@\w[\w-]*+\.\w[\w.+-]*+")
_WORD = re.compile(rf"eyJ[\w-]{{6,}}+(?:\.[\w-]*+)+|[A-Za-z0-9_~-]{{{MIN_CHARS},}}+")
_BASE64 = re.compile(r"[A-Za-z0-9_-]*+[+/][A-Za-z0-9+/_-]*+")
_WORD_OF_TEXT = re.compile(r"(?<!\S)[^\s/@]*+[/@]\S*+")
_IN_HTML = re.compile(
    r"\b(?:src|srcset|background|poster)\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s>]*)"
    r"|url\(\s*[\"']?https?:[^\s\"'<>)]*"
    r"|(?P<before>\bhref\s*=\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s>\"']+)"
    r"|(?P<text>https?://[^\s\"'<>]+)",
    re.IGNORECASE,
)
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
    # parameters by which mailers and advertisers identify persons
    " elqtrackid mkt hsenc hsmi eid kx vero oly ck mc gclid dclid fbclid msclkid yclid"
    # other languages
    " jeton cle clave codigo contrasena passwort kennwort schlussel senha chave wachtwoord sleutel"
    " haslo klucz kod heslo losenord parola sifre salasana jelszo пароль ключ код токен 密码 令牌"
    " パスワード トークン 비밀번호"
)
_SECRETS = frozenset(_NAME_PARTS.split())
# Words that make a parameter's value a secret wherever they occur in its name.
_SECRET_NAME = re.compile(
    r"token|secret|passw|passcode|passphrase|signature|session|sessid|hmac|jwt|apikey|verif|confirm"
    r"|invit|credential|ticket|nonce|csrf|xsrf|hash(?!tag)|auth(?!or(?!iz))|(?<!p)reset|activat"
    r"|magic|cookie|bearer|onetime"
)
_SECRET_END = re.compile(r"(?<!zip)(?<!post)(?<!postal)(?<!bar)(?<!qr)(?:code|key|sig|pwd)$")
# Path segments with such words are followed by tokens, and so are some more.
_BEFORE_TOKEN = re.compile(
    r"token|secret|passw|session|verif|confirm|invit|activat|magic|onetime|(?<!p)reset"
    r"|auth(?!or(?!iz))|^(?:otp|totp|sso|login|signin|recover|recovery|key|jwt|sid)$"
)
_ORDINARY_PARTS = (  # parts of a name that make a code or key no secret
    "promo promotion discount country currency lang language locale zip postal area region sort"
    " campaign source medium product item color colour size offer category status error utm"
)
_ORDINARY = frozenset(_ORDINARY_PARTS.split())
_FLAGS = frozenset(("", MASK, "true", "false", "yes", "no", "on", "off"))


def mask_url(url: str) -> str:
    """Returns a URL in which what looks like a secret is replaced by `***`.

    Masked are user and password, the values of parameters named like secrets (`token`, `key`,
    `X-Amz-Signature`; in the query, the fragment and path parameters), path segments with digits
    after a segment such as `reset` or `verify`, and in any place: email addresses, UUIDs, JSON Web
    Tokens, hexadecimal numbers of 16 or more and decimal numbers of 20 or more digits, and runs of
    12 or more letters and digits that do not look like words. UUIDs are masked although some are
    ids of products: those of invitations, orders and resets look the same, and give access to what
    they identify. URLs inside parameters are masked too, whatever their percent-encoding. Scheme,
    host and port stay.

    Never raises. A URL without secrets is returned unchanged, and so is a masked URL.
    """
    return _mask(url, 0)


def mask_text(text: str) -> str:
    """Returns a text, such as a link's label, with the URLs and email addresses in it masked.

    Every word between spaces that contains a slash or an @ is masked like a URL: the text of a link
    is often its own URL.
    """
    return _WORD_OF_TEXT.sub(_mask_word, text)


def _mask_word(match: re.Match[str]) -> str:
    url = match[0].strip("()[]<>\"'“”„«».,;:!?…")
    return match[0].replace(url, mask_url(url), 1) if url else match[0]


def mask_html(html: str) -> str:
    """Returns HTML with the URLs in its hrefs and text masked.

    URLs of images and styles stay, so that a mail keeps its pictures.
    """
    return _IN_HTML.sub(_mask_in_html, html)


def _mask_in_html(match: re.Match[str]) -> str:
    before, value, text = match["before"] or "", match["value"] or "", match["text"] or ""
    quote = value[:1] if value[:1] in ('"', "'") else ""
    url = value[1:-1] if quote else value or text
    plain = unescape(url)
    masked = mask_url(plain)
    return match[0] if masked == plain else f"{before}{quote}{escape(masked)}{quote}"


def template_url(url: str) -> str:
    """Returns the masked URL with everything that looks like an id replaced by `...`.

    In addition to the secrets of `mask_url` these are runs of letters and digits that contain a
    digit, in the path, in values of the query (except those of `utm_` parameters) and in the
    fragment: links that differ only there have one template. `/parcel/1?key=abc` becomes
    `/parcel/...?key=...`. A masked URL has the template of the original, and a template is its own.
    """
    return template_of(mask_url(url))


def template_of(masked: str) -> str:
    """Returns the template of a URL that is already masked; see `template_url`."""
    template = _without_ids(masked)
    while template != masked:
        masked, template = template, _without_ids(mask_url(template))
    return template


def _without_ids(url: str) -> str:
    head = HEAD.match(url)
    start = head.end() if head else 0
    pieces = _PIECES.split(url[start:])
    for n in range(0, len(pieces), 2):
        name, equals, value = pieces[n].rpartition("=")
        if not name.lower().startswith("utm_"):
            value = _WITH_DIGIT.sub(lambda match: match[0] if match[0][0] == "%" else PART, value)
        pieces[n] = name.replace(MASK, PART) + equals + _PARTS.sub(PART, value.replace(MASK, PART))
    return url[:start].replace(MASK, PART) + "".join(pieces)


def _mask(text: str, depth: int) -> str:
    """Mask a URL, a URL from its path on, or the value of a parameter."""
    if depth > MAX_DEPTH:
        return MASK
    head = HEAD.match(text)
    start = head.end() if head else 0
    kept = text[:start]
    if head and head["user"]:
        kept = f"{text[: head.start('user')]}{MASK}@{text[head.end('user') : start]}"
    before_token = False
    if not head and _PARAMETERS.match(text):
        pieces = _QUERY.split(text)
        masked = [_parameter(pieces[0], depth)]
    else:
        tail = _TAIL.search(text, start)
        end = tail.start() if tail else len(text)
        path, before_token = _path(text[start:end], depth)
        masked, pieces = [path], _QUERY.split(text[end:])
    for mark, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if mark in "?;" and masked[-1].endswith(f"={MASK}") and piece and "=" not in piece:
            continue  # the masked value itself contained a question mark or semicolon
        masked += mark, _parameter(piece, depth, before_token)
    return kept + "".join(masked)


def _path(path: str, depth: int) -> tuple[str, bool]:
    """Returns the masked path, and whether what follows it is likely a token."""
    if not path.strip("/"):
        return path, False
    pieces = _PATH.split(path)
    before_token = False
    for n in range(0, len(pieces), 2):
        if piece := pieces[n]:
            shown = pieces[n] = _parameter(piece, depth, before_token)
            if not before_token and len(shown) < 40:
                before_token = bool(_BEFORE_TOKEN.search(shown.lower()))
    return "".join(pieces), before_token


def _parameter(piece: str, depth: int, likely: bool = False) -> str:
    """Mask `name=value` or a value alone; with `likely`, an id is likely a token."""
    if "=" not in piece:
        return MASK if likely and _is_id(piece) else _value(piece, depth)
    bare = piece.rstrip("=") or piece
    pieces = bare.split("=")
    shown = [_value(part, depth) for part in pieces]
    for n, name in enumerate(pieces[:-1], 1):
        if _is_secret(name) or (shown[n - 1] != name and _is_secret(shown[n - 1])):
            value = "=".join(pieces[n:])
            return "=".join([*shown[:n], value if value.lower() in _FLAGS else MASK])
    if likely and _is_id(pieces[-1]):
        shown[-1] = MASK
    masked = "=".join(shown)
    return masked if masked.endswith(MASK) else masked + piece[len(bare) :]


def _is_id(text: str) -> bool:
    return len(text) > 3 and text.isalnum() and bool(_ID.search(text))


def _value(text: str, depth: int) -> str:
    if "%" in text:
        plain = unquote(text, "latin-1")
        if plain != text:
            masked = _mask(plain, depth + 1)
            return text if masked == plain else _percent_encode(masked, text)
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


def _percent_encode(text: str, original: str) -> str:
    """Percent-encode a text, except for characters that `original` has unencoded."""
    plain = set(original) - {"%"} | {"*"}
    return "".join(
        c if c in plain or c in _UNRESERVED or ord(c) > 255 else f"%{ord(c):02X}" for c in text
    )


def _word(match: re.Match[str]) -> str:
    return MASK if is_random(match[0]) else match[0]


@lru_cache(4096)
def _is_secret(name: str) -> bool:
    """Returns whether the value of a parameter with this name is a secret."""
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
    name = name.lower()
    return bool(words & _SECRETS or _SECRET_NAME.search(name) or _SECRET_END.search(name))


_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
