"""Reads URLs in mail as mail clients do, and computes where they lead."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from html import unescape
from html.entities import html5
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote

import idna

from app.rewriting.charsets import UTF8, Charset

_DOMAIN_NAME = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
)
MAX_HOST = 1000  # characters; the DNS knows 253, percent-encoded ones are longer
MAX_BASE_CHARS = 2_000  # of a <base>, which is part of every relative URL

_REFERENCE = re.compile(
    r"&(?:#[xX]([0-9a-fA-F]++);?+|#([0-9]++);?+|([a-zA-Z][a-zA-Z0-9]*+;?+))(=?)"
)
_EDGE = "".join(map(chr, range(33)))  # C0 controls and space
_INSIDE = {9: None, 10: None, 13: None}
_HTTP = re.compile(r"(https?):([/\\]*)", re.IGNORECASE)
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_AUTHORITY_END = re.compile(r"[/\\?#]")
_FORBIDDEN = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\"`{}\x7f]")  # URL standard, 3.1; and "`{}
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_UNSAFE = re.compile(r"[^!-~]+")
_QUERY_NAME = re.compile(r"[?&]([^?&=]*+)(?=[=&]|$)")
_SHOWN_URL = re.compile(
    r"(https?://|www\.)?((?:[\w-]{1,63}\.){1,9}[^\W\d_]{2,63})(?::\d{1,5})?(?:[/?#]\S*)?",
    re.IGNORECASE,
)


class LongBaseError(ValueError):
    """A URL is relative to a <base> of more than MAX_BASE_CHARS."""


def read_value(value: str) -> str:
    """Returns an attribute's value with character references resolved as in attributes.

    HTML standard, 13.2.5.73: a name without its semicolon stays as it is where `=` or a letter or
    digit follows, so that `?a=1&copy=2` keeps its `&copy`.
    """
    return _REFERENCE.sub(_in_attribute, value) if "&" in value else value


def read_text(value: str) -> str:
    """Returns text as shown: character references resolved, with or without a semicolon."""
    value = value.replace("\x00", "")  # as the HTML standard does in text (13.2.6.4.7)
    return _REFERENCE.sub(_in_text, value) if "&" in value else value


def _in_attribute(match: re.Match[str]) -> str:
    hexadecimal, decimal, name, equals = match.groups()
    if name is None:
        return _code_point(hexadecimal, decimal) + equals
    if name in html5 and (name[-1] == ";" or not equals):
        return html5[name] + equals
    return match[0]  # unknown, or a known name followed by more letters


def _in_text(match: re.Match[str]) -> str:
    hexadecimal, decimal, name, equals = match.groups()
    return (unescape(f"&{name}") if name else _code_point(hexadecimal, decimal)) + equals


def _code_point(hexadecimal: str | None, decimal: str | None) -> str:
    """Returns the character of a numeric reference (HTML standard, 13.2.5.80, end state)."""
    digits = (hexadecimal or decimal or "").lstrip("0")
    if len(digits) > 7:  # beyond Unicode, and int() of very long ones is slow or refused
        return "\ufffd"
    number = int(digits or "0", 16 if hexadecimal else 10)
    if 0x80 <= number <= 0x9F:
        return bytes([number]).decode("cp1252", "ignore") or chr(number)
    if number == 0 or number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        return "\ufffd"
    return chr(number)


def read_url(value: str) -> str:
    """Returns the URL in an attribute's value, without outer space or inner tabs and newlines.

    URL standard (url.spec.whatwg.org), basic URL parser, steps 1 to 3.
    """
    text = read_value(value.replace("\x00", "\ufffd")).strip(_EDGE)
    return text if text.isprintable() else text.translate(_INSIDE)


def scheme(url: str) -> str:
    """Returns the scheme in lower case, empty for a relative URL."""
    match = _SCHEME.match(url)
    return match[0][:-1].lower() if match else ""


def shown_host(label: str, domain: str) -> str:
    """Returns the host of the URL that a link's text consists of, without `www.`; or "".

    A bare `shop.example` counts as a URL only where the link leads to that `domain`: `Booking.com`
    may be a name, `report.pdf` a file.
    """
    match = _SHOWN_URL.fullmatch(label) if "." in label and " " not in label else None
    if match is None:
        return ""
    host = match[2].lower().removeprefix("www.")
    return host if match[1] or domain == host or domain.endswith(f".{host}") else ""


def file_name(url: str) -> str:
    """Returns the last part of an image's path; empty for cid: and data:, which name no file."""
    if scheme(url) not in ("", "http", "https"):
        return ""
    path = re.split(r"[?#]", url, maxsplit=1)[0].replace("\\", "/").partition("://")
    return unquote((path[2] or path[0]).rpartition("/")[2])


