"""Limits of connections, on the running service: heads, deadlines, and how many there may be."""

import asyncio
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.server import connections
from app.server.connections import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    BoundedProtocol,
    Connections,
)
from app.settings.settings import Network, Settings
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

SHORT = """
from app.server import connections
connections.HEAD_SECONDS = connections.BODY_SECONDS = connections.ANSWER_SECONDS = 1.0
connections.CHECK_SECONDS = 0.1
"""
FEW_FILES = """
import resource
from app.server import connections
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
connections.HEAD_SECONDS = 1000.0
"""
NO_LOOPBACK = """
import ipaddress
ipaddress.IPv4Address.is_loopback = property(lambda _: False)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("connections") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Returns a service whose deadlines are a second."""
    with Service(tmp_path_factory.mktemp("hurried") / "data", SHORT) as started:
        yield started


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS)


def everything(client: socket.socket) -> bytes:
    """Returns what the service sends until it closes the connection."""
    received = b""
    try:
        while piece := client.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def status(client: socket.socket) -> bytes:
    """Returns the status line's code of the next answer, which is read to its end."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = client.recv(65_536)
        if not piece:
            break
        answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    while length and len(body) < int(length[1]) and (piece := client.recv(65_536)):
        body += piece
    return head.partition(b"\r\n")[0].partition(b" ")[2][:3]


def counted(service: Service, limit: str) -> float:
    """Returns how many connections were refused because of a limit."""
    pattern = rf'mailwake_connections_refused_total{{limit="{limit}"}} ([\d.e+]+)'
    match = re.search(pattern, service.client.get("/metrics").text)
    return float(match[1]) if match else 0.0


@pytest.mark.parametrize("pieces", [1, 7, 400])
@pytest.mark.parametrize(
    "head",
    [
        b"GET /o/x.gif HTTP/1.1\r\nhost: a\r\nx: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n",
        b"GET /o/" + b"x" * (MAX_HEAD_BYTES + 1) + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /o/x.gif HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * MAX_FIELDS + b"\r\n",
        b"GET /o/x.gif HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 50_000,
    ],
    ids=["a long field", "a long path", "many fields", "fields without end"],
)
def test_a_head_that_is_too_large_gets_431(service: Service, head: bytes, pieces: int) -> None:
    size = len(head) // pieces + 1
    with connect(service) as client:
        try:
            for start in range(0, len(head), size):
                client.sendall(head[start : start + size])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the service has closed the connection before all was sent
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n") or not answer
    assert counted(service, "head") > 0


def test_a_head_within_the_limits_is_answered(service: Service) -> None:
    field = b"x" * (MAX_HEAD_BYTES - 200)
    many = b"".join(b"x-%d: y\r\n" % number for number in range(MAX_FIELDS - 1))
    for fields in (b"x: " + field + b"\r\n", many):
        with connect(service) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n" + fields + b"\r\n")
            assert status(client) == b"200"


def test_a_second_request_has_a_head_of_its_own(service: Service) -> None:
    request = b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 50_000 + b"\r\n\r\n"
    with connect(service) as client:
        for _ in range(3):
            client.sendall(request)
            assert status(client) == b"200"
        client.sendall(request + request)  # pipelined: both count as one piece
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 2:
            piece = client.recv(65_536)
            assert piece, answers
            answers += piece


def test_a_large_body_is_no_head(service: Service) -> None:
    with connect(service) as client:
        head = b"POST /v1/rewrite HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n"
        client.sendall(head + b"x" * 300_000)
        assert status(client) == b"401"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /o/x.gif HTTP/1.1\r\n",
        b"POST /v1/rewrite HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx",
        b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\nGET /hea",
    ],
    ids=["silence", "half a head", "half a body", "half of a second head"],
)
def test_a_slow_client_is_disconnected(hurried: Service, sent: bytes) -> None:
    hurried.client.headers["authorization"] = f"Bearer {hurried.api_key}"
    if sent.startswith(b"POST"):
        key = hurried.api_key.encode()
        sent = sent.replace(b"host: a", b"host: a\r\nauthorization: Bearer " + key)
    before = counted(hurried, "deadline")
    with connect(hurried) as client:
        client.sendall(sent)
        everything(client)  # returns once the connection is closed
    assert "Traceback" not in hurried.log.read_text()
    hurried.wait_for(lambda: counted(hurried, "deadline") > before, "the deadline is counted")


@pytest.mark.parametrize("path", [b"/healthz", b"/o/x.gif"])
def test_blank_lines_after_an_answer_keep_no_connection(hurried: Service, path: bytes) -> None:
    """They begin no request, whichever protocol has answered the last one."""
    before = counted(hurried, "deadline")
    with connect(hurried) as client:
        client.sendall(b"GET " + path + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        assert status(client) == b"200"
        client.sendall(b"\r\n")
        assert everything(client) == b""  # it returns once the connection is closed
    hurried.wait_for(lambda: counted(hurried, "deadline") > before, "the deadline is counted")


def test_a_client_that_sends_a_byte_now_and_then_is_disconnected(hurried: Service) -> None:
    with connect(hurried) as client:
        client.settimeout(0.2)
        client.sendall(b"GET /o/x.gif HTTP/1.1\r\n")
        try:
            for _ in range(int(PATIENCE_SECONDS / 0.2)):
                client.sendall(b"x: y\r\n")
                try:
                    if not client.recv(100):
                        return
                except TimeoutError:
                    pass
        except (BrokenPipeError, ConnectionResetError):
            return
    pytest.fail("the head has no deadline")


def test_a_client_that_reads_no_answer_is_disconnected(hurried: Service) -> None:
    before = counted(hurried, "deadline")
    with connect(hurried) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n"
        try:
            for _ in range(200):
                client.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        hurried.wait_for(lambda: counted(hurried, "deadline") > before, "the deadline")


def test_idle_half_requests_leave_room_for_others(tmp_path: Path) -> None:
    """1,100 connections starve no process that may have 1,024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    held = []
    try:
        with Service(tmp_path / "data", FEW_FILES) as service:
            service.ready()
            try:
                for _ in range(1_100):
                    client = connect(service)
                    client.sendall(b"GET /o/x.gif HTTP/1.1\r\n")
                    held.append(client)
                assert service.client.get("/o/x.gif").status_code == 200
                html = service.rewrite("idle", "<a href=https://example.com>x</a>")["html"]
                path = paths(tracked_urls(html))[0]
                assert service.client.get(path).status_code == 302
                service.wait_for(lambda: counted(service, "evicted") > 0, "room is made")
            finally:
                for client in held:
                    client.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_ip_address_has_so_many_connections_only(tmp_path: Path) -> None:
    env = {"MAILWAKE_CONNECTIONS_PER_IP": "20"}
    with Service(tmp_path / "data", NO_LOOPBACK, **env) as service:
        held = [connect(service) for _ in range(15)]
        try:
            answers = []
            for _ in range(10):
                client = connect(service)
                client.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
                answers.append(status(client))
                held.append(client)
            assert b"200" in answers and answers[-1] == b"503"
        finally:
            for client in held:
                client.close()
        service.wait_for(lambda: service.client.get("/healthz").status_code == 200, "room again")
        assert counted(service, "client") > 0


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.1.2.3", ""),
        ("", ""),
    ],
)
def test_clients_are_told_apart(address: str, peer: str) -> None:
    proxies: tuple[Network, ...] = Settings.model_validate(
        {"trusted_proxies": "10.0.0.0/8"}
    ).proxy_networks
    assert Connections(5, proxies)._peer(address) == peer


def test_a_quarter_of_the_files_is_reserved() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = Connections(5)
    raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised >= soft
    assert limits.most <= raised - connections.RESERVED_FILES


def test_uvicorn_has_the_callbacks_that_are_extended() -> None:
    """An upgrade that renames one fails here."""
    for name in vars(BoundedProtocol):
        if name.startswith("on_") or name in ("connection_made", "connection_lost"):
            assert callable(getattr(HttpToolsProtocol, name)), name
    assert issubclass(BoundedProtocol, asyncio.Protocol)
