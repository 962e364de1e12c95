"""Bounds what a connection may take: size and time of heads, bodies and answers, and how many.

uvicorn reads HTTP without limits on the head and without deadlines, so a client could hold memory
and sockets for as long as it likes (Slowloris). `BoundedProtocol` is uvicorn's protocol with
limits, in the callbacks that httptools documents. A connection's state is a deadline, which one
timer for all connections checks: a request costs no timer of its own.
"""

import asyncio
import ipaddress
import resource
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.settings.settings import Network
from app.web.requests import LOCAL

MAX_HEAD_BYTES = 65_536  # request line and fields
MAX_FIELDS = 200  # lines of the head
HEAD_SECONDS = 10.0  # from a connection or the first byte of a request to the end of its head
BODY_SECONDS = 30.0  # for a body, and a second more for each BODY_BYTES_PER_SECOND
BODY_BYTES_PER_SECOND = 1_000
ANSWER_SECONDS = 60.0  # without a client reading any byte of its answer
CHECK_SECONDS = 1.0
MAX_FILES = 65_536  # of a process, where the system allows that many
MAX_CONNECTIONS = 20_000  # of a process
RESERVED_FILES = 256  # at least, and a quarter: journal, databases, webhooks, mail


def raise_file_limit() -> int:
    """Raise the soft limit of open files as far as useful; returns it (see setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        return limit
    return MAX_FILES if soft == resource.RLIM_INFINITY else soft


class Connections:
    """The connections of one process, and how many each IP address may have.

    `refused` counts by reason the connections that were closed because of a limit. Loopback and
    the networks in `proxies` have no limit of their own: many clients share them.
    """

    def __init__(self, per_client: int, proxies: Sequence[Network] = ()) -> None:
        self.per_client, self.proxies = per_client, tuple(proxies)
        self.refused: Counter[str] = Counter()
        files = raise_file_limit()
        self.most = min(MAX_CONNECTIONS, files - max(RESERVED_FILES, files // 4))
        self._open: set[BoundedProtocol] = set()
        self._by_client: Counter[str] = Counter()
        self._waiting: dict[BoundedProtocol, None] = {}  # without a request, longest first
        self._timer: asyncio.TimerHandle | None = None

    def protocol(self) -> "Callable[..., BoundedProtocol]":
        """Returns what uvicorn's setting `http` takes."""
        return partial(BoundedProtocol, limits=self)

    def admit(self, protocol: "BoundedProtocol", address: str) -> str:
        """Add a connection; returns why it must be closed, or an empty string.

        With no room left, the connection that has waited longest without a request makes room.
        """
        protocol.peer = self._peer(address)
        if protocol.peer and self._by_client[protocol.peer] >= self.per_client:
            return "client"
        if len(self._open) >= self.most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return "process"
            oldest.end("evicted")
        self._open.add(protocol)
        if protocol.peer:
            self._by_client[protocol.peer] += 1
        self.wait(protocol)
        if self._timer is None:
            self._timer = protocol.loop.call_later(CHECK_SECONDS, self._check, protocol.loop)
        return ""

    def remove(self, protocol: "BoundedProtocol") -> None:
        """Forget a connection that is closed."""
        self._waiting.pop(protocol, None)
        if protocol in self._open:
            self._open.remove(protocol)
            if protocol.peer:
                self._by_client[protocol.peer] -= 1
                if not self._by_client[protocol.peer]:
                    del self._by_client[protocol.peer]

    def wait(self, protocol: "BoundedProtocol") -> None:
        """Note that a connection has no request under way."""
        self._waiting[protocol] = None

    def work(self, protocol: "BoundedProtocol") -> None:
        """Note that a connection has a request, so that it makes room for no other."""
        self._waiting.pop(protocol, None)

    def _peer(self, text: str) -> str:
        """Returns the client to count: an IPv4 address, an IPv6 /64, or empty for no limit."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return ""  # a Unix socket
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_loopback or any(address in network for network in self.proxies):
            return ""
        if address.version == 6:
            return str(ipaddress.ip_network((address, 64), strict=False))
        return str(address)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connections whose time is over."""
        now = loop.time()
        for protocol in list(self._open):
            if protocol.overdue(now):
                protocol.end("deadline")
            elif protocol.idle_too_long(now):
                protocol.transport.close()
        self._timer = loop.call_later(CHECK_SECONDS, self._check, loop) if self._open else None


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with limits: 431 for a head that is too large (RFC 6585, section 5)."""

    def __init__(self, *args: Any, limits: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = limits
        self.peer = ""
        self._ended = False
        self._keeps_all = False  # whether no other protocol may read further requests
        self._in_head = True
        self._head_bytes = 0  # at least the bytes of the head so far
        self._piece_bytes = 0
        self._deadline = inf
        self._idle_deadline = inf  # after an answer that was not uvicorn's
        self._body_bytes = -1  # -1: no body is being received
        self._unsent, self._unsent_deadline = 0, inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, or close it with 503."""
        super().connection_made(transport)
        self._deadline = self.loop.time() + HEAD_SECONDS
        if transport.get_extra_info("socket").family == socket.AF_UNIX:
            self.app_state = {**self.app_state, LOCAL: True}
        peer = transport.get_extra_info("peername")
        if reason := self.limits.admit(self, str(peer[0]) if isinstance(peer, tuple) else ""):
            self.limits.refused[reason] += 1
            self._refuse(
                b"503 Service Unavailable", b"Too many connections.", b"retry-after: 5\r\n"
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.limits.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a piece, and refuse a head that has become too large without an end."""
        if self._ended:
            return
        self._idle_deadline = inf
        self._piece_bytes = len(data)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._head_too_large()
        elif self._deadline == inf and self.between_requests:
            # Blank lines begin no request (RFC 9112, section 2.2), and have ended the keep-alive.
            self._deadline = self.loop.time() + HEAD_SECONDS

    def on_message_begin(self) -> None:
        """Begin a request: its head has HEAD_SECONDS."""
        super().on_message_begin()
        if not self._in_head:
            self._in_head, self._head_bytes = True, self._piece_bytes
            self._deadline = self.loop.time() + HEAD_SECONDS

    def on_headers_complete(self) -> None:
        """Check the whole head, and begin to answer."""
        if self._ended:
            return
        if len(self.headers) > MAX_FIELDS or (
            self._head_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES
        ):
            self._head_too_large()
            return
        self._in_head, self._body_bytes = False, 0
        self._keeps_all = self.parser.should_upgrade()
        self._deadline = self.loop.time() + BODY_SECONDS
        self.limits.work(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self._ended:
            self._body_bytes += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request: its answer may take as long as the client reads it."""
        if not self._ended:
            self._deadline, self._body_bytes = inf, -1
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn closes a connection that stays idle."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self.limits.wait(self)

    @property
    def between_requests(self) -> bool:
        """Returns whether nothing of a request has been read, and no answer is under way."""
        if self._ended or self._keeps_all or self.flow.write_paused:
            return False
        if self.cycle is None:
            return not self._in_head or self._head_bytes == 0
        return (
            not self._in_head
            and self._body_bytes < 0
            and self.cycle.response_complete
            and not self.pipeline
            and not self.transport.is_closing()
        )

    def begin_elsewhere(self) -> None:
        """Begin a request that another protocol has read and answers."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._in_head, self._head_bytes, self._deadline = False, 0, inf
        self._idle_deadline = inf
        self.limits.work(self)

    def end_elsewhere(self) -> None:
        """End that request: the connection waits for the next one as after uvicorn's answers.

        A deadline replaces uvicorn's timer, which would cost as much as the answer.
        """
        self.server_state.total_requests += 1
        self._idle_deadline = self.loop.time() + self.timeout_keep_alive
        self.limits.wait(self)

    def idle_too_long(self, now: float) -> bool:
        """Returns whether a connection that waits for a request must be closed."""
        return now > self._idle_deadline

    def overdue(self, now: float) -> bool:
        """Returns whether the client has taken too long (`now` in the event loop's seconds)."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:  # it reads
            self._unsent_deadline = inf
        if unsent and self._unsent_deadline == inf:
            self._unsent_deadline = now + ANSWER_SECONDS
        self._unsent = unsent
        if now > self._unsent_deadline:
            return True
        if self._body_bytes >= 0:  # reading pauses while the answer needs no more of the body yet
            seconds = self._body_bytes / BODY_BYTES_PER_SECOND
            return self.transport.is_reading() and now > self._deadline + seconds
        return now > self._deadline

    def end(self, reason: str) -> None:
        """Close the connection at once."""
        self._ended = True
        self.limits.refused[reason] += 1
        self.limits.remove(self)
        self.transport.abort()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_too_large(self) -> None:
        self.limits.refused["head"] += 1
        self._refuse(
            b"431 Request Header Fields Too Large",
            b"The request line and header fields must have at most %d bytes and %d fields."
            % (MAX_HEAD_BYTES, MAX_FIELDS),
        )

    def _refuse(self, status: bytes, text: bytes, field: bytes = b"") -> None:
        self._ended = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # an answer is under way: a second one would end up in it
            return
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\ncache-control: no-store\r\n"
            % len(text)
            + field
            + b"connection: close\r\n\r\n"
            + text
        )
        self.transport.close()
