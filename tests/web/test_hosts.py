"""Recipients' host serves recipients; every answer carries safe headers."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.service import Service, paths, tracked_urls

PUBLIC, CONSOLE = "click.example", "console.example"
PAGES = (
    "/",
    "/login",
    "/docs",
    "/openapi.json",
    "/healthz/full",
    "/status",
    "/metrics",
    "/webhooks",
    "/segments",
    "/tags",
    "/recipients",
    "/newsletters/x",
    "/none",
)
MAIL = '<body><a href="https://example.com/">x</a></body>'


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("apart") / "data"
    env = {
        "MAILWAKE_PUBLIC_URL": f"https://{PUBLIC}",
        "MAILWAKE_DASHBOARD_URL": f"https://{CONSOLE}",
    }
    with Service(folder, **env) as running:
        console = {"host": CONSOLE}
        running.wait_for(
            lambda: running.client.get("/healthz/full", headers=console).is_success,
            "tables",
        )
        yield running


def ask(service: Service, host: str, path: str, method: str = "GET", **more: Any) -> Any:
    return service.client.request(method, path, headers={"host": host}, **more)


def routes(service: Service) -> list[tuple[str, str]]:
    """Every page, and every method and path of the API."""
    document = service.client.get("/openapi.json").json()
    api = [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in document["paths"].items()
        for method in methods
        if path not in ("/v1/events/stream", "/healthz", "/readyz")
    ]
    assert len(api) > 30
    return [*api, *(("GET", path) for path in PAGES), ("POST", "/login"), ("POST", "/logout")]


def test_the_recipients_host_has_no_dashboard_and_no_api(apart: Service) -> None:
    for method, path in routes(apart):
        for host in (PUBLIC, PUBLIC.upper()):
            answer = ask(apart, host, path, method)
            assert (answer.status_code, answer.text) == (404, "Not found\n"), path
        assert ask(apart, CONSOLE, path, method).text != "Not found\n", path


def test_recipients_are_served_there(apart: Service) -> None:
    body = {"newsletter": {"id": "apart"}, "recipient": "a@example.com", "html": MAIL}
    made = ask(apart, CONSOLE, "/v1/rewrite", "POST", json=body).json()
    assert f"https://{PUBLIC}/o/" in made["html"] and CONSOLE not in made["html"]
    away = made["headers"]["List-Unsubscribe"].strip("<>").removeprefix(f"https://{PUBLIC}")
    html = made["html"].replace(f"https://{PUBLIC}", "http://127.0.0.1:1")
    click, pixel = sorted(paths(tracked_urls(html)))
    assert ask(apart, PUBLIC, click).headers["location"] == "https://example.com/"
    assert ask(apart, PUBLIC, pixel).headers["content-type"] == "image/gif"
    page = ask(apart, PUBLIC, away)
    assert page.status_code == 200 and "<button" in page.text
    assert ask(apart, PUBLIC, "/static/app.css").status_code == 200
    for path in ("/healthz", "/readyz"):
        assert ask(apart, PUBLIC, path).status_code == 200
    done = ask(apart, PUBLIC, away, "POST", data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200


def test_every_answer_is_safe_by_its_headers(apart: Service) -> None:
    for method, path in [*routes(apart), ("GET", "/u/x"), ("GET", "/healthz")]:
        for host in (CONSOLE, PUBLIC):
            headers = ask(apart, host, path, method).headers
            assert headers["x-content-type-options"] == "nosniff", path
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"], path
            assert headers["referrer-policy"] in ("no-referrer", "same-origin"), path
            assert headers["strict-transport-security"] == "max-age=31536000", path


def test_without_https_nothing_is_promised(service: Service) -> None:
    answer = service.client.get("/login")
    assert "strict-transport-security" not in answer.headers
    assert answer.status_code == 200


def test_links_to_the_dashboard_lead_to_it(apart: Service) -> None:
    assert f"curl https://{CONSOLE}/v1/rewrite" in ask(apart, CONSOLE, "/docs").text
