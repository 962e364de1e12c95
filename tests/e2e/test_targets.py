"""Where redirects lead: where a browser would have gone without us, whatever a mail says."""

import base64
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from app.rewriting.html import compile_html
from app.rewriting.links import Options
from tests.e2e.test_dashboard import browser
from tests.support.hostile_urls import HOSTILE, document, made_up
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service
from tests.support.smtp_gateway import gateway
from tests.support.smtp_server import inbox

__all__ = ["browser"]

US = "https://t.example"
BASES = [
    "",
    "https://base.example/d/p?q#z",
    "http://u:p@base.example:81\\d\\..",
    "https:base.example",
]
# For each link: where a browser goes, and how it reads our target; null where it goes nowhere.
READ = """([html, targets]) => {
    const read = (url, base) => { try { return new URL(url, base).href } catch { return null } };
    const page = new DOMParser().parseFromString(html, "text/html");
    const base = page.querySelector("base")?.href || undefined;
    return [...page.querySelectorAll("a")].map((a, n) =>
        [read(a.getAttribute("href"), base), targets[n] && read(targets[n])]);
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


def gone_to(page: Page, html: bytes, targets: list[str | None]) -> list[tuple[str | None, Any]]:
    found = page.evaluate(READ, [html.decode(), targets])
    assert len(found) == len(targets)
    return [(went, ours) for went, ours in found]


def same(went: str | None, ours: str | None) -> bool:
    """Chromium lets a NUL behind a character reference stand, the standard replaces it."""
    return went == ours or (went or "").replace("%00", "%EF%BF%BD") == ours


@pytest.mark.parametrize("base", BASES)
def test_a_target_is_where_the_browser_would_have_gone(page: Page, base: str) -> None:
    hrefs = (*HOSTILE, *made_up(2000))
    html = document(hrefs, base)
    links = compile_html(html, Options(opens=False), lambda _: "t", US, "utf-8").links
    assert len(links) == len(hrefs)
    targets = [link.target if link.tracked else None for link in links]
    assert sum(target is not None for target in targets) > 300
    for link, (went, ours) in zip(links, gone_to(page, html, targets), strict=True):
        if link.tracked:
            assert same(went, ours), (link.url, link.target)
        if went and not went.startswith(("http:", "https:")):
            assert not link.tracked, link.url


def by_api(service: Service, html: bytes, _: Path) -> bytes:
    return str(service.rewrite("aimed", html.decode())["html"]).encode()


def mail(html: bytes) -> bytes:
    head = (
        b"From: a@example.com\r\nTo: b@example.com\r\nX-Mailwake-Newsletter: aimed\r\n"
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return head + base64.encodebytes(html).replace(b"\n", b"\r\n")


def body(message: bytes) -> bytes:
    return base64.b64decode(message.partition(b"\r\n\r\n")[2])


def by_mime(service: Service, html: bytes, _: Path) -> bytes:
    answer = service.client.post(
        "/v1/rewrite/mime", content=mail(html), headers={"content-type": "message/rfc822"}
    )
    assert answer.status_code == 200, answer.text
    return body(bytes(answer.content))


def by_template(service: Service, html: bytes, _: Path) -> bytes:
    kept = service.client.post("/v1/newsletters/aimed/template", json={"html": html.decode()})
    assert kept.status_code == 200, kept.text
    answer = service.client.post(
        "/v1/newsletters/aimed/messages", content=b'{"recipient": "b@example.com"}\n'
    )
    (line,) = answer.text.splitlines()
    return str(json.loads(line)["html"]).encode()


def by_smtp(service: Service, html: bytes, _: Path) -> bytes:
    with inbox() as box:
        env = {"MAILWAKE_PUBLIC_URL": service.url}
        with gateway(service.data_dir, f"smtp://127.0.0.1:{box.port}", **env) as between:
            assert between.send(mail(html)).startswith("250")
    return body(box.raw[0])


@pytest.mark.parametrize("way", [by_api, by_mime, by_template, by_smtp])
def test_on_every_way_a_location_is_one_header_and_leads_there(
    page: Page, service: Service, tmp_path: Path, way: Callable[[Service, bytes, Path], bytes]
) -> None:
    html = document(HOSTILE)
    written = re.findall(rb'<a href="([^"]*)"', html)
    sent = re.findall(rb'<a href="([^"]*)"', way(service, html, tmp_path))
    assert len(written) == len(sent) == len(HOSTILE)
    targets: list[str | None] = []
    for before, after in zip(written, sent, strict=True):
        targets.append(None if after == before else location(service, after))
    assert sum(target is not None for target in targets) > 40
    for before, (went, ours) in zip(written, gone_to(page, html, targets), strict=True):
        if ours is not None:
            assert went and went.startswith(("http:", "https:")) and same(went, ours), before


def location(service: Service, link: bytes) -> str:
    """Of a raw answer, whose every line is one that is meant to be there."""
    path = link.decode().removeprefix(service.url)
    assert path.startswith("/c/"), link
    with socket.create_connection(
        ("127.0.0.1", service.port), timeout=PATIENCE_SECONDS
    ) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as file:
            head, _, rest = file.read().partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert status == b"HTTP/1.1 302 Found" and rest == b""
    assert sorted(name.lower() for name in fields) == [
        b"cache-control",
        b"connection",
        b"content-length",
        b"date",
        b"location",
        b"referrer-policy",
        b"x-content-type-options",
        b"x-robots-tag",
    ]
    assert len(lines) == len(fields) and re.fullmatch(
        rb"https?://[!-~]+", fields[b"location"], re.I
    )
    return fields[b"location"].decode()
