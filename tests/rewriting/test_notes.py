"""Notes of a second reader."""

import pytest

from app.rewriting import notes
from app.rewriting.html import CompiledBody, Options, compile_html

US = "https://click.shop.example"


def compiled(html: str, **options: bool) -> CompiledBody:
    data = html.encode()
    return compile_html(data, Options(**options), lambda link: f"L{link.index}", US, "utf-8")  # type: ignore[arg-type]


def of_links(html: str) -> list[str]:
    return notes.of_links(compiled(html).links, html.encode(), "click.shop.example")


def test_a_placeholder_is_named_with_its_byte() -> None:
    html = 'ü<a href="https://x.example/?a=1&amp;e=%recipient.email%">x</a>'
    at = html.encode().index(b"%recipient")
    assert of_links(html) == [
        f"suspected placeholder '%recipient.email%' at byte {at}: the link is not tracked"
    ]
    assert "values turn it into a tracked link" in of_links('<a href="{{ url }}">x</a>')[0]


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("https://bank.example/login", "https://bank.example/login", "bank.example"),
        ("www.bank.example", "https://bank.example/", "bank.example"),
        ("bank.example", "https://www.bank.example/", "bank.example"),
        ("BANK.example/a", "https://bank.example/", "bank.example"),
        ("<b>bank</b>.example", "https://bank.example/", "bank.example"),
        ("bücher.example", "https://bücher.example/", ""),
        ("Booking.com", "https://x.example/", ""),
        ("report.pdf", "https://x.example/report.pdf", ""),
        ("bank.example now", "https://bank.example/", ""),
        ("https://shop.example/", "https://shop.example/", ""),
        ("https://click.shop.example/", "https://shop.example/", ""),
        ("www.shop.example", "https://shop.example/", ""),
        ("https://notshop.example/", "https://notshop.example/", "notshop.example"),
        ("Read", "https://x.example/", ""),
    ],
)
def test_text_that_is_a_url_of_another_host(text: str, url: str, host: str) -> None:
    html = f'<a href="{url}">{text}</a>'
    found = [note for note in of_links(html) if "phishing" in note]
    assert len(found) == bool(host)
    assert compiled(html).links[0].shown_host == host
    left = compiled(html, leave_url_text=True).links[0]
    assert left.reason == ("url_text" if host else None)
    if host:
        assert repr(host) in found[0] and "click.shop.example" in found[0]


def test_http_targets_and_labels_with_two_targets() -> None:
    html = (
        '<a href="http://x.example/1">Boots</a><a href="https://x.example/2">Boots</a>'
        '<a href="https://x.example/2">Tents</a><a href="https://x.example/2">Tents</a>'
        '<a href="mailto:a@x.example">Tents</a>'
    )
    assert of_links(html) == [
        "byte 9: a link leads to http, not https",
        "bytes 9, 47: the label 'Boots' has 2 targets; use data-track-name to tell them apart",
    ]


def test_notes_are_few_and_short() -> None:
    long = "x" * 500
    html = "".join(
        f'<a href="http://x.example/{n}?{{{{a{n}}}}}">a</a>'
        f'<a href="http://x.example/{n}">b{n % 40}</a>'
        f'<a href="http://x{n}.example/">http://x{n}.example/{long}</a>'
        for n in range(400)
    )
    found = of_links(html)
    assert len(found) <= 4 * (notes.MAX_NOTES + 1)
    assert all(len(note) < 400 for note in found)
    assert "390 more suspected placeholders" in found


@pytest.mark.parametrize(
    ("before", "after", "top", "says"),
    [
        (90_000, 102_000, False, ""),
        (95_973, 103_769, False, "(95,973 without tracking)"),
        (95_973, 103_769, True, "Gmail clips"),
        (110_000, 110_000, False, "110,000 bytes:"),
    ],
)
def test_the_size_at_which_gmail_clips(before: int, after: int, top: bool, says: str) -> None:
    found = notes.of_size(before, after, top)
    assert bool(found) == bool(says)
    if found:
        assert says in found[0]
        assert ('"top"' in found[0]) != top
