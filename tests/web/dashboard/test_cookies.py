import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from app.web.dashboard.cookies import cookie, drop_cookie, set_cookie
from app.web.dashboard.forms import SESSION
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service


def request(scheme: str, cookies: str = "", dashboard_is_https: bool = False) -> Request:
    app = Starlette()
    app.state.dashboard_is_https = dashboard_is_https
    scope: dict[str, Any] = {
        "type": "http",
        "app": app,
        "scheme": scheme,
        "path": "/",
        "query_string": b"",
        "method": "GET",
        "server": ("mailwake.example", 443),
        "headers": [(b"cookie", cookies.encode())],
    }
    return Request(scope)


@pytest.mark.parametrize(("scheme", "dashboard_is_https"), [("https", False), ("http", True)])
def test_with_https_a_cookie_has_a_name_that_only_this_host_can_set(
    scheme: str, dashboard_is_https: bool
) -> None:
    response = Response()
    set_cookie(request(scheme, "", dashboard_is_https), response, "x", "value")
    set_ = response.headers["set-cookie"]
    assert set_.startswith("__Host-x=value;")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=lax"):
        assert part in set_
    assert "Domain" not in set_
    assert cookie(request(scheme, "__Host-x=1; x=2", dashboard_is_https), "x") == "1"
    assert cookie(request(scheme, "x=2", dashboard_is_https), "x") == ""


def test_without_https_a_browser_takes_the_cookie_too() -> None:
    response = Response()
    set_cookie(request("http"), response, "x", "value")
    assert response.headers["set-cookie"].startswith("x=value;")
    assert "Secure" not in response.headers["set-cookie"]
    assert cookie(request("http", "x=2"), "x") == "2"


def test_a_cookie_is_dropped_under_the_name_that_it_was_set_by() -> None:
    for scheme, name in (("https", "__Host-x"), ("http", "x")):
        response = Response()
        drop_cookie(request(scheme), response, "x")
        assert response.headers["set-cookie"].startswith(f'{name}="";')
        assert "Max-Age=0" in response.headers["set-cookie"]


def test_every_cookie_is_set_here() -> None:
    """So that none can lack the prefix."""
    setting = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "app").rglob("*.py")
        if re.search(r"\.set_cookie\(|set-cookie", path.read_text(), re.IGNORECASE)
    ]
    assert setting == ["app/web/dashboard/cookies.py"]


@pytest.fixture(scope="module")
def behind_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose URL is https, behind a proxy that TRUSTED_PROXIES does not name."""
    folder = tmp_path_factory.mktemp("behind-tls") / "data"
    with Service(folder, MAILWAKE_DASHBOARD_URL="https://mailwake.example") as running:
        yield running


def test_where_the_dashboards_url_is_https_every_cookie_is_secure(behind_tls: Service) -> None:
    url, proxied = behind_tls.url, {"host": "mailwake.example"}
    with httpx2.Client(base_url=url, trust_env=False, timeout=PATIENCE_SECONDS) as proxy:
        sent: dict[str, str] = {}

        def ask(method: str, path: str, **more: Any) -> httpx2.Response:
            header = {"cookie": "; ".join(f"{name}={value}" for name, value in sent.items())}
            answer = proxy.request(method, path, headers={**proxied, **header}, **more)
            proxy.cookies.clear()
            for text in answer.headers.get_list("set-cookie"):
                name, _, value = text.partition(";")[0].partition("=")
                assert name.startswith("__Host-"), text
                attributes = set(text.split("; "))
                assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= attributes, text
                sent[name] = value
            return answer

        token = re.search(r'name="csrf" value="(\w+)"', ask("GET", "/login").text)
        assert token
        form = {"csrf": token[1], "name": "admin", "password": behind_tls.password}
        assert ask("POST", "/login", data=form).status_code == 303
        assert ask("GET", "/account").status_code == 200
        assert len(sent) >= 2
        session = sent.pop(f"__Host-{SESSION}")
        sent[SESSION] = session  # as an earlier version named it
        assert ask("GET", "/account").status_code == 303
        del sent[SESSION]
        sent[f"__Host-{SESSION}"] = session
        page = ask("GET", "/account").text
        token = re.search(r'action="/logout".*?name="csrf" value="(\w+)"', page)
        assert token
        left = ask("POST", "/logout", data={"csrf": token[1]})
        assert (left.status_code, left.headers["clear-site-data"]) == (303, '"cache", "storage"')
        assert ask("GET", "/account").status_code == 303
