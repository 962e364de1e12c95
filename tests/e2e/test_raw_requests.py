"""Requests that no client would send, on raw sockets: sane answers, and the process lives."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

EVIL = "evil.example"
# The login form's: of this host alone, and with no word of the request in it.
OWN_COOKIE = re.compile(
    rb"set-cookie: mailwake_form=[\w-]{24}; HttpOnly; Path=/; SameSite=lax\r?", re.IGNORECASE
)
MAIL = '<body><a href="https://good.example/">x</a></body>'


def raw(service: Service, request: bytes | str, silent: float = PATIENCE_SECONDS) -> bytes:
    """All that comes back until the other side closes, or is silent for so many seconds."""
    data = request.encode("latin-1") if isinstance(request, str) else request
    got = b""
    with socket.create_connection(
        ("127.0.0.1", service.port), timeout=PATIENCE_SECONDS
    ) as connection:
        try:
            connection.sendall(data)
            connection.settimeout(silent)
            while more := connection.recv(65_536):
                got += more
        except (ConnectionError, TimeoutError):
            pass
    return got


def get(service: Service, target: str, *fields: str, host: str = "x") -> bytes:
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
    return raw(service, "\r\n".join(lines))


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


def answers(answer: bytes) -> int:
    return len(re.findall(rb"(?:\A|\n)HTTP/1\.1 \d{3} |[^\n]HTTP/1\.1 \d{3} ", answer))


@pytest.fixture(autouse=True)
def _alive(service: Service) -> Iterator[None]:
    yield
    assert service.client.get("/healthz").status_code == 200
    assert "Traceback" not in service.log.read_text()


HOSTS = (
    EVIL,
    f"{EVIL}:80",
    f"x@{EVIL}",
    f"{EVIL}/",
    f"{EVIL}#",
    f"{EVIL}?",
    f"{EVIL}\\",
    "",
    "[::1]",
    f"x, {EVIL}",
    f"{EVIL}\xff",
    "a" * 5000,
    f'"><script src=//{EVIL}>',
)
FORWARDED = (
    f"X-Forwarded-Host: {EVIL}",
    f"X-Forwarded-Server: {EVIL}",
    f"Forwarded: host={EVIL}",
    f"X-Original-URL: //{EVIL}",
    f"X-Rewrite-URL: //{EVIL}",
    f"X-Host: {EVIL}",
    "X-Forwarded-Proto: javascript",
    "X-Forwarded-For: 203.0.113.9",
    f"X-Prefix: //{EVIL}",
)
PAGES = (
    "/",
    "/login",
    "/login/",
    "/webhooks/",
    "/tags/",
    "/v1/newsletters/",
    "/docs/",
    "/static",
    "/static/",
    "/none",
    "/u/x/",
    "/recipients/1/",
    f"/login?next=//{EVIL}",
    f"/login?next=/\\{EVIL}",
    f"/login?next=https://{EVIL}",
    f"//{EVIL}/",
    f"//{EVIL}/login/",
    f"/\\{EVIL}/",
    f"/%09/{EVIL}/",
    f"/%5c{EVIL}/",
    f"//{EVIL}/%2e%2e",
    f"/.{EVIL}/",
)


@pytest.mark.parametrize("host", HOSTS)
def test_a_strange_host_leads_nowhere_and_is_not_shown(service: Service, host: str) -> None:
    for page in PAGES:
        answer = get(service, page, *FORWARDED, host=host)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert status(answer) < 500, (page, head)
        where = re.findall(rb"(?im)^location: *(.*?)\r?$", head)
        for one in where:
            assert re.match(rb"/(?![/\\])", one), (page, one)
        assert b"<script src=//" not in body
        assert all(OWN_COOKIE.fullmatch(one) for one in re.findall(rb"(?im)^set-cookie:.*", head))


def test_a_redirect_needs_nothing_of_the_request_but_its_path(service: Service) -> None:
    click = next(p for p in paths(tracked_urls(service.rewrite("raw", MAIL)["html"])) if "/c/" in p)
    for host in HOSTS:
        answer = get(service, click, *FORWARDED, host=host)
        assert b"\r\nlocation: https://good.example/\r\n" in answer.lower() or status(answer) == 400


TRICKS = (
    "/static/../../data/secrets.json",
    "/static/%2e%2e/%2e%2e/secrets.json",
    "/static/..%2f..%2fx",
    "/static/..%5c..%5csecrets.json",
    "/static/%c0%ae%c0%ae/secrets.json",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/%00",
    "/static/app.css%00.js",
    "/static/\xc0\xae\xc0\xae/",
    "/static/....//....//secrets.json",
    "/o/../login",
    "/o/%2e%2e/login",
    "/o/%2e%2e%2flogin",
    "/c/../../login",
    "/c/x/../../../secrets.json",
    "/c//",
    "/c/%2f/%2f",
    "/c/x/%00",
    "/o/%0d%0aX",
    "/c/x/%0d%0aSet-Cookie:%20a=b",
    "/u/%0d%0aSet-Cookie:%20a=b",
    "/u/..%2f..%2f",
    "/%",
    "/%zz",
    "/%ff%fe",
    "/\xff",
    "/newsletters/%00",
    "/newsletters/%0d%0aX:y/live",
    "/recipients/-1",
    "/recipients/99999999999999999999999",
    "/newsletters/%2e%2e%2f%2e%2e/export",
    "/v1/%2e%2e/",
    "/v1/newsletters/%ff",
    "/v1/newsletters/%00/stats",
    "/" + "a" * 30_000,
    "/?" + "a&" * 20_000,
    "/login?" + "next=" * 5000,
    "/" + "/" * 5000,
    "/" + "%2e/" * 5000,
    "*",
    "http://evil.example/",
    "http://evil.example/static/../secrets.json",
    "https://x:y@evil.example/",
    "javascript:x",
    "evil.example:443",
    "?",
    "#",
    "/#",
    "/;/login",
    "/login;x",
    "/./login",
    "/static/..",
)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"])
def test_a_trick_in_the_path_opens_nothing(service: Service, method: str) -> None:
    secrets = (b"secret_keys", b"root:", service.api_key.encode(), service.password.encode())
    key = f"Authorization: Bearer {service.api_key}"  # TRACE would give it back
    fields = f"Host: x\r\n{key}\r\nContent-Length: 0\r\nConnection: close"
    for target in TRICKS:
        answer = raw(service, f"{method} {target} HTTP/1.1\r\n{fields}\r\n\r\n")
        head = answer.partition(b"\r\n\r\n")[0]
        assert status(answer) < 500 and answers(answer) <= 1, (target, head)
        assert not any(secret in answer for secret in secrets), target
        lines = head.split(b"\r\n")[1:]
        assert all(re.match(rb"[a-z-]+: [ -~]*$", line) for line in lines), (target, head)
        cookies = [line for line in lines if line.startswith(b"set-cookie:")]
        assert all(map(OWN_COOKIE.fullmatch, cookies)), target
        assert not any(line.startswith(b"x:") for line in lines), target


def test_of_two_hosts_the_first_counts(service: Service) -> None:
    answer = get(service, "/login/", host=f"x\r\nHost: {EVIL}")
    assert status(answer) == 404 and EVIL.encode() not in answer


def test_a_visitor_is_who_connects_unless_a_trusted_proxy_tells(tmp_path: Path) -> None:
    for trusted, address in (("", "127.0.0.1"), ("127.0.0.1", "203.0.113.9")):
        folder = tmp_path / (trusted or "none")
        database = {"MAILWAKE_CLICKHOUSE_DSN": "clickhouse://127.0.0.1:1/x"}  # is away: lines stay
        own = {"MAILWAKE_TRUSTED_PROXIES": trusted, "MAILWAKE_VISITOR_ADDRESSES": "full"}
        with Service(folder, **own, **database) as service:
            (pixel,) = paths(tracked_urls(service.rewrite("raw", "<p>x</p>")["html"]))
            get(service, pixel, "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9")
            service.kill()
        lines = b"".join(path.read_bytes() for path in (folder / "journal").iterdir())
        assert f'"address":"{address}"'.encode() in lines


SECOND = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = "POST /v1/rewrite HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = {
    "both lengths": f"{POST}Content-Length: {5 + len(SECOND)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    f"0\r\n\r\n{SECOND}",
    "both, other order": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
    f"{len(SECOND):x}\r\n{SECOND}\r\n0\r\n\r\n",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: {len(SECOND)}\r\n\r\n{SECOND}",
    "a list of lengths": f"{POST}Content-Length: 0, {len(SECOND)}\r\n\r\n{SECOND}",
    "a signed length": f"{POST}Content-Length: +0\r\n\r\n{SECOND}",
    "a negative length": f"{POST}Content-Length: -1\r\n\r\n{SECOND}",
    "a huge length": f"{POST}Content-Length: 99999999999999999999\r\n\r\n{SECOND}",
    "a length in words": f"{POST}Content-Length: 0x0\r\n\r\n{SECOND}",
    "an unknown coding": f"{POST}Transfer-Encoding: xchunked\r\n\r\n{SECOND}",
    "chunked and more": f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{SECOND}",
    "two codings": f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"
    f"{SECOND}",
    "a space before the colon": f"{POST}Content-Length : {len(SECOND)}\r\n\r\n{SECOND}",
    "a folded field": f"{POST}X: y\r\n Content-Length: {len(SECOND)}\r\n\r\n{SECOND}",
    "a bare line feed": f"{POST}X: y\nContent-Length: {len(SECOND)}\r\n\r\n{SECOND}",
    "a bare return": f"{POST}X: y\rContent-Length: {len(SECOND)}\r\n\r\n{SECOND}",
    "a NUL in a field": f"{POST}Content-Length\x00: {len(SECOND)}\r\n\r\n{SECOND}",
    "a chunk too large": f"{POST}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{SECOND}",
    "a chunk of no size": f"{POST}Transfer-Encoding: chunked\r\n\r\n-1\r\n{SECOND}",
}


@pytest.mark.parametrize("trick", SMUGGLED)
def test_who_smuggles_is_refused(service: Service, trick: str) -> None:
    answer = raw(service, SMUGGLED[trick])
    assert (status(answer), answers(answer)) == (400, 1), answer


GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\r\n\r\n\r\n",
    b"\x00" * 1000,
    b"GET",
    b"\xff" * 9,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\r\n\r\n",
    b"get / http/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
    b"POST /v1/rewrite HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort",
)


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_harms_nothing(service: Service, number: int) -> None:
    answer = raw(service, GARBAGE[number], silent=0.5)  # some of it is never answered
    assert status(answer) < 500, answer
