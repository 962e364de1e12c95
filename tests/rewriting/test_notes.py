"""Notes of a second reader, and where the pixel goes when it goes to the top."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rewriting import notes, preheader
from app.rewriting.html import CompiledBody, Options, compile_html
from tests.rewriting.test_html import MAIL

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


@pytest.mark.parametrize(
    "html",
    [
        "<html><body>^<p>x</p></body></html>",
        "<BODY bgcolor=x>\n^\n<table><tr><td>x</table>",
        "<body><div style='display:none'>Preview &nbsp;<span>more</span></div>^<table>",
        '<body><!-- c --><span style="mso-hide: all; max-height:0px">a</span>\n'
        '<div style="font-size:1px;opacity:0">b</div>^<p>x',
        '<body><span class="preheader">x</span>^<table>',
        "<body><div hidden>a<div>b</div>c</div>^text",
        "<body>^<!--[if mso]><table><tr><td><![endif]--><p>x",
        "<body>^<div style='display:none'>never closed<p>x",
        "<!doctype html><html><head><title>a <body></title><style>p{}</style></head>^<table>",
        "<!doctype html>^<p>x",
        "^<p>x</p>",
        "\ufeff^<p>x</p>",
        "\ufeff<!doctype html><body>^<p>x</p>",
        "^text",
        "<html><head><!--[if mso]><xml><o:x/></xml><![endif]--><meta charset=x></head><body>^<p>",
        "<head></head><!--[if !mso]><!--><body>^<!--<![endif]--><p>",
        "<head></head><!--[if !mso]> --><body>\n<div hidden></div>^<p>",
        "<!--[if mso]><body class=m><![endif]--><!--[if !mso]><!--><body>^<!--<![endif]--><p>x",
        "<head></head><body>&nbsp;<div style='display:none'></div>^<p>",
        "<body>^<img style='display:none' src=x><p>",
        "<body>^<p style='opacity:0.5'>x",
    ],
)
def test_the_top_of_a_mail_is_behind_the_preheader(html: str) -> None:
    place = html.replace("\n^\n", "^\n\n").index("^")
    plain = html.replace("^", "")
    assert preheader.end(plain.encode()) == len(plain[:place].encode())
    mail = compiled(plain, pixel_top=True).personalise(b"T").decode()
    assert mail[place:].startswith(f'<img src="{US}/o/T.gif"')


@given(MAIL, st.booleans())
def test_a_pixel_at_the_top_changes_nothing_else(html: bytes, clicks: bool) -> None:
    options = Options(clicks=clicks, pixel_top=True)
    result = compile_html(html, options, lambda link: f"L{link.index}", US)
    mail = result.personalise(b"T")
    assert result.restore(mail, b"T") == html
    again = compile_html(mail, options, lambda link: f"L{link.index}", US)
    assert again.personalise(b"other") == mail
