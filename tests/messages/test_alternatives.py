"""One message, several bodies: a URL that one of them leaves alone is left alone in all."""

import json
import random
import re
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import pytest

from tests.support.service import Service

HTML = (
    '<a data-track="off" href="https://x.example/reset?a=1&amp;b=2">New password</a>'
    '<a href="https://x.example/q/1">Unsubscribe</a><a href="https://x.example/q/2">here</a>'
    '<a href="https://x.example/shop">Shop</a>'
)
TEXT = (
    "Password: https://x.example/reset?a=1&b=2\nLeave: https://x.example/q/1\n"
    "To unsubscribe: https://x.example/q/2\nShop: https://x.example/shop\n"
)
LEFT = ("https://x.example/reset", "https://x.example/q/1", "https://x.example/q/2")
MIME = (
    "X-Mailwake-Newsletter: alternatives\r\nX-Mailwake-Track: opens, clicks%s\r\n"
    "To: ann@example.com\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n"
    "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n%s\r\n--b--\r\n"
)


def by_api(service: Service, text: bool) -> list[str]:
    body = {
        "newsletter": {"id": "alternatives"},
        "recipient": "ann@example.com",
        "html": HTML,
        "text": TEXT,
        "tracking": {"text": text},
    }
    answer = service.client.post("/v1/rewrite", json=body).json()
    return [answer["html"], answer["text"]]


def by_template(service: Service, text: bool) -> list[str]:
    body = {"html": HTML, "text": TEXT, "tracking": {"text": text}}
    assert service.client.post("/v1/newsletters/alt/template", json=body).status_code == 200
    line = b'{"recipient": "ann@example.com"}\n'
    answer = service.client.post("/v1/newsletters/alt/messages", content=line)
    made: dict[str, Any] = json.loads(answer.text.splitlines()[0])
    return [made["html"], made["text"]]


def by_mime(service: Service, text: bool) -> list[str]:
    message = MIME % (", text" if text else "", TEXT.replace("\n", "\r\n"), HTML)
    answer = service.client.post("/v1/rewrite/mime", content=message.encode())
    assert answer.status_code == 200, answer.text
    bodies = answer.text.replace("\r\n", "\n").split("--b\n")
    return [bodies[2], bodies[1]]


@pytest.mark.parametrize("way", [by_api, by_template, by_mime])
@pytest.mark.parametrize("text", [True, False])
def test_one_decision_for_all_alternatives(service: Service, way: Any, text: bool) -> None:
    html, plain = way(service, text)
    assert [url in html and url in plain for url in LEFT] == [True, True, True]
    assert html.count("/c/") == 1 and plain.count("/c/") == text
    assert "https://x.example/shop" not in html
    assert ("https://x.example/shop" in plain) != text


def whole(service: Service, shared: Path, name: str) -> bytes:
    message = (shared / "cases" / "rewriter" / name).read_bytes()
    answer = service.client.post("/v1/rewrite/mime", content=message)
    assert answer.status_code == 200, answer.text
    return bytes(answer.content)


def places(service: Service, message: bytes) -> list[str]:
    """Where the tracked links of a message lead."""
    paths = re.findall(rb"/c/[\w-]+/[\w-]+", message)
    answers = [service.client.get(path.decode(), follow_redirects=False) for path in paths]
    return [answer.headers["location"] for answer in answers]


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("04-iso-2022-jp-nec.eml", ["https://x.example/a"]),
        (
            "05-utf8-labelled-latin1-query.eml",
            ["https://x.example/?q=%C3%81lvaro&r=%D1%81%D0%BE%D0%BD%D1%8F"],
        ),
        ("06-windows-31j-path.eml", ["https://x.example/%E3%83%86%E3%82%B9%E3%83%88?q=%81B"]),
        (
            "07-text-url-in-brackets.eml",
            ["https://x.example/t/QUE9PQ__", "https://x.example/f/AAAA~"],
        ),
        ("08-opt-out-not-in-text.eml", []),
    ],
)
def test_messages_that_were_rewritten_wrongly(
    service: Service, shared: Path, name: str, targets: list[str]
) -> None:
    message = whole(service, shared, name)
    assert places(service, message) == targets
    if name.startswith("04"):
        assert b"\x1b$B-!%F%9%H\x1b(B" in message and b"\x1b$B%F%9%H\x1b(B</a>" in message
    if name.startswith("07"):
        assert re.findall(rb"<https?://[^\s<>]+/c/[\w-]+/[\w-]+>\r?\n", message)


def test_a_link_that_is_too_long_once_signed_is_not_recorded(service: Service) -> None:
    rng = random.Random(1)
    path = "".join(rng.choices(ascii_letters + digits, k=1_900))
    html = f'<a href="https://x.example/{path}">long</a><a href="https://x.example/b">short</a>'
    text = f"https://x.example/{path} https://x.example/c"
    report = service.rewrite("too-long", html, text=text, tracking={"text": True})
    assert [link["reason"] for link in report["links"]] == ["too_long", None]
    assert path in report["html"] and path in report["text"]
    assert report["html"].count("/c/") == report["text"].count("/c/") == 1
    service.drained()
    links = service.get("/v1/newsletters/too-long/links")["links"]
    assert sorted(link["url"] for link in links) == ["https://x.example/b", "https://x.example/c"]
