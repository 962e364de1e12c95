from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from app.web.dashboard.cookies import cookie, set_cookie
from app.web.dashboard.forms import csrf, local_path


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


def test_a_forms_token_follows_from_its_cookie_and_does_not_give_it_away() -> None:
    assert csrf("secret") == csrf("secret") != csrf("other")
    assert "secret" not in csrf("secret") and len(csrf("secret")) == 32


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/tags?x=1", "/tags?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:x", "/"),
        ("/a\nb", "/"),
        ("", "/"),
    ],
)
def test_after_login_nobody_leaves_the_site(path: str, leads: str) -> None:
    assert local_path(path) == leads
