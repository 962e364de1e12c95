"""The links that a browser sees are the links that are found, whatever a mail is made of."""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from app.rewriting.html import compile_html
from app.rewriting.links import Options
from tests.e2e.test_dashboard import browser

__all__ = ["browser"]

US = "https://t.example"
LONG = "MAILWAKE_TORTURE" in os.environ
pytestmark = [pytest.mark.torture] if LONG else []
# Scripts do not run in mail: DOMParser reads what stands in <noscript> too.
LINKS = """pages => pages.map(html => {
    const page = new DOMParser().parseFromString(html, "text/html");
    return [...page.querySelectorAll("a, area")].map(a =>
        a.getAttribute("href") ?? a.getAttributeNS("http://www.w3.org/1999/xlink", "href"))
        .filter(href => href !== null).map(href => href.trim().replace(/[\\t\\r\\n]/g, ""));
})"""
FOREIGN_CLOSED = re.compile(
    r"<(?:svg|math)\b.*</(?:a|div|font|td|table|li|h1|center)\b", re.S | re.I
)
READ = "pairs => pairs.map(pair => pair.map(url => new URL(url).href))"
# %d is another number each time, so that links can be told from each other.
PIECES = (
    "<a href='l%d'>",
    '<a href="l%d">',
    "<a href=l%d>",
    "<A HREF\n=\tl%d >",
    "<a title='>' href=l%d>",
    "<a/href=l%d/>",
    "<a href=l%d href=x>",
    "<area href=l%d>",
    "</a>",
    "</A >",
    "<a>",
    "<a title=x>",
    "<a xlink:href=l%d>",
    "<a href=l%d",
    "<a href='l%d",
    "<b><a href=l%d><p>",
    "<ax href=no%d>",
    "<svg>",
    "</svg>",
    "<svg/>",
    "<SVG viewBox='0 0 1 1'>",
    "<math>",
    "</math>",
    "<title>",
    "</title>",
    "<title/>",
    "<style>",
    "</style>",
    "<style/>",
    "<script>",
    "</script>",
    "<script/>",
    "<textarea>",
    "</textarea>",
    "<xmp>",
    "</xmp>",
    "<iframe>",
    "</iframe>",
    "<noembed>",
    "</noembed>",
    "<noscript>",
    "</noscript>",
    "<noframes>",
    "</noframes>",
    "<foreignObject>",
    "</foreignObject>",
    "<desc>",
    "</desc>",
    "<mtext>",
    "</mtext>",
    "<mi>",
    "<annotation-xml>",
    "<g>",
    "</g>",
    "<circle/>",
    "<font>",
    "<font color=red>",
    "<p>",
    "</p>",
    "<div>",
    "</div>",
    "<br>",
    "</br>",
    "<table><tr><td>",
    "</td></tr></table>",
    "<table>",
    "<span title='<a href=no%d>'>",
    "<body>",
    "</body>",
    "</html>",
    "<!--",
    "-->",
    "--!>",
    "<!-->",
    "<!--->",
    "<!-- <a href=no%d> -->",
    "<!--x--><a href=l%d>-->",
    "<![CDATA[",
    "]]>",
    "<![CDATA[ <a href=l%d> ]]>",
    "<!x <a href=no%d>",
    "<?x <a href=no%d>",
    "</3 <a href=no%d>",
    "<![if !mso]>",
    "<![endif]>",
    "<3",
    "< a href=no%d>",
    "<",
    ">",
    '"',
    "'",
    "=",
    "/",
    "&lt;a href=no%d&gt;",
    "x",
    " ",
    "\n",
    "\0",
    '<p title="',
    "<img alt='",
    "<p x=<a href=l%d>",
    "<plaintext",
    "<button>",
    "<form>",
    "<li>",
    "<h1>",
    "<center>",
    "<nobr>",
)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


def ours(html: str) -> list[str]:
    links = compile_html(html.encode(), Options(opens=False), lambda _: "t", US, "utf-8").links
    return [link.url for link in links if not link.mso]


def made_up(count: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        pieces = rng.choices(PIECES, k=rng.randint(1, 14))
        yield "".join(
            piece.replace("%d", str(number))
            for number, piece in enumerate([*pieces, "<a href=l%d>"])
        )


def test_made_up_mail(page: Page) -> None:
    mails = list(made_up(40_000 if LONG else 2_000, 1))
    for start in range(0, len(mails), 1000):
        some = mails[start : start + 1000]
        for html, seen in zip(some, page.evaluate(LINKS, some), strict=True):
            if FOREIGN_CLOSED.search(html):
                continue  # what HTML elements are open around <svg> is not known in such a jumble
            assert sorted(set(ours(html))) == sorted(set(seen)), html


@pytest.mark.parametrize("name", ["a", "b", "div", "font", "td", "table", "span", "p", "g"])
@pytest.mark.parametrize("language", ["svg", "math"])
def test_what_ends_svg(page: Page, language: str, name: str) -> None:
    """An end tag of what stands around it does: then <style> is raw text again."""
    for before in (f"<table><tr><{name}>", "<table><tr><td>"):
        html = f"{before}<{language}><g></{name}><style><a href=no0></style><a href=l1>"
        (seen,) = page.evaluate(LINKS, [html])
        assert ours(html) == seen, html


def test_real_mail(page: Page, shared: Path) -> None:
    """The links that are seen, and where the tracked ones lead."""
    paths = sorted((shared / "corpus").rglob("*.html"))
    tracked = 0
    for path in paths if LONG else paths[::10]:
        html = path.read_bytes().decode("utf-8", "replace")
        (seen,) = page.evaluate(LINKS, [html])
        links = compile_html(html.encode(), Options(opens=False), lambda _: "t", US, "utf-8").links
        shown = [link for link in links if not link.mso]
        assert [link.url for link in shown] == seen, path
        pairs = [
            [link.url, link.target] for link in shown if link.tracked and link.url[:4] == "http"
        ]
        tracked += len(pairs)
        for went, ours in page.evaluate(READ, pairs):
            assert went == ours, path
    assert tracked > (300 if LONG else 20)
