"""Answers whole and simple requests for pixels and links from the bytes that were received.

Most of the CPU time of such a request is not Mailwake's but that of parser, scope, task and ASGI
messages. This protocol is in front of uvicorn's: one GET or HEAD of a tracking path in one piece is
answered here, and everything else is uvicorn's: bodies, pipelining, parts of heads, other methods
and versions, fields about the connection or the body, and any byte that two parsers could read
differently. Both ways answer with the same bytes (tests/server/test_tracking_protocol.py).
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.model.records import Kind
from app.server.connections import BoundedProtocol, Connections
from app.storage.journal import Journal, JournalError
from app.tracking.hit_from_request import Headers
from app.tracking.tracker import Answer, Tracker

# Characters of RFC 9112 that leave no doubt: no escapes or queries in the target, no empty values.
_REQUEST = re.compile(
    rb"(GET|HEAD) (/[oc]/[A-Za-z0-9_./-]*+) HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]++: (?! )[ -~]++(?<! )\r\n){1,64}+)\r\n"
)
_FIELD = re.compile(rb"([^:]++): ([^\r]++)\r\n")
MAX_BYTES = 8_192  # of a simple request
MAX_REMEMBERED_HEADERS = 512
# What changes how a message is framed or when its connection ends (RFC 9112, sections 6, 7 and 9).
FRAMING = frozenset(
    (
        b"content-length",
        b"transfer-encoding",
        b"te",
        b"trailer",
        b"expect",
        b"upgrade",
        b"keep-alive",
        b"proxy-connection",
        b"http2-settings",
    )
)
Peer = tuple[str, int] | None
ClientOf = Callable[[Peer, Headers], str]


def client_of(trusted_proxies: Sequence[str]) -> ClientOf:
    """Returns a function that returns a request's IP address, from the proxies that are trusted."""
    if not trusted_proxies:
        return lambda peer, _: peer[0] if peer else ""

    async def nothing(*_: object) -> None:
        pass

    middleware = ProxyHeadersMiddleware(nothing, list(trusted_proxies))

    def client(peer: Peer, headers: Headers) -> str:
        scope: Any = {"type": "http", "client": peer, "headers": headers.items()}
        coroutine = middleware(scope, None, None)  # type: ignore[arg-type]
        try:
            coroutine.send(None)  # it awaits nothing, so it ends at once
        except StopIteration:
            return scope["client"][0] if scope["client"] else ""
        raise RuntimeError("uvicorn's middleware waits for something")

    return client


def tracking_protocol(
    tracker: Tracker, journal: Journal, connections: Connections, trusted_proxies: Sequence[str]
) -> Callable[..., asyncio.Protocol]:
    """Returns what uvicorn's setting `http` takes."""
    http, client = connections.protocol(), client_of(trusted_proxies)

    def protocol(**arguments: Any) -> asyncio.Protocol:
        return TrackingProtocol(tracker, journal, client, http(**arguments))

    return protocol


class TrackingProtocol(asyncio.Protocol):
    """One connection. `http` is uvicorn's protocol, which gets what is not answered here."""

    def __init__(
        self, tracker: Tracker, journal: Journal, client: ClientOf, http: BoundedProtocol
    ) -> None:
        self.tracker, self.journal, self.client, self.http = tracker, journal, client, http
        self._answer: Answer | None = None  # waits for the journal
        self._kind: Kind = "open"
        self._is_head = self._ends = False
        self._held = b""  # received while the answer waits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; at its end uvicorn shuts down what is in its set of connections."""
        self.http.connection_made(transport)  # type: ignore[arg-type]
        self.transport = self.http.transport
        self.http.connections.discard(self.http)
        self.http.connections.add(self)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.http.connections.discard(self)
        self.http.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Answer a simple request; pass on anything else."""
        if self._answer:
            self._held += data
            self.transport.pause_reading()
        elif not self._answered(data):
            self.http.data_received(data)

    def eof_received(self) -> None:
        """Pass it on; the transport closes."""
        self.http.eof_received()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self.http.pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has read."""
        self.http.resume_writing()

    def shutdown(self) -> None:
        """Close the connection, after its answer if one is under way; uvicorn calls this."""
        if self._answer:
            self._ends = True
        else:
            self.http.shutdown()

    def _answered(self, data: bytes) -> bool:
        """Take a request if it is a simple one; returns whether it was."""
        if len(data) > MAX_BYTES or not self.http.between_requests:
            return False
        match = _REQUEST.fullmatch(data)
        if not match:
            return False
        method, path, lines = match.groups()
        headers = _headers(lines)
        if headers is None:
            return False
        self.http.begin_elsewhere()
        ip = self.client(self.http.client, headers)
        host = headers.get(b"host", b"")
        self._answer, self._kind, line = self.tracker.decide(
            method.decode(), path.decode(), host, headers, ip
        )
        self._is_head = method == b"HEAD"
        if not line:
            self._send()
            return True
        try:
            self.journal.write(line).add_done_callback(self._written)
        except JournalError as error:
            self.tracker.count(self._kind, error.reason)
            self._send()
        return True

    def _written(self, turn: "asyncio.Future[None]") -> None:
        error = turn.exception()
        self.tracker.count(self._kind, error.reason if isinstance(error, JournalError) else "")
        self._send()

    def _send(self) -> None:
        """Send the answer, then let uvicorn have what was received meanwhile."""
        answer, self._answer = self._answer, None
        if not answer or self.transport.is_closing():
            return
        shared = _lines(*self.http.server_state.default_headers)
        end = b"connection: close\r\n\r\n" if self._ends else b"\r\n"
        body = b"" if self._is_head else answer.body
        self.transport.write(b"".join((answer.start, shared, answer.rest, end, body)))
        self.http.end_elsewhere()
        if self._ends:
            self.transport.close()
        elif self._held:
            data, self._held = self._held, b""
            self.transport.resume_reading()
            self.data_received(data)


@lru_cache(MAX_REMEMBERED_HEADERS)
def _headers(lines: bytes) -> Headers | None:
    """Returns fields by name in lower case; None if a request with them is not simple.

    Image proxies send the same lines again and again, and so do the users of one browser.
    """
    fields = _FIELD.findall(lines)
    headers = {name.lower(): value for name, value in fields}
    if len(headers) < len(fields) or not headers.keys().isdisjoint(FRAMING):
        return None
    return headers if headers.get(b"connection", b"keep-alive").lower() == b"keep-alive" else None


@lru_cache(8)
def _lines(*fields: tuple[bytes, bytes]) -> bytes:
    """Returns the fields of all answers; uvicorn makes a new date every second."""
    return b"".join(b"%s: %s\r\n" % field for field in fields)