def absolute(url: str, base: str) -> str:
    """Returns `url` resolved against `base`, an http(s) URL or empty. Raises ValueError.

    URL standard, 4.4, states "scheme" to "relative slash": a backslash is a slash, two or more
    begin a host, and `https:x` is relative to a base that is https too.
    """
    if not base:
        return url
    named = scheme(url)
    if named and named != scheme(base):
        return url
    rest = url[len(named) + 1 :] if named else url
    if re.match(r"[/\\]{2}", rest):
        return f"{scheme(base)}:{rest}"
    if len(base) > MAX_BASE_CHARS:
        raise LongBaseError
    target = split_url(base)
    origin = f"{target.scheme}://{target.userinfo}{target.host}{target.port}"
    if rest[:1] in ("/", "\\"):
        return f"{origin}/{rest[1:]}"
    if rest[:1] in ("", "#"):
        return f"{origin}{target.path}{target.query}{rest}"
    if rest[0] == "?":
        return f"{origin}{target.path}{rest}"
    folder, _, last = target.path.replace("\\", "/").rpartition("/")
    return f"{origin}{folder}/{last + '/' if _DOTS.fullmatch(last) else ''}{rest}"


class SplitUrl(NamedTuple):
    """The parts of an http(s) URL; `port`, `query` and `fragment` come with their separator."""

    scheme: str
    userinfo: str
    host: str
    port: str
    path: str
    query: str
    fragment: str

    @property
    def domain(self) -> str:
        """Returns the host for comparisons: lower case, percent-decoded, no trailing dot."""
        return _domain(self.host)

    def within(self, origin: "SplitUrl") -> bool:
        """Returns whether the URL has `origin`'s host and port and its path or one below.

        The schemes may differ.
        """
        if _domain(self.host) != _domain(origin.host) or _port(self) != _port(origin):
            return False
        root = origin.path.rstrip("/")
        path = self.path.replace("\\", "/")
        return path == root or path.startswith(f"{root}/") or not root

    def target(self, utm: Mapping[str, str], charset: Charset = UTF8) -> str:
        """Returns the URL to redirect to, in visible ASCII as a Location header needs it.

        Other characters are percent-encoded as UTF-8, in the query in the message's charset, as in
        browsers. Missing UTM parameters (as `encoded` returns them, by name) are added before the
        fragment. A backslash after the host becomes a slash: clients other than browsers would read
        on to an `@` after it.
        """
        query = self.query
        if utm:
            present = set(_QUERY_NAME.findall(query))
            missing = [field for name, field in utm.items() if name not in present]
            if missing:
                glue = "?" if not query else "" if query[-1] in "?&" else "&"
                query += glue + "&".join(missing)
        path = self.path.replace("\\", "/", 1) if self.path[:1] == "\\" else self.path
        origin = f"{self.scheme}://{self.userinfo}{self.host}{self.port}"
        url = f"{origin}{path}{query}{self.fragment}"
        if _is_visible(url):  # as most are
            return url
        origin = f"{self.scheme}://{_ascii(self.userinfo)}{self.host}{self.port}"
        if not _is_visible(query):
            query = charset.percent_encode(query)
        return f"{origin}{_ascii(path)}{query}{_ascii(self.fragment)}"


