"""The hot path: decides what a request for a pixel or a link gets, and the hit that it makes.

A decision reads a token and encodes one line. There is no I/O, no database, no user agent parsing
and no framework object. `middleware` and `server.tracking_protocol` ask for it, write the line to
the journal and then answer.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus

from app.model.hosts import host_name
from app.model.records import NO_LINK, Kind, encode
from app.tracking.hit_from_request import Headers, hit
from app.tracking.tokens import (
    MAX_REMEMBERED_LINKS,
    BadTokenError,
    LinkToken,
    MessageToken,
    TokenReaders,
    Tokens,
    read_damaged,
)

Fields = tuple[tuple[bytes, bytes], ...]
GIF = bytes.fromhex(  # one transparent pixel, 43 bytes
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
NO_STORE = (b"cache-control", b"no-store, no-cache, must-revalidate, private, max-age=0")
NOSNIFF = (b"x-content-type-options", b"nosniff")
EMBEDDED = (b"cross-origin-resource-policy", b"cross-origin")  # webmail pages show pixels
NO_REFERRER = (b"referrer-policy", b"no-referrer")
PRIVATE: Fields = (NO_STORE, NOSNIFF, NO_REFERRER, (b"x-robots-tag", b"noindex, nofollow"))
NOWHERE = LinkToken(0, NO_LINK, "")  # the link token of an open


class Answer:
    """A response: status, fields in lower case, and body.

    `start` and `rest` are its bytes in HTTP/1.1 before and after the fields that all answers share.
    """

    __slots__ = ("body", "fields", "rest", "start", "status")

    def __init__(self, status: int, fields: Fields, body: bytes = b"") -> None:
        self.status, self.fields, self.body = status, fields, body
        self.start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        self.rest = b"".join(b"%s: %s\r\n" % field for field in fields)


# What to answer, and a hit's kind and line for the journal; without a line nothing is counted.
Decision = tuple[Answer, Kind, bytes]


def _with_length(*fields: tuple[bytes, bytes], body: bytes) -> Fields:
    return (*fields, (b"content-length", b"%d" % len(body)))


PIXEL = Answer(
    200,
    (*_with_length((b"content-type", b"image/gif"), body=GIF), NO_STORE, NOSNIFF, EMBEDDED),
    GIF,
)
DAMAGED = b"This link is damaged or incomplete. Please open it from the original message."
TEXT = (b"content-type", b"text/plain; charset=utf-8")
NOT_FOUND = Answer(404, (TEXT, (b"content-length", b"%d" % len(DAMAGED)), *PRIVATE), DAMAGED)
EMPTY = (b"content-length", b"0")
WRONG_METHOD = Answer(405, ((b"allow", b"GET, HEAD"), EMPTY))


class Tracker:
    """Decides for all hosts and workspaces of the service.

    `readers` has the tokens that are valid on each host, and under b"" those for all other hosts:
    on a workspace's own host these are its own, so no other workspace can redirect from there.
    `visitor` returns what may be kept of an IP address. `refused` returns the reason why a hit must
    not count, empty if it may. `hits` counts recorded hits by kind, `dropped` counts by reason the
    requests that were answered but not recorded.
    """

    def __init__(
        self,
        readers: Mapping[bytes, Tokens | TokenReaders],
        visitor: Callable[[str], str] = str,
        refused: Callable[[Kind, MessageToken, Headers], str] = lambda *_: "",
    ) -> None:
        self.readers, self.visitor, self.refused = readers, visitor, refused
        self.hits: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def decide(self, method: str, path: str, host: bytes, headers: Headers, ip: str) -> Decision:
        """Decide about a request whose path begins with /o/ or /c/.

        `path` is decoded once. `host` is the Host field, `ip` the client's IP address.
        """
        if method not in ("GET", "HEAD"):
            return WRONG_METHOD, "open", b""
        tokens = self.readers.get(host_name(host), self.readers[b""])
        if path.startswith("/o/"):
            message = path[3:].removesuffix(".gif").replace(".gif", " ", 1)
            line = self._line("open", tokens, message, NOWHERE, method, headers, ip)
            return PIXEL, "open", line
        message, _, link = path[3:].partition("/")
        try:
            target = read_damaged(tokens.read_link, link)
        except BadTokenError:
            self.dropped["bad_link"] += 1
            return NOT_FOUND, "click", b""
        line = self._line("click", tokens, message, target, method, headers, ip)
        return _redirect(target.url), "click", line

    def count(self, kind: Kind, reason: str = "") -> None:
        """Count a hit that was written to the journal, or why it could not be."""
        (self.dropped if reason else self.hits)[reason or kind] += 1

    def _line(
        self,
        kind: Kind,
        tokens: Tokens | TokenReaders,
        message: str,
        target: LinkToken,
        method: str,
        headers: Headers,
        ip: str,
    ) -> bytes:
        """Returns a hit as a line for the journal; empty, with a reason counted, for none."""
        try:
            token = read_damaged(tokens.read_message, message)
        except BadTokenError:
            reason = "bad_message"
        else:
            if kind == "click" and token.newsletter != target.newsletter:
                reason = "other_newsletter"
            else:
                reason = self.refused(kind, token, headers)
        if reason:
            self.dropped[reason] += 1
            return b""
        return encode(hit(method, headers, self.visitor(ip), kind, token, target))


@lru_cache(MAX_REMEMBERED_LINKS)
def _redirect(url: str) -> Answer:
    location = (b"location", url.encode("ascii"))
    return Answer(302, (location, EMPTY, *PRIVATE))
