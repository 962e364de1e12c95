"""The hot path: GET|HEAD /o/{message}.gif and /c/{message}/{link}, in front of everything else.

Token, one line in the journal, answer. No database, no user agent parsing, no framework objects:
a hit costs what ASGI costs and little more.
"""

from collections import Counter
from collections.abc import Awaitable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.events import NO_LINK, Hit, Kind, encode, now_ms
from app.journal import Journal, JournalError
from app.tokens import BadTokenError, MessageToken, Readers, Tokens

GIF = bytes.fromhex(  # one transparent pixel, 43 bytes
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
NO_STORE = (b"cache-control", b"no-store, no-cache, must-revalidate, private, max-age=0")
PIXEL = [(b"content-type", b"image/gif"), (b"content-length", b"43"), NO_STORE]
PIXEL_START: Message = {"type": "http.response.start", "status": 200, "headers": PIXEL}
PIXEL_BODY: Message = {"type": "http.response.body", "body": GIF}
PRIVATE = [NO_STORE, (b"referrer-policy", b"no-referrer"), (b"x-robots-tag", b"noindex, nofollow")]
NOT_FOUND = b"This link is damaged or incomplete. Please open it from the original message."
AGENT_BYTES = 512


class Tracking:
    """ASGI middleware that answers pixels and redirects itself and passes on all else.

    `readers` has the tokens that are good on a host, under b"" those for hosts of nobody. `hits`
    counts by kind what was recorded, `dropped` by reason what was answered but not counted.
    """

    def __init__(
        self, app: ASGIApp, readers: Mapping[bytes, Tokens | Readers], journal: Journal
    ) -> None:
        self.app, self.readers, self.journal = app, readers, journal
        self.hits: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/o/` and `/c/`; everything else is the app's."""
        path = scope["path"] if scope["type"] == "http" else ""
        if not path.startswith(("/o/", "/c/")):
            await self.app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, [(b"allow", b"GET, HEAD"), (b"content-length", b"0")])
        elif path.startswith("/o/"):
            try:
                token = self._tokens(scope).read_message(path[3:].removesuffix(".gif"))
                await self._write(scope, "open", token)
                self.hits["open"] += 1
            except (BadTokenError, JournalError) as error:
                self._drop(error)
            await send(PIXEL_START)
            await send(PIXEL_BODY)
        else:
            await self._click(scope, send, *path[3:].partition("/")[::2])

    async def _click(self, scope: Scope, send: Send, message: str, link: str) -> None:
        """A valid link token is enough to redirect; the message token says whom to count."""
        tokens = self._tokens(scope)
        try:
            newsletter, index, url = tokens.read_link(link)
        except BadTokenError:
            self.dropped["bad_link"] += 1
            length = (b"content-length", b"%d" % len(NOT_FOUND))
            headers = [(b"content-type", b"text/plain; charset=utf-8"), length, *PRIVATE]
            return await _answer(send, 404, headers, NOT_FOUND)
        try:
            token = tokens.read_message(message)
            if token.newsletter == newsletter:
                await self._write(scope, "click", token, index, url)
                self.hits["click"] += 1
            else:
                self.dropped["other_newsletter"] += 1
        except (BadTokenError, JournalError) as error:
            self._drop(error)
        location = [(b"location", url.encode("ascii")), (b"content-length", b"0"), *PRIVATE]
        return await _answer(send, 302, location)

    def _tokens(self, scope: Scope) -> Tokens | Readers:
        """A workspace's own host knows its links only, so that no other can lead from there."""
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        return self.readers.get(host.lower().rstrip(b"."), self.readers[b""])

    def _write(
        self, scope: Scope, kind: Kind, token: MessageToken, link: int = NO_LINK, url: str = ""
    ) -> Awaitable[None]:
        """Done when the line is kept. Raises JournalError, now or then."""
        return self.journal.write(encode(hit(scope, kind, token, link, url)))

    def _drop(self, error: BadTokenError | JournalError) -> None:
        """Whatever is wrong with a hit, its answer is the same."""
        self.dropped[error.reason if isinstance(error, JournalError) else "bad_message"] += 1


def hit(scope: Scope, kind: Kind, token: MessageToken, link: int, url: str) -> Hit:
    """The hit as the request tells it; headers are bytes of anybody's making."""
    headers = dict(scope["headers"])
    purpose = headers.get(b"sec-purpose") or headers.get(b"purpose") or headers.get(b"x-purpose")
    return Hit(
        kind, now_ms(), token.workspace, token.newsletter, token.message.hex(), token.recipient,
        link, url, token.variant, scope["method"], (scope["client"] or ("",))[0],
        headers.get(b"user-agent", b"")[:AGENT_BYTES].decode("latin-1"),
        (purpose or b"")[:64].decode("latin-1"),
        headers.get(b"sec-fetch-mode", b"")[:32].decode("latin-1"),
    )  # fmt: skip


async def _answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
