"""`make docs`: the site is built strictly, leads nowhere wrong, and asks nobody for anything."""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.support.browser import chromium
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    return subprocess.run(
        [*command, "-f", "zensical.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pages, and the site beside them."""
    folder = tmp_path_factory.mktemp("site") / "docs"
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("site", ".cache"))
    done = build(folder)
    told = re.sub(r"\x1b\[[\d;]*m", "", done.stdout).partition("Traceback")[0]
    assert done.returncode == 0, told
    return folder


class Page(HTMLParser):
    """What a built page refers to, what it loads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif (tag, name) in LOADS and value:
                self.loads.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.refers.append(value)


@pytest.fixture(scope="module")
def pages(docs: Path) -> dict[str, Page]:
    """By their path in the site."""
    site = docs / "site"
    return {
        str(path.relative_to(site)): Page(path.read_text())
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def test_every_page_is_in_the_navigation_and_the_other_way_round() -> None:
    def leaves(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        for below in node.values() if isinstance(node, dict) else node if node != str(node) else ():
            yield from leaves(below)

    nav = tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["nav"]
    named = list(leaves(nav))
    there = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if "site" not in path.parts]
    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("change", ["[gone](gone.md)", "[gone](counting.md#gone)"])
def test_a_broken_link_or_anchor_fails_the_build(docs: Path, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "docs"
    shutil.copytree(docs, folder, ignore=shutil.ignore_patterns("site", ".cache"))
    (folder / "index.md").write_text(change)
    assert build(folder).returncode != 0


def test_every_address_within_the_site_leads_somewhere(docs: Path, pages: dict[str, Page]) -> None:
    assert len(pages) > 20
    for name, page in pages.items():
        for address in (*page.refers, *page.loads):
            parts = urlsplit(urljoin(f"http://site/{name}", address))
            if parts.netloc != "site":
                continue
            path = unquote(parts.path).lstrip("/")
            path += "index.html" if path.endswith("/") or not path else ""
            assert (docs / "site" / path).is_file(), f"{name}: {address}"
            if parts.fragment and path in pages:
                assert unquote(parts.fragment) in pages[path].ids, f"{name}: {address}"


def test_no_page_loads_anything_from_elsewhere(docs: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for address in page.loads:
            assert not urlsplit(address).netloc, f"{name}: {address}"
    for path in docs.rglob("site/**/*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text()), path


def test_a_browser_asks_nobody_else(docs: Path) -> None:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(docs / "site"))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/"
        asked: list[str] = []
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: asked.append(f"error: {error}"))
        for path in ("", "tutorial/", "reference/api/", "howto/django/"):
            page.goto(here + path, wait_until="networkidle")
        server.shutdown()
    assert len(asked) > 8
    assert [url for url in asked if not url.startswith((here, "data:"))] == []
