"""Every encoding of the Encoding standard, character by character, as a browser has it."""

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from app.rewriting import charsets, encoding_standard
from app.rewriting.charsets import Charset
from app.rewriting.html import compile_html
from app.rewriting.links import Options
from tests.e2e.test_dashboard import browser

__all__ = ["browser"]

US = "https://t.example"
LONG = "MAILWAKE_TORTURE" in os.environ
pytestmark = [pytest.mark.torture] if LONG else []
UTF_16 = {"utf-16-be": "utf-16be", "utf-16-le": "utf-16le"}  # ours, in Python's spelling
NAMES = sorted(encoding_standard.NAMES - {*UTF_16})
MULTIBYTE = ("big5", "euc-jp", "euc-kr", "gb18030", "gbk", "shift_jis")
# Chromium's own: pairs of Big5 that the standard decodes to two characters.
FAULTS = (b"\x88\x62", b"\x88\x64", b"\x88\xa3", b"\x88\xa5")
DECODE = """([label, pieces]) => pieces.map(piece => new TextDecoder(label).decode(
    new Uint8Array(piece.match(/../g).map(octet => parseInt(octet, 16)))))"""
SEARCH = """characters => {
    const a = document.createElement("a");
    return characters.map(c => { a.href = "http://x.example/?" + c + "z"; return a.search; });
}"""
LINKS = "() => [...document.links].map(a => [a.href, a.textContent])"


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def show(page: Page, html: bytes, name: str) -> None:
    kind = f"text/html; charset={name}"
    page.unroute_all()
    page.route("**/*", lambda route: route.fulfill(headers={"content-type": kind}, body=html))
    page.goto("http://mail.example/")
    assert page.evaluate("document.characterSet").lower() == name


def pieces(name: str) -> list[bytes]:
    """All single bytes, all pairs that begin with no ASCII, and EUC-JP's threes."""
    rows = range(0x21, 0x7F)
    if name == "iso-2022-jp":
        pairs = [b"\x1b$B%c%c\x1b(B" % (row, cell) for row in rows for cell in rows]
        return (
            [b"\x1b(J%c" % byte for byte in rows] + [b"\x1b(I%c" % b for b in range(33, 96)] + pairs
        )
    every = [bytes([byte]) for byte in range(256)]
    if name in MULTIBYTE:
        every += [bytes([lead, trail]) for lead in range(128, 256) for trail in range(256)]
    if name == "euc-jp":
        every += [b"\x8f%c%c" % (row | 128, cell | 128) for row in rows for cell in rows]
    return every


def decoded(name: str) -> dict[bytes, str]:
    read = Charset(name, "iso2022" if name == "iso-2022-jp" else "ascii").decode
    return {piece: read(piece) for piece in pieces(name) if piece not in FAULTS}


def test_all_labels_of_the_standard(page: Page) -> None:
    labels = {
        label: name for label, name in encoding_standard.LABELS.items() if label not in UTF_16
    }
    assert len(labels) == 222  # of 228: six stand for what browsers do not read
    for label in ["csiso2022kr", "hz-gb-2312", *(f"iso-2022-{x}" for x in ("cn", "cn-ext", "kr"))]:
        known = charsets.lookup(label)
        assert known and known.form in ("iso2022", "unread")
    read = page.evaluate(
        "labels => labels.map(label => new TextDecoder(label).encoding)", [*labels]
    )
    assert read == [UTF_16.get(name, name) for name in labels.values()]


@pytest.mark.parametrize("name", NAMES)
def test_bytes_mean_what_they_mean_to_a_browser(page: Page, name: str) -> None:
    ours = decoded(name)
    # An end within a GB18030 character of four bytes is one fault, a quote there leaves the digit.
    ours = {key: text for key, text in ours.items() if not (name[:2] == "gb" and key[1:].isdigit())}
    theirs = page.evaluate(DECODE, [name, [piece.hex() for piece in ours]])
    differ = {p: (o, t) for (p, o), t in zip(ours.items(), theirs, strict=True) if o != t}
    assert not differ


@pytest.mark.parametrize("name", NAMES)
def test_a_query_is_sent_as_a_browser_sends_it(page: Page, name: str) -> None:
    """Of all characters in `make torture`, else of those that the encoding has and some others."""
    show(page, b"<p>x", name)
    some = {chr(code) for code in range(0x80, 0x30000, 1 if LONG else 211)}
    some |= {*"\xa5\u203e\u2212\uff71\uff9f\u20ac\x81\x0e\x1b '\"^`{|}", *decoded(name).values()}
    every = sorted(c for c in some if len(c) == 1 and c > "\x0d" and c != "#" and c.isprintable())
    for start in range(0, len(every), 8192):
        part = every[start : start + 8192]
        theirs = page.evaluate(SEARCH, part)
        ours = ["?" + encoding_standard.percent_encode(name, f"{c}z") for c in part]
        differ = {c: (o, t) for c, o, t in zip(part, ours, theirs, strict=True) if o != t}
        assert not differ


def runs(name: str) -> list[bytes]:
    """Some hundred words of the encoding, with faults in most."""
    if name == "iso-2022-jp":
        return [b"\x1b(IC=D\x1b(B", b"\x1b(Ja~\x1b(B"] + [
            b"\x1b$B" + bytes([row, cell, cell, row]) + b"\x1b(B"
            for row in range(0x21, 0x7F)
            for cell in range(0x21, 0x7F, 11)
        ]
    every = [piece for piece in pieces(name) if not piece.isascii() and piece not in FAULTS]
    step = len(every) // 600 or 1
    words = [b"".join(every[start : start + 3]) for start in range(0, len(every), step)]
    # No markup; and what follows half a character of JIS X 0212 is Chromium's own.
    return [word for word in words if not re.search(rb"[\"&<>\s]|\x8f[\xa1-\xfe]", word)]


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_mail_lead_where_the_browser_goes(page: Page, name: str) -> None:
    words = runs(name)
    link = b'<p><a href="http://x.example/%s?%s#%s">%s</a> '
    html = b"".join(link % ((word,) * 4) for word in words)
    show(page, html, name)
    links = compile_html(html, Options(opens=False), lambda _: "t", US, name).links
    theirs = page.evaluate(LINKS)
    assert len(links) == len(theirs) == len(words)
    targets = page.evaluate("urls => urls.map(url => new URL(url).href)", [x.target for x in links])
    for found, target, (href, text), word in zip(links, targets, theirs, words, strict=True):
        assert (target, found.label) == (href, " ".join(text.split())), word
