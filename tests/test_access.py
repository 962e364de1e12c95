from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from app import access
from app.access import Throttle, ThrottledError, cookie, csrf, local_path, set_cookie


def tries(throttle: Throttle, address: str, name: str, count: int) -> None:
    for _ in range(count):
        throttle.check(address, name)
        throttle.wrong(address, name)


def test_wrong_passwords_make_an_address_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle = Throttle()
    tries(throttle, "a", "ann", access.FREE_TRIES)
    with pytest.raises(ThrottledError) as caught:
        throttle.check("a", "bob")
    assert 0 < caught.value.seconds <= access.WAIT_SECONDS + 1
    throttle.check("b", "ann")
    monkeypatch.setattr(access, "WAIT_SECONDS", 0)
    throttle.check("a", "ann")


def test_wrong_passwords_from_many_addresses_make_a_name_wait() -> None:
    throttle = Throttle()
    for number in range(access.FREE_TRIES_OF_NAME):
        tries(throttle, str(number), "ann", 1)
    with pytest.raises(ThrottledError):
        throttle.check("elsewhere", "ann")
    throttle.check("elsewhere", "bob")
    throttle.right("x", "ann")
    throttle.check("elsewhere", "ann")


def test_whoever_has_an_ipv6_address_has_its_64_bits_of_them() -> None:
    throttle = Throttle()
    for number in range(access.FREE_TRIES):
        tries(throttle, f"2001:db8::{number:x}", "ann", 1)
    with pytest.raises(ThrottledError):
        throttle.check("2001:db8::ffff", "bob")
    throttle.check("2001:db8:0:1::1", "bob")
    assert access.neighbourhood("::ffff:192.0.2.7") == "192.0.2.7"


def test_the_memory_of_wrong_passwords_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REMEMBERED", 10)
    throttle = Throttle()
    for number in range(50):
        throttle.wrong(str(number), str(number))
    assert len(throttle._wrong) == 10


def request(scheme: str, cookies: str = "") -> Request:
    scope: dict[str, Any] = {
        "type": "http", "scheme": scheme, "path": "/", "query_string": b"", "method": "GET",
        "server": ("mailwake.example", 443), "headers": [(b"cookie", cookies.encode())],
    }  # fmt: skip
    return Request(scope)


def test_over_https_a_cookie_has_a_name_that_only_this_host_can_set() -> None:
    response = Response()
    set_cookie(request("https"), response, "x", "value")
    set_ = response.headers["set-cookie"]
    assert set_.startswith("__Host-x=value;")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=lax"):
        assert part in set_
    assert "Domain" not in set_
    assert cookie(request("https", "__Host-x=1; x=2"), "x") == "1"
    assert cookie(request("https", "x=2"), "x") == ""
    assert cookie(request("http", "x=2"), "x") == "2"


def test_a_forms_token_follows_from_its_cookie_and_does_not_give_it_away() -> None:
    assert csrf("secret") == csrf("secret") != csrf("other")
    assert "secret" not in csrf("secret") and len(csrf("secret")) == 32


@pytest.mark.parametrize(
    ("path", "leads"),
    [("/tags?x=1", "/tags?x=1"), ("//evil.example", "/"), ("/\\evil.example", "/"),
     ("https://evil.example", "/"), ("javascript:x", "/"), ("/a\nb", "/"), ("", "/")],
)  # fmt: skip
def test_after_login_nobody_leaves_the_site(path: str, leads: str) -> None:
    assert local_path(path) == leads
