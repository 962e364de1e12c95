"""Nobody gets our place in the network: addresses, names that change, redirects, time and bytes."""

import asyncio
import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from app.events import safe_http
from app.events.safe_http import (
    Answer,
    DeliveryError,
    RequestBlockedError,
    check,
    is_public,
    retry_after,
    safe_post,
)
from tests.support.webhook_receiver import receiver

HERE = (ipaddress.ip_network("127.0.0.0/8"),)


def asked(url: str, *networks: Any, seconds: float = 15) -> Answer:
    return asyncio.run(safe_post(url, b"{}", {"x-own": "1"}, networks, seconds))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "192.0.0.192",
        "192.0.0.9",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "3fff::1",
        "5f00::1",
        "100::1",
        "::7f00:1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::a00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "2001:0:4136:e378::1",
    ],
)
def test_only_public_addresses_are_permitted(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111"])
def test_public_ones_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_nothing_that_is_not_global_is_permitted(address: ipaddress.IPv4Address) -> None:
    if is_public(address):
        assert address.is_global and not address.is_multicast


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "https://user:p@example.com/",
        "http://a b/",
        "http://example.com:port/",
        "//example.com",
        "gopher://x",
        "http://[::1",
        "http://exa\nmple.com/",
        "https://exämple.com/",
        "http:\\\\example.com",
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(RequestBlockedError):
        check(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_ways_to_write_this_machine_are_refused(host: str) -> None:
    with receiver() as there, pytest.raises(DeliveryError, match="no public IP address"):
        asked(there.url.replace("127.0.0.1", host))
    assert there.requests == []


def test_a_name_is_resolved_once_and_all_it_says_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [["93.184.216.34", "127.0.0.1"], ["127.0.0.1"]]
    seen = []

    def lie(host: str, port: int, **_: Any) -> list[Any]:
        seen.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in answers[len(seen) - 1]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lie)
    with receiver() as there:
        url = there.url.replace("127.0.0.1", "rebound.example")
        with pytest.raises(DeliveryError, match=r"^rebound\.example has no public IP address$"):
            asked(url)
        assert (seen, there.requests) == (["rebound.example"], [])
        # Allowed, it goes to the address that was looked at: nothing resolves the name again.
        assert asked(url, *HERE).status == 204
        assert len(seen) == 2
        assert there.requests[0][1]["host"].startswith("rebound.example:")


@pytest.fixture
def public_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets receivers on this machine be any on the internet."""
    others = [network for network in safe_http.NOT_PUBLIC if network not in HERE]
    monkeypatch.setattr(safe_http, "NOT_PUBLIC", others)


def test_nothing_is_said_of_a_private_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not exist and one that leads inside are told apart by nobody."""
    names = {"internal.example": "10.0.0.5"}

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        if host not in names:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[host], port))]

    said = set()
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", resolve)
        for host in ("internal.example", "nowhere.example"):
            with pytest.raises(DeliveryError) as caught:
                asked(f"https://{host}/")
            said.add(str(caught.value).replace(host, ""))
    assert said == {" has no public IP address"}
    with receiver() as there:
        there.answers = [(200, {}), (500, {}), "endless", "reset"]
        for status in (200, 500, 200):
            answer = asked(there.url, *HERE)
            assert (answer.status, answer.text) == (status, "")
        with pytest.raises(DeliveryError, match=r"^\w+$"):
            asked(there.url, *HERE)


@pytest.mark.usefixtures("public_loopback")
@pytest.mark.parametrize(
    ("name", "days", "says"),
    [
        ("hook.example", 10, ""),
        ("hook.example", -1, "expired"),
        ("other.example", 10, "Hostname mismatch|not valid for"),
    ],
)
def test_a_certificate_must_be_of_the_name_and_of_today(
    monkeypatch: pytest.MonkeyPatch, name: str, days: int, says: str
) -> None:
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    monkeypatch.setattr(safe_http, "_trusted", lambda: trusted)
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda _, port, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
    )
    now = datetime.now(UTC)
    issued = authority.issue_cert(
        name, not_before=now - timedelta(days=20), not_after=now + timedelta(days=days)
    )
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(served)
    with receiver(served) as there:
        url = there.url.replace("127.0.0.1", "hook.example")
        if not says:
            assert asked(url).status == 204
            assert there.requests[0][1]["host"].startswith("hook.example:")
            return
        with pytest.raises(DeliveryError, match=says):
            asked(url)
        assert there.requests == []


def test_redirects_are_not_followed() -> None:
    with receiver() as there:
        there.answers = [(302, {"location": "http://169.254.169.254/latest/meta-data/"})]
        assert asked(there.url, *HERE).status == 302
        assert len(there.requests) == 1


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with receiver() as there:
        assert asked(there.url, *HERE).status == 204


@pytest.mark.usefixtures("public_loopback")
def test_bytes_and_time_are_bounded() -> None:
    with receiver() as there:
        there.answers = ["endless", "drip", "reset"]
        assert len(asked(there.url).text) == 2048
        with pytest.raises(DeliveryError, match="no response in 1 seconds"):
            asked(there.url, seconds=1)
        with pytest.raises(DeliveryError, match="Error"):
            asked(there.url)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("120") == 120
    at = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after(format_datetime(at, usegmt=True)) == pytest.approx(90, abs=5)
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    for nothing in ("", "soon", "-5", "9" * 400 + "x"):
        assert retry_after(nothing) is None
