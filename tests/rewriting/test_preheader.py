import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rewriting import preheader
from app.rewriting.html import Options, compile_html
from app.rewriting.preheader import MAX_LOOK
from tests.rewriting.test_html import MAIL
from tests.rewriting.test_notes import US, compiled


@pytest.mark.parametrize(
    ("style", "hidden"),
    [
        ("display: none", True),
        ("DISPLAY:NONE", True),
        ("display:block", False),
        ("max-height:0", True),
        ("mso-hide:all", True),
        ("visibility:hidden", True),
        ("visibility:visible", False),
        ("opacity:0", True),
        ("opacity:0.9", False),
        ("font-size:1px", True),
        ("font-size:12px", False),
    ],
)
def test_a_style_hides_or_does_not(style: str, hidden: bool) -> None:
    head, text = b"<body>", f"<div style='{style}'>Preview</div>".encode()
    assert preheader.end(head + text + b"<p>") == len(head) + (len(text) if hidden else 0)


@pytest.mark.parametrize("name", [b"div", b"span", b"p", b"font", b"center"])
def test_elements_of_text_may_be_a_preheader(name: bytes) -> None:
    html = b"<body><%s id=preview-text>a<%s>b</%s></%s>" % (name, name, name, name)
    assert preheader.end(html + b"<table>") == len(html)


def test_a_table_or_a_picture_is_none() -> None:
    for tag in (b"<table class=preheader>", b"<img hidden>"):
        assert preheader.end(b"<body>" + tag) == len(b"<body>")


def test_it_is_looked_for_so_far_only() -> None:
    hidden = b"<div hidden>x</div>"
    html = b"<body>" + hidden * (MAX_LOOK // len(hidden) * 2)
    place = preheader.end(html)
    assert abs(place - MAX_LOOK) < 3 * len(hidden)
    assert html[place:].startswith(hidden)


@given(MAIL)
@settings(max_examples=50)
def test_any_mail_has_a_top_within_it(html: bytes) -> None:
    assert 0 <= preheader.end(html) <= len(html)


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
