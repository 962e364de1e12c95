"""The pixel moves nothing: a mail looks the same with it, to the last pixel of the screen."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from app.rewriting import mime
from app.rewriting.html import compile_html
from app.rewriting.links import Options
from app.tracking.tracker import GIF
from tests.e2e.test_dashboard import browser
from tests.support.paths import DATA

__all__ = ["browser"]

US = "https://t.example"
Body = tuple[str, bytes, str | None]  # of a mail: its name, HTML and charset
LONG = "MAILWAKE_TORTURE" in os.environ
pytestmark = [pytest.mark.torture] if LONG else []
FIXTURES = DATA / "rewrite"
TABLE = (
    b'<!doctype html><body style="margin:0"><table width="100%%" bgcolor="#222222"><tr>'
    b'<td height="100"><a href="https://x.example/a">a</a></td></tr></table>%s</body></html>'
)
LAYOUTS = {
    "a table to the edge": TABLE % b"",
    "margins that collapse": TABLE % b"<p style='margin:40px'>x</p>",
    "text at the end": TABLE % b"Bye",
    "a float at the end": TABLE % b"<img style='float:right' width=90 height=90>",
    "an open table": TABLE.replace(b"</table>", b"") % b"",
    "right to left": TABLE.replace(b"<body", b"<body dir=rtl") % b"Bye",
    "images as blocks": b"<style>img{display:block!important;width:100%!important;height:auto!"
    b"important;margin:9px!important;float:right!important}</style>" + TABLE % b"",
    "quirks": b"<body bgcolor=red text=white><center>x",
}

# A float is an item of these like any other.
ABSOLUTE_ONLY = {
    "a flexible body": TABLE.replace(b"margin:0", b"display:flex;gap:9px") % b"<i>x</i>",
    "a grid": TABLE.replace(b"margin:0", b"display:grid;gap:9px") % b"<i>x</i>",
}


class Mails:
    """Shows mails; of each other's URLs nothing is loaded, of the pixel's a GIF if asked for."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._html, self._charset, self._images = b"", "utf-8", False
        self.loaded = 0
        page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        kind = route.request.resource_type
        if kind == "document":
            headers = {"content-type": f"text/html; charset={self._charset}"}
            route.fulfill(headers=headers, body=self._html)
        elif kind == "image" and self._images:
            self.loaded += route.request.url.startswith(US)
            route.fulfill(headers={"content-type": "image/gif"}, body=GIF)
        else:
            route.abort()

    def shown(self, html: bytes, charset: str | None, images: bool) -> bytes:
        self._html, self._charset, self._images = html, charset or "utf-8", images
        self._page.goto("http://mail.example/")
        return self._page.screenshot(full_page=True)


@pytest.fixture(scope="module")
def mails(browser: Browser) -> Iterator[Mails]:
    context = browser.new_context(viewport={"width": 640, "height": 480}, java_script_enabled=False)
    yield Mails(context.new_page())
    context.close()


def unmoved(mails: Mails, html: bytes, charset: str | None, name: str, gmail: bool = True) -> None:
    """With images and without, with the pixel at the end and at the top.

    Gmail, for one, takes `position` out of styles (caniemail.com/features/css-position).
    """
    for images in (False, True):
        before = mails.shown(html, charset, images)
        for top in (False, True):
            options = Options(clicks=False, pixel_top=top)
            mail = compile_html(html, options, lambda _: "", US, charset).personalise(b"M")
            assert mail != html
            floats = mail.replace(b"position:absolute!important", b"")
            assert floats != mail
            for sent in (mail, floats) if gmail else (mail,):
                loaded = mails.loaded
                assert mails.shown(sent, charset, images) == before, (name, images, top)
                assert mails.loaded == loaded + images


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_layout_moves(mails: Mails, name: str) -> None:
    unmoved(mails, LAYOUTS[name], None, name)


@pytest.mark.parametrize("name", ABSOLUTE_ONLY)
def test_no_flexible_layout_moves(mails: Mails, name: str) -> None:
    unmoved(mails, ABSOLUTE_ONLY[name], None, name, gmail=False)


def test_real_mail_looks_the_same(mails: Mails, shared: Path) -> None:
    real = [*(shared / "corpus").rglob("*.html")]
    bodies: list[Body] = [(path.name, path.read_bytes(), None) for path in sorted(real)]
    bodies += whole_messages(shared / "mime")
    assert len(bodies) > 350
    for name, html, charset in bodies if LONG else bodies[::75]:
        unmoved(mails, html, charset, name)


def whole_messages(folder: Path) -> list[Body]:
    """Their HTML bodies, decoded."""
    bodies: list[Body] = []
    for path in sorted(folder.iterdir()):

        def keep(leaf: mime.Leaf, body: bytes, name: str = path.name) -> list[mime.Edit]:
            if leaf.kind == "text/html" and body.strip():
                bodies.append((name, body, leaf.charset))
            return []

        mime.rewrite(path.read_bytes(), keep)
    return bodies
