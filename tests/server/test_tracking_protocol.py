"""Both ways of a request for a pixel or link: from its bytes, and through uvicorn and ASGI."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.model.records import Hit, decode
from app.server.connections import BoundedProtocol, Connections
from app.server.tracking_protocol import FRAMING, tracking_protocol
from app.storage.journal import Journal
from app.storage.journal_segments import sealed, without_footer
from app.tasks import Tasks
from app.tracking.middleware import TrackingMiddleware
from app.tracking.recording_policy import refuser
from app.tracking.tokens import LinkToken, MessageToken, Tokens
from app.tracking.tracker import Tracker
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls
from tests.support.torture import LONG, longer

TOKENS, ACME = Tokens(["secret-key-0123456789"]), Tokens(["acme-key-0123456789"], "acme")
HOSTS = {b"": TOKENS, b"acme.example": ACME}
OPENED = TOKENS.message(MessageToken(bytes(range(16)), newsletter=11, recipient=22))
LINKED = TOKENS.link(LinkToken(11, 5, "https://example.com/a?b=c&d=%20#e"))
WITHDRAWN = TOKENS.message(MessageToken(bytes(range(16)), newsletter=11, recipient=23))
PIXEL, CLICK = f"/o/{OPENED}.gif", f"/c/{OPENED}/{LINKED}"
PROXIES = ("192.0.2.7", "10.0.0.0/8")
DATE = (b"date", b"Sat, 28 Nov 2026 05:40:41 GMT")


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    body = f"{scope['path']} {scope['query_string'].decode()}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Wire:
    """What asyncio gives a protocol, in memory; nothing arrives after it is closed."""

    def __init__(self) -> None:
        self.sent, self.closed, self.reading = b"", False, True

    def get_extra_info(self, name: str) -> Any:
        client, server = ("192.0.2.7", 4711), ("192.0.2.1", 80)
        return {"socket": self, "peername": client, "sockname": server}.get(name)

    family = socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return ("192.0.2.7", 4711)

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.1", 80)

    def write(self, data: bytes) -> None:
        if not self.closed:  # as asyncio does
            self.sent += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0


class Outcome(NamedTuple):
    """All that a client and an operator see of a connection."""

    sent: bytes
    closed: bool
    hits: list[Hit]
    counted: dict[str, int]
    dropped: dict[str, int]


class Server:
    """One connection to the tracking handlers, with or without the protocol in front."""

    def __init__(self, folder: Path, direct: bool, sync_ms: int = 100) -> None:
        self.folder = folder
        self.journal = Journal(folder, sync_ms)
        self.tasks = Tasks()
        self.journal.start(self.tasks)
        refused = refuser(lambda _, __, recipient, ___: recipient == 23, True)
        self.tracker = Tracker(HOSTS, str, refused)
        self.limits = Connections(1000)
        config = uvicorn.Config(
            TrackingMiddleware(elsewhere, self.tracker, self.journal),
            lifespan="off",
            proxy_headers=True,
            forwarded_allow_ips=list(PROXIES),
            log_config=None,
            access_log=False,
            ws="none",
        )
        config.load()
        self.state = ServerState()
        self.state.default_headers = [DATE]
        create: Callable[..., Any] = (
            tracking_protocol(self.tracker, self.journal, self.limits, PROXIES)
            if direct
            else self.limits.protocol()
        )
        self.protocol: Any = create(config=config, server_state=self.state, app_state={})
        self.wire = Wire()
        self.protocol.connection_made(self.wire)

    async def receive(self, piece: bytes, at_once: bool = False) -> None:
        """Receive a piece, and answer what can be answered unless the next comes `at_once`."""
        if not self.wire.closed:
            self.protocol.data_received(piece)
        if not at_once:
            await self.rest()

    async def rest(self) -> None:
        """Wait until no request is under way."""
        await asyncio.sleep(0)
        while self.state.tasks or getattr(self.protocol, "_answer", None):
            await asyncio.sleep(0.001 if self.journal.sync_ms == 0 else 0)

    async def end(self) -> Outcome:
        await self.rest()
        closed = self.wire.closed
        self.protocol.connection_lost(None)
        await self.journal.close()
        self.tasks.cancel()
        lines = [
            decode(line)
            for path in sealed(self.folder)
            for line in without_footer(path.read_bytes())[0].splitlines()
        ]
        hits = [hit for hit in lines if isinstance(hit, Hit)]
        assert not self.state.connections and len(hits) == len(lines)
        return Outcome(
            self.wire.sent,
            closed,
            [
                Hit(**{**{name: getattr(hit, name) for name in Hit.__struct_fields__}, "at": 0})
                for hit in hits
            ],
            dict(self.tracker.hits),
            dict(self.tracker.dropped),
        )


def outcome(pieces: Sequence[tuple[bytes, bool]], direct: bool, sync_ms: int = 100) -> Outcome:
    """What comes of pieces, each with whether the next one follows at once."""

    async def test() -> Outcome:
        with TemporaryDirectory() as name:
            server = Server(Path(name), direct, sync_ms)
            for piece, at_once in pieces:
                await server.receive(piece, at_once)
            return await server.end()

    return asyncio.run(test())


def same(pieces: Sequence[tuple[bytes, bool]], sync_ms: int = 100) -> Outcome:
    """The outcome of both ways."""
    direct = outcome(pieces, True, sync_ms)
    assert direct == outcome(pieces, False, sync_ms)
    return direct


def request(path: str = PIXEL, method: str = "GET", version: str = "1.1", **fields: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
    return f"{method} {path} HTTP/{version}\r\n{''.join(lines)}\r\n".encode("latin-1")


BROWSER = {
    "Host": "t.example",
    "User_Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "image/avif,image/webp,*/*;q=0.8",
    "Sec_Fetch_Mode": "no-cors",
    "Connection": "keep-alive",
}


@pytest.mark.parametrize("sync_ms", [0, 100])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        PIXEL,
        CLICK,
        "/o/.gif",
        "/o/x.gif",
        f"/o/{WITHDRAWN}.gif",
        f"/o/{OPENED}",
        f"/c/{OPENED[:-1]}/{LINKED}",
        f"/c/{OPENED}/{LINKED[:-1]}",
        f"/c/{OPENED}/{LINKED}.",
        "/c/x",
        "/c//..//../",
    ],
)
def test_a_whole_request_is_answered_from_its_bytes_alone(
    monkeypatch: pytest.MonkeyPatch, path: str, method: str, sync_ms: int
) -> None:
    pieces = [(request(path, method, **BROWSER), False)]
    expected = same(pieces, sync_ms)
    assert expected.sent.startswith(b"HTTP/1.1 ") and not expected.closed
    assert len(expected.hits) + sum(expected.dropped.values()) == 1

    def unexpected(*_: object) -> None:
        raise AssertionError("uvicorn's parser got it")

    monkeypatch.setattr(BoundedProtocol, "data_received", unexpected)
    assert outcome(pieces, True, sync_ms) == expected


UNUSUAL = [
    request(PIXEL, **BROWSER | {"Connection": "close"}),
    request(PIXEL, **BROWSER | {"Connection": "keep-alive, upgrade", "Upgrade": "h2c"}),
    request(PIXEL, version="1.0", **BROWSER),
    request(PIXEL, version="1.0", Connection="keep-alive"),
    request(PIXEL, version="2.0"),
    request(PIXEL, "POST", content_length="3") + b"a=b",
    request(PIXEL, "get"),
    request(PIXEL, "OPTIONS"),
    request(PIXEL + "?a=b"),
    request(PIXEL.replace("o", "%6f", 1), host="a"),
    request(PIXEL + "%2e", host="a"),
    request("http://t.example" + PIXEL, host="a"),
    request("/o", host="a"),
    request("/healthz", host="a"),
    request(PIXEL),
    request(PIXEL, host=""),
    request(PIXEL, host=" a"),
    request(PIXEL, host="a "),
    request(PIXEL, host="a\tb"),
    request(PIXEL, user_agent="\xff"),
    request(PIXEL, user_agent="\x00"),
    request(PIXEL, **{f"x-{number}": "y" for number in range(100)}),
    request(PIXEL, x="y" * 20_000),
    b"GET " + PIXEL.encode() + b" HTTP/1.1\r\nuser-agent: a\r\nuser-agent: b\r\n\r\n",
    b"GET " + PIXEL.encode() + b" HTTP/1.1\r\nuser-agent: a\r\n b\r\n\r\n",
    b"GET " + PIXEL.encode() + b" HTTP/1.1\r\nuser-agent : a\r\n\r\n",
    b"GET " + PIXEL.encode() + b" HTTP/1.1\nuser-agent: a\n\n",
    b"GET  " + PIXEL.encode() + b" HTTP/1.1\r\nuser-agent: a\r\n\r\n",
    b"\r\n" + request(PIXEL, host="a"),
    request(PIXEL, host="a") + b"\r\n",
    request(PIXEL, host="a") + request(CLICK, host="a"),
    request(PIXEL, host="a") + request(CLICK, host="a")[:30],
    *(request(PIXEL, **{name.decode(): value}) for name in FRAMING for value in ("0", "chunked")),
]


@pytest.mark.parametrize("data", UNUSUAL)
def test_anything_unusual_is_uvicorns(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    then = request(CLICK, **BROWSER)
    same([(data, False), (then, False)])
    read: list[bytes] = []
    received = BoundedProtocol.data_received

    def note(self: BoundedProtocol, piece: bytes) -> None:
        read.append(piece)
        received(self, piece)

    monkeypatch.setattr(BoundedProtocol, "data_received", note)
    outcome([(data, False)], True)
    assert read == [data], "uvicorn got it untouched"


SIMPLE = st.builds(
    request,
    st.sampled_from([PIXEL, CLICK, f"/o/{WITHDRAWN}.gif", "/o/x", "/c/a/b", "/", PIXEL + "%29"]),
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"]),
    host=st.sampled_from(["t.example", "ACME.example.", "acme.example:80", "x"]),
    **{
        name: st.sampled_from(values)
        for name, values in {
            "user_agent": ["Agent/1", "a" * 600, "\xe9"],
            "dnt": ["0", "1"],
            "sec_purpose": ["prefetch", "prefetch;prerender"],
            "purpose": ["preview"],
            "x_forwarded_for": ["203.0.113.9", "203.0.113.9, 10.0.0.1", "10.0.0.1", "unknown", ","],
            "x_forwarded_proto": ["https", "x"],
            "connection": ["keep-alive", "Keep-Alive", "close", "te"],
            "content_length": ["0"],
        }.items()
    },
)


DAMAGE = [b"", b"\r", b"\n", b" ", b"\t", b":", b"\x00", b"\xff", b"%"]


@st.composite
def connections(draw: st.DrawFn) -> list[tuple[bytes, bool]]:
    """Some requests, some of them damaged, in pieces that are cut anywhere.

    Pieces of damaged ones are received one after the other: uvicorn answers 400 at once and drops
    the answer that is under way, which here comes first.
    """
    data, cuts = b"", set[int]()
    is_damaged = draw(st.booleans())
    for _ in range(draw(st.integers(1, 4))):
        lines = draw(SIMPLE).split(b"\r\n")
        kept = [line for line in lines[1:-2] if draw(st.integers(0, 2)) == 0]
        sent = b"\r\n".join([lines[0], *kept, b"", b""])
        if is_damaged and draw(st.booleans()):
            at = draw(st.integers(0, len(sent) - 1))
            sent = sent[:at] + draw(st.sampled_from(DAMAGE)) + sent[at + draw(st.integers(0, 1)) :]
        data += sent
        cuts.add(len(data))
    if draw(st.booleans()):
        anywhere = draw(st.lists(st.integers(1, len(data)), max_size=4))
        cuts = {at for at in cuts if draw(st.booleans())}.union(anywhere)
    ends = sorted(cuts | {len(data)})
    return [
        (data[start:end], not is_damaged and draw(st.booleans()))
        for start, end in zip([0, *ends], ends, strict=False)
    ]


@longer
@settings(max_examples=20_000 if LONG else 300, deadline=None)
@given(connections())
def test_both_ways_do_the_same_whatever_is_sent(pieces: list[tuple[bytes, bool]]) -> None:
    same(pieces)


def test_a_request_is_answered_wherever_it_is_cut() -> None:
    data = request(PIXEL, **BROWSER) + request(CLICK, "HEAD", **BROWSER)
    for at in range(1, len(data)):
        ended = same([(data[:at], at % 2 == 0), (data[at:], False)])
        assert ended.counted == {"open": 1, "click": 1}, at


def test_what_comes_before_the_answer_waits_for_it(tmp_path: Path) -> None:
    async def test() -> Outcome:
        server = Server(tmp_path, True, sync_ms=0)
        await server.receive(request(PIXEL, host="a"), at_once=True)
        assert not server.wire.sent and server.wire.reading
        await server.receive(request(CLICK, host="a"), at_once=True)
        assert not server.wire.reading, "so that a client cannot fill the memory"
        return await server.end()

    ended = asyncio.run(test())
    assert ended.counted == {"open": 1, "click": 1}
    assert ended.sent.index(b" 200 OK") < ended.sent.index(b" 302 Found")


def test_a_shutdown_waits_for_the_answer(tmp_path: Path) -> None:
    async def test() -> Outcome:
        server = Server(tmp_path, True, sync_ms=0)
        await server.receive(request(PIXEL, host="a"), at_once=True)
        (connection,) = server.state.connections
        connection.shutdown()
        assert not server.wire.closed
        return await server.end()

    ended = asyncio.run(test())
    assert ended.closed and b"\r\nconnection: close\r\n" in ended.sent
    assert ended.counted == {"open": 1}


def test_a_shutdown_closes_a_connection_that_waits(tmp_path: Path) -> None:
    async def test() -> Outcome:
        server = Server(tmp_path, True)
        await server.receive(request(PIXEL, host="a"))
        (connection,) = server.state.connections
        connection.shutdown()
        return await server.end()

    assert asyncio.run(test()).closed


def test_a_client_that_is_gone_is_counted_all_the_same(tmp_path: Path) -> None:
    async def test() -> Outcome:
        server = Server(tmp_path, True, sync_ms=0)
        await server.receive(request(PIXEL, host="a"), at_once=True)
        server.wire.closed = True
        return await server.end()

    ended = asyncio.run(test())
    assert (ended.sent, ended.counted) == (b"", {"open": 1})


@pytest.mark.parametrize("path", [PIXEL, CLICK])
def test_a_full_disk_stops_no_answer(tmp_path: Path, path: str) -> None:
    async def test() -> Outcome:
        server = Server(tmp_path, True)
        server.journal.max_bytes = 0
        for _ in range(2):  # the second is refused at once
            await server.receive(request(path, host="a"))
        return await server.end()

    ended = asyncio.run(test())
    assert (ended.hits, ended.dropped) == ([], {"disk_cap": 2})
    assert ended.sent.count(b"HTTP/1.1 ") == 2


def test_a_slow_reader_is_left_to_uvicorn(tmp_path: Path) -> None:
    async def test() -> bool:
        server = Server(tmp_path, True)
        server.protocol.pause_writing()
        between: bool = server.protocol.http.between_requests
        server.protocol.resume_writing()
        await server.end()
        return between

    assert not asyncio.run(test())


SHORT = """
from app.server import connections
connections.CHECK_SECONDS = 0.1
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("protocol") / "data", SHORT) as started:
        yield started


def test_the_service_answers_both_ways_on_one_connection(service: Service) -> None:
    rewritten = service.rewrite("n", '<a href="https://example.com/">a</a>')["html"]
    click, pixel = sorted(paths(tracked_urls(rewritten)))
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS) as client:
        for _ in range(2):
            for path in (click, "/healthz", pixel):
                client.sendall(request(path, **BROWSER))
                answer = b""
                while not _whole(answer):
                    answer += client.recv(65_536)
                assert answer.startswith((b"HTTP/1.1 302", b"HTTP/1.1 200"))
                assert answer.count(b"\r\ndate: ") == 1
        client.settimeout(PATIENCE_SECONDS)
        assert client.recv(1) == b"", "closed after the time that uvicorn keeps one alive"
    service.drained()
    metrics = service.client.get("/metrics").text
    assert 'mailwake_hits_total{kind="click"} 2.0' in metrics
    assert 'mailwake_hits_total{kind="open"} 2.0' in metrics
    assert 'mailwake_connections_refused_total{limit="deadline"}' not in metrics


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end and length and len(body) == int(length[1]))
