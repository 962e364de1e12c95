"""The hot path: answers GET|HEAD /o/{message}.gif and /c/{message}/{link} before everything else.

Each hit reads a token, writes one line to the journal and is answered. There is no database, no
user agent parsing and no framework object: a hit costs little more than ASGI itself.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.model.hosts import host_name
from app.model.records import NO_LINK, Kind, encode
from app.storage.journal import Journal, JournalError
from app.tracking.hit_from_request import Headers, hit
from app.tracking.tokens import (
    BadTokenError,
    LinkToken,
    MessageToken,
    TokenReaders,
    Tokens,
    read_damaged,
)

GIF = bytes.fromhex(  # one transparent pixel, 43 bytes
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
NO_STORE = (b"cache-control", b"no-store, no-cache, must-revalidate, private, max-age=0")
NOSNIFF = (b"x-content-type-options", b"nosniff")
EMBEDDED = (b"cross-origin-resource-policy", b"cross-origin")  # webmail pages show pixels
PIXEL = [(b"content-type", b"image/gif"), (b"content-length", b"43"), NO_STORE, NOSNIFF, EMBEDDED]
PIXEL_START: Message = {"type": "http.response.start", "status": 200, "headers": PIXEL}
PIXEL_BODY: Message = {"type": "http.response.body", "body": GIF}
NO_REFERRER = (b"referrer-policy", b"no-referrer")
PRIVATE = [NO_STORE, NOSNIFF, NO_REFERRER, (b"x-robots-tag", b"noindex, nofollow")]
NOT_FOUND = b"This link is damaged or incomplete. Please open it from the original message."
NOWHERE = LinkToken(0, NO_LINK, "")  # the link token of an open


class TrackingMiddleware:
    """ASGI middleware that answers pixels and redirects itself and passes on everything else.

    `readers` has the tokens that are valid on each host, and under b"" those for all other hosts.
    `visitor` returns what may be kept of an IP address. `refused` returns the reason why a hit must
    not count, empty if it may. `hits` counts recorded hits by kind, `dropped` counts by reason the
    requests that were answered but not recorded.
    """

    def __init__(
        self,
        app: ASGIApp,
        readers: Mapping[bytes, Tokens | TokenReaders],
        journal: Journal,
        visitor: Callable[[str], str] = str,
        refused: Callable[[Kind, MessageToken, Headers], str] = lambda *_: "",
    ) -> None:
        self.app, self.readers, self.journal = app, readers, journal
        self.visitor, self.refused = visitor, refused
        self.hits: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/o/` and `/c/`; pass all other requests to the app."""
        path = scope["path"] if scope["type"] == "http" else ""
        if not path.startswith(("/o/", "/c/")):
            await self.app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, [(b"allow", b"GET, HEAD"), (b"content-length", b"0")])
        elif path.startswith("/o/"):
            try:
                message = path[3:].removesuffix(".gif").replace(".gif", " ", 1)
                token = read_damaged(self._tokens(scope).read_message, message)
                await self._count(scope, "open", token)
            except BadTokenError:
                self.dropped["bad_message"] += 1
            await send(PIXEL_START)
            await send(PIXEL_BODY)
        else:
            await self._click(scope, send, *path[3:].partition("/")[::2])

    async def _click(self, scope: Scope, send: Send, message: str, link: str) -> None:
        """Redirect if the link token is valid; count the click if the message token is too."""
        tokens = self._tokens(scope)
        try:
            target = read_damaged(tokens.read_link, link)
        except BadTokenError:
            self.dropped["bad_link"] += 1
            length = (b"content-length", b"%d" % len(NOT_FOUND))
            headers = [(b"content-type", b"text/plain; charset=utf-8"), length, *PRIVATE]
            return await _answer(send, 404, headers, NOT_FOUND)
        try:
            token = read_damaged(tokens.read_message, message)
            if token.newsletter == target.newsletter:
                await self._count(scope, "click", token, target)
            else:
                self.dropped["other_newsletter"] += 1
        except BadTokenError:
            self.dropped["bad_message"] += 1
        location = [(b"location", target.url.encode("ascii")), (b"content-length", b"0"), *PRIVATE]
        return await _answer(send, 302, location)

    def _tokens(self, scope: Scope) -> Tokens | TokenReaders:
        """Returns the tokens that are valid on the request's host.

        On a workspace's own host these are its own: no other workspace can redirect from there.
        """
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        return self.readers.get(host_name(host), self.readers[b""])

    async def _count(
        self, scope: Scope, kind: Kind, token: MessageToken, target: LinkToken = NOWHERE
    ) -> None:
        """Write a hit to the journal, or count in `dropped` why it was not written."""
        headers = dict(scope["headers"])
        reason = self.refused(kind, token, headers)
        try:
            if not reason:
                address = self.visitor((scope["client"] or ("",))[0])
                record = hit(scope["method"], headers, address, kind, token, target)
                await self.journal.write(encode(record))
        except JournalError as error:
            reason = error.reason
        (self.dropped if reason else self.hits)[reason or kind] += 1


async def _answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
