from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.web.dashboard.cookies import cookie, drop_cookie, set_cookie


def request(scheme: str, cookies: str = "") -> Request:
    scope: dict[str, Any] = {
        "type": "http",
        "scheme": scheme,
        "path": "/",
        "query_string": b"",
        "method": "GET",
        "server": ("mailwake.example", 443),
        "headers": [(b"cookie", cookies.encode())],
    }
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


def test_a_cookie_is_dropped_under_the_name_that_it_was_set_by() -> None:
    for scheme, name in (("https", "__Host-x"), ("http", "x")):
        response = Response()
        drop_cookie(request(scheme), response, "x")
        assert response.headers["set-cookie"].startswith(f'{name}="";')
        assert "Max-Age=0" in response.headers["set-cookie"]
