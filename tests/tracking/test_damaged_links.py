"""Damaged links over the wire, where the server has decoded the path once."""

import http.client
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

HTML = '<body><a href="https://example.com/a?b=c">A</a></body>'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("damaged") / "data") as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def mail(service: Service) -> dict[str, Any]:
    return service.rewrite("damaged", HTML)


def ask(service: Service, target: str, method: str = "GET") -> tuple[int, str]:
    """Status and Location; the target goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_SECONDS)
    form = {"content-type": "application/x-www-form-urlencoded"} if method == "POST" else {}
    body = "List-Unsubscribe=One-Click" if method == "POST" else None
    connection.request(method, target, body, form)
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.headers.get("location", "")


def encoded(path: str, characters: str, sign: str = "%") -> str:
    return path[:3] + "".join(f"{sign}{ord(c):02X}" if c in characters else c for c in path[3:])


def test_damaged_links_and_pixels_redirect_and_count(
    service: Service, mail: dict[str, Any]
) -> None:
    click, pixel = sorted(paths(tracked_urls(mail["html"])))
    targets = [
        f"{click}{damage}"
        for damage in (
            *").,>;:!/=]'",
            "%22",
            "...",
            "%20",
            "%22%3E",
            "%E2%80%9D",
            "%E2%80%A6",
            "%93",
            "&gt;",
            "&quot;",
            "=0D",
            "=3D",
            "%3D%0D%0A",
            "%26gt%3B",
            "%2522",
            "?utm_source=x",
        )
    ]
    targets += [
        encoded(click, "-_"),
        encoded(click, "-_/"),
        encoded(click, "-_", "%25"),
        encoded(click, click),
        encoded(click, "-_") + "%29",
    ]
    for target in targets:
        assert ask(service, target) == (302, "https://example.com/a?b=c"), target
    pixels = [f"{pixel}{damage}" for damage in ("%22", ")", "=", "&quot;", "/")]
    pixels += [encoded(pixel, "-_."), encoded(pixel, "-_", "%25")]
    for target in pixels:
        assert ask(service, target)[0] == 200
    for target in (
        f"{click}/x",
        f"{click}%2Fx",
        f"{click[:-1]}.",
        f"{click}%E3%81%82",
        f"{click}-",
    ):
        assert ask(service, target) == (404, ""), target
    service.drained()
    stats = service.stats("damaged")
    assert stats["clicks"]["all"]["total"] == len(targets)
    assert stats["opens"]["all"]["total"] == len(pixels)


def test_damaged_unsubscribe_links_work(service: Service, mail: dict[str, Any]) -> None:
    url = re.search(r"/u/[\w-]+", mail["headers"]["List-Unsubscribe"])
    assert url
    for damage in ("/", ")", "%3E", "&gt;", "=", "%22", "="):
        assert ask(service, url[0] + damage)[0] == 200
    for damage in ("x", "/x", "%2Fx", "-"):
        assert ask(service, url[0] + damage)[0] == 404
        assert ask(service, url[0] + damage, "POST")[0] == 404
    assert ask(service, f"{url[0]}%3E", "POST")[0] == 200
    service.drained()
    assert service.stats("damaged")["unsubscribes"] == 1
