"""What an href means: the address as a client reads it, where it leads, whether to track it."""

import re
from collections.abc import Mapping
from html import unescape
from html.entities import html5
from urllib.parse import quote, urlsplit

import idna

REASONS: Mapping[str, str] = {
    "tracking_off": "clicks are switched off for this message",
    "opted_out": "the link carries an attribute that asks not to be tracked",
    "empty": "the address is empty",
    "fragment": "it leads to a place in the same message",
    "placeholder": "the address holds a template placeholder that is not filled in yet",
    "other_scheme": "it is no http or https address",
    "relative": "the address is relative and the message has no <base> to complete it",
    "own_url": "it leads to Mailwake already",
    "unsubscribe": "unsubscribe links must work without a detour",
    "excluded_domain": "the domain is excluded by a setting",
    "too_long": "the address is too long for mail clients once it is wrapped",
    "bad_url": "the address has no valid host",
    "too_many": "a mail has room for 65,536 links",
    "rewritten": "the message has been through Mailwake before",
}  # fmt: skip

_REFERENCE = re.compile(
    r"&(#[xX][0-9a-fA-F]+;?|#[0-9]+;?|[a-zA-Z][a-zA-Z0-9]*;?)(?=(.?))", re.DOTALL
)
_PLACEHOLDER = re.compile(
    r"\{\{|\}\}|\{%|%\}|\*\||\|\*|<%|%>|\$\{|\[\[.*?\]\]|%%[A-Za-z_][\w .:-]*+%%", re.DOTALL
)
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_HTTP = re.compile(r"(https?):[/\\]*", re.IGNORECASE)
_UNSUBSCRIBE_URL = re.compile(r"unsubscri|opt[-_]?out|abmelde|desinscri|desabonn", re.IGNORECASE)
_UNSUBSCRIBE_LABEL = re.compile(
    r"unsubscribe|opt[- ]?out|abmelden|abbestellen|d[ée]sabonner|d[ée]sinscri|darse de baja"
    r"|cancelar (?:la )?suscripci|disiscri|annulla.{0,12}iscrizione|uitschrijven|afmelden"
    r"|avregistrer|afmeld|avsluta prenumeration|cancelar (?:a )?(?:inscri|assinatura)|отписаться"
    r"|wypisz|配信停止|退订|退訂|수신거부",
    re.IGNORECASE,
)  # fmt: skip
_LABEL_LIMIT = 60  # a longer text that mentions unsubscribing is an article about it


def read_value(value: str) -> str:
    """An attribute's value with its character references resolved by the rule for attributes.

    HTML standard, 13.2.5.73: a name without its semicolon stays as it is where `=` or a letter or
    digit follows, so that `?a=1&copy=2` keeps its `&copy`.
    """
    if "&" not in value:
        return value
    return _REFERENCE.sub(_reference, value)


def _reference(match: re.Match[str]) -> str:
    name = match[1]
    if name[0] == "#":
        return unescape("&" + name)
    if name in html5 and (name[-1] == ";" or match[2] != "="):
        return html5[name]
    return match[0]  # unknown, or a known name with more letters behind it


def read_text(value: str) -> str:
    """Text or an attribute's value as shown to a reader: character references resolved."""
    return unescape(value) if "&" in value else value


def read_url(value: str) -> str:
    """The address in an attribute's value: without outer space, tabs and newlines inside.

    URL standard (url.spec.whatwg.org), basic URL parser, steps 1 to 3.
    """
    text = read_value(value.replace("\x00", "\ufffd"))
    return text.strip("".join(map(chr, range(33)))).translate({9: None, 10: None, 13: None})


def untrackable(url: str, base: str, own: tuple[str, ...]) -> str | None:
    """The reason (a key of REASONS) why an address must stay as it is, whatever its host."""
    if not url:
        return "empty"
    if _PLACEHOLDER.search(url):
        return "placeholder"
    if url[0] == "#":
        return "fragment"
    if _SCHEME.match(url):
        if not _HTTP.match(url):
            return "other_scheme"
    elif not base:
        return "relative"
    if any(url == origin or url.startswith((f"{origin}/", f"{origin}?")) for origin in own):
        return "own_url"
    return None


def is_unsubscribe(url: str, label: str) -> bool:
    """Whether a link lets the reader leave: by its address, or by a short label."""
    return bool(
        _UNSUBSCRIBE_URL.search(url)
        or (len(label) <= _LABEL_LIMIT and _UNSUBSCRIBE_LABEL.search(label))
    )


def is_http(url: str) -> bool:
    """Whether it is an absolute http or https address."""
    return bool(_HTTP.match(url))


def target(url: str, utm: Mapping[str, str], charset: str) -> str:
    """Where a client goes that reads `url`, in visible ASCII as a Location header needs it.

    Non-ASCII hosts become IDNA (UTS 46), the rest percent-encoded UTF-8; a query is encoded in the
    message's charset as browsers do. UTM parameters that are not there yet go before the fragment.
    Raises ValueError when the host is not valid.
    """
    scheme = _HTTP.match(url)
    if scheme is None:
        raise ValueError("no http or https address")
    rest = url[scheme.end() :]
    cut = min((i for c in "/\\?#" if (i := rest.find(c)) >= 0), default=len(rest))
    authority, tail = rest[:cut], rest[cut:]
    before, hash_, fragment = tail.partition("#")
    path, question, query = before.partition("?")
    for name, value in utm.items():
        if not re.search(rf"(?:^|&){re.escape(name)}(?:=|&|$)", query):
            glue = "&" if query and not query.endswith("&") else ""
            query, question = f"{query}{glue}{name}={quote(value, safe='')}", "?"
    return "".join(
        (
            f"{scheme[1]}://",
            _authority(authority),
            _ascii(path or ("/" if question and not path else "")),
            question,
            _ascii(query, charset),
            hash_,
            _ascii(fragment),
        )
    )


def _authority(authority: str) -> str:
    userinfo, at, host = authority.rpartition("@")
    name, colon, port = host, "", ""
    if not host.endswith("]") and ":" in host:
        name, colon, port = host.rpartition(":")
    if not name or (port and not (port.isascii() and port.isdigit())):
        raise ValueError("no valid host")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
        except idna.IDNAError:
            raise ValueError("no valid host") from None
    if any(c in ' <>"\\^`{|}' or ord(c) <= 32 or ord(c) == 127 for c in name):
        raise ValueError("no valid host")
    return f"{_ascii(userinfo)}{at}{name}{colon}{port}"


def _ascii(text: str, charset: str = "utf-8") -> str:
    """Everything but visible ASCII percent-encoded; what the charset lacks, as browsers do."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    encoded = []
    for char in text:
        if "!" <= char <= "~":
            encoded.append(char)
        else:
            try:
                data = char.encode(charset)
            except UnicodeEncodeError:
                data = b"&#%d;" % ord(char) if charset != "utf-8" else b"\xef\xbf\xbd"
            encoded.append("".join(f"%{byte:02X}" for byte in data))
    return "".join(encoded)


def host(url: str) -> str:
    """The host of a target in lower case, for exclusions."""
    return (urlsplit(url).hostname or "").rstrip(".")