def encoded(utm: Mapping[str, str]) -> Mapping[str, str]:
    """Returns UTM parameters as they are written into a query, by name."""
    return {name: f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in utm.items()}


@lru_cache(2048)  # messages of a stream share links
def split_url(url: str) -> SplitUrl:
    """Split an absolute http(s) URL as the URL standard does. Raises ValueError."""
    start = _HTTP.match(url)
    if start is None:
        raise ValueError("not an http or https URL")
    rest = url[start.end() :]
    end = _AUTHORITY_END.search(rest)
    cut = end.start() if end else len(rest)
    authority, tail = rest[:cut], rest[cut:]
    before, hash_, fragment = tail.partition("#")
    path, question, query = before.partition("?")
    userinfo, at, host = authority.rpartition("@")
    port = re.search(r":([0-9]*)$", host)
    if port:
        host = host[: port.start()]
    if port and port[1] and (len(port[1].lstrip("0")) > 5 or int(port[1]) > 0xFFFF):
        raise ValueError("no valid port")
    return SplitUrl(
        start[1],
        userinfo + at,
        _host(host),
        port[0] if port else "",
        path,
        question + query,
        hash_ + fragment,
    )


@lru_cache(2048)
def _domain(host: str) -> str:
    return unquote(host).lower().rstrip(".")


def all_domains(names: Iterable[str]) -> tuple[str, ...]:
    """Returns domain names in ASCII. Raises ValueError for the first that is not one."""
    return tuple(map(domain_name, names))


def domain_name(text: str) -> str:
    """Returns a domain name in ASCII and lower case. Raises ValueError for anything else."""
    name = text.strip().removeprefix("*.").strip(".")
    try:
        host = _host(name).lower()
    except ValueError:
        host = ""
    if not _DOMAIN_NAME.fullmatch(host):
        raise ValueError(f"{text[:100]!r} is not a domain name such as example.com")
    return host


@lru_cache(2048)
def _host(host: str) -> str:
    """Returns the host in ASCII by UTS 46 as browsers apply it, emoji included. Raises ValueError.

    An ASCII host is returned unchanged if browsers read it as a valid host.
    """
    if host[:1] == "[" and host[-1:] == "]":
        if "%" in host:
            raise ValueError("no valid host: a zone name is only valid on one computer")
        try:
            IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError("no valid host") from None
        return host
    if len(host) > MAX_HOST:
        raise ValueError("no valid host")
    try:
        read = unquote(host, errors="strict")
        if not read.isascii():
            read = idna.uts46_remap(read, std3_rules=False, transitional=False)
            read = ".".join(map(_label, read.split(".")))
    except UnicodeError:  # idna's errors are too
        raise ValueError("no valid host") from None
    # Checked after mapping, which turns full-width forms into "/" and "@".
    if not read.strip(".") or _FORBIDDEN.search(read):
        raise ValueError("no valid host")
    return host if host.isascii() else read


def _label(label: str) -> str:
    """Returns a label of a non-ASCII host in ASCII. Raises UnicodeError for invalid Punycode."""
    if label.startswith("xn--"):
        shown = label[4:].encode().decode("punycode")
        if shown.isascii() or idna.uts46_remap(shown, std3_rules=False) != shown:
            raise UnicodeError
    return label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}"


def _port(url: SplitUrl) -> str:
    port = url.port.lstrip(":").lstrip("0")
    return "" if port == {"http": "80", "https": "443"}[url.scheme.lower()] else port


def _is_visible(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _ascii(text: str) -> str:
    """Returns text with everything but visible ASCII percent-encoded as UTF-8."""
    if _is_visible(text):
        return text
    return _UNSAFE.sub(lambda match: quote(match[0].encode("utf-8", "replace"), safe=""), text)
