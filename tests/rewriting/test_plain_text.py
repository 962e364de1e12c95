"""Where a URL of plain text begins and ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rewriting.charsets import Charset
from app.rewriting.html import rewrite_text
from app.rewriting.plain_text import urls
from tests.rewriting.test_html import OPTIONS, TOKEN, US, token
from tests.support.call_counter import calls

UTF8 = Charset("utf-8")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Read more: http://x.example/a", "Read more:"),
        ("Unsubscribe here\n\n  http://x.example/a", "Unsubscribe here"),
        ("http://x.example/b\nhttp://x.example/a", ""),
        ("a\nb: http://x.example/a", "b:"),
        ("http://x.example/a", ""),
    ],
)
def test_the_words_before_a_url_introduce_it(text: str, hint: str) -> None:
    assert list(urls(text.encode(), UTF8))[-1].hint == hint


@pytest.mark.parametrize(
    ("text", "wrapped"),
    [
        ("<http://x.example/a>", False),
        ("<http://x.example/a\nb>", True),
        ("<URL:http://x.example/a\r\n> b>", True),
        ("<http://x.example/a\nb c>", False),
        ("http://x.example/a\nb>", False),
    ],
)
def test_a_closing_bracket_in_the_next_line_is_noticed(text: str, wrapped: bool) -> None:
    (found,) = urls(text.encode(), UTF8)
    assert (found.url, found.wrapped) == ("http://x.example/a", wrapped)


PIECES = ["http://x.example/a", "é", "。", " ", ".", ")", "(", "<", ">", "\n", '"', "*", "?q=1"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.booleans())
@settings(max_examples=100)
def test_urls_are_where_they_are_said_to_be_and_never_overlap(text: str, delsp: bool) -> None:
    data = text.encode()
    reached = 0
    for found in urls(data, UTF8, delsp):
        assert reached <= found.start < found.end <= len(data)
        reached = found.end
        if not delsp:
            assert data[found.start : found.end].decode() == found.url
        assert found.url.startswith("http://") and not set(found.url) & set('<>"` \n')


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("See http://x.example/a.", ["http://x.example/a"]),
        (
            "(http://x.example/a_(b)) and <https://y.example/?q=1&r=2>,",
            ["http://x.example/a_(b)", "https://y.example/?q=1&r=2"],
        ),
        ("HTTP://X.EXAMPLE/ü!?", ["HTTP://X.EXAMPLE/ü"]),
        ("<https://x.example/t/QUE9PQ__>", ["https://x.example/t/QUE9PQ__"]),
        (
            "<https://x.example/a~>, <URL:http://x.example/a'*>",
            ["https://x.example/a~", "http://x.example/a'*"],
        ),
        (
            "<http://x.example/a.>b <http://x.example/b. c",
            ["http://x.example/a.", "http://x.example/b"],
        ),
        (
            "http://x.example/t/QUE9PQ__, http://x.example/~",
            ["http://x.example/t/QUE9PQ__", "http://x.example/~"],
        ),
        (
            "*http://x.example/a* _http://x.example/b_ ~http://x.example/c~",
            [f"http://x.example/{c}" for c in "abc"],
        ),
        (
            "'http://x.example/a'b `http://x.example/b`c",
            ["http://x.example/a", "http://x.example/b"],
        ),
        (
            "\u201chttp://x.example/a\u201dc \u201ehttp://x.example/b\u201cc",
            ["http://x.example/a", "http://x.example/b"],
        ),
        (
            "http://x.example/o'neill http://x.example/\xa0a",
            ["http://x.example/o'neill", "http://x.example/"],
        ),
        ("“http://x.example/a” http://y.example/。", ["http://x.example/a", "http://y.example/"]),
        ("ftp://x.example www.x.example a@x.example", []),
    ],
)
def test_addresses_in_text(text: str, urls: list[str]) -> None:
    result = rewrite_text(text, OPTIONS, token, US)
    assert [link.url for link in result.links] == urls
    mail = text
    for number, url in enumerate(urls):
        mail = mail.replace(url, f"{US}/c/M-1_x/L{number}")
    assert result.personalise(TOKEN).decode() == mail


@pytest.mark.parametrize(
    ("charset", "before", "after"),
    [
        ("windows-1252", b"\xdcber ", b"\xe9\x85"),
        ("utf-8", "Über ".encode(), "é\u2026".encode()),
        ("shift_jis", b"\x83e\x83X\x83g ", b"\x81B"),
        ("euc-jp", b"\xa5\xc6 ", b"\xa1\xa3"),
        ("iso-2022-jp", b"\x1b$B%F%9%H\x1b(B", b"\x1b$B!#%F\x1b(B"),
        ("iso-2022-kr", b"\x1b$)C\x0e>H3g\x0f ", b"\x0e>H\x0f"),
        ("gb18030", b"\xd6\xd0 ", b"\xa1\xa3"),
        ("x-unheard-of", b"\xdc ", b"\xe9\x85"),
    ],
)
def test_text_in_any_charset(charset: str, before: bytes, after: bytes) -> None:
    """What follows the URL is part of it or ends it, and stays."""
    text = before + b"http://x.example/a" + after + b"\r\n" + before + b"<http://x.example/b>"
    result = rewrite_text(text, OPTIONS, token, US, charset=charset)
    assert [link.tracked for link in result.links] == [True, True]
    assert result.links[0].url in ("http://x.example/a", "http://x.example/a\xe9")
    assert result.links[0].offset == len(before)
    mail = result.personalise(TOKEN)
    assert f"{US}/c/M-1_x/L0".encode() in mail
    assert mail.endswith(before + b"<https://t.example/c/M-1_x/L1>")
    assert mail.startswith(before + b"https://t.example/c/M-1_x/L0")
    assert result.restore(mail, TOKEN) == text


def test_text_in_utf_16_and_in_what_is_not_read() -> None:
    text = "\ufeffÜber http://x.example/a".encode("utf-16-le")
    result = rewrite_text(text, OPTIONS, token, US, charset="utf-16")
    assert result.personalise(TOKEN).decode("utf-16") == f"Über {US}/c/M-1_x/L0"
    result = rewrite_text(b"+AGE- http://x.example/a", OPTIONS, token, US, charset="utf-7")
    assert (result.links, result.parts) == ((), (b"+AGE- http://x.example/a",))
    assert "left unchanged" in result.notes[0]


@pytest.mark.parametrize(
    ("text", "urls", "mail"),
    [
        ("http://x.example/a \r\nb c", ["http://x.example/ab"], "{0} c"),
        ("> http://x.example/a \r\n> b \r\n> c\r\n> d", ["http://x.example/abc"], "> {0}\r\n> d"),
        ("> http://x.example/a \r\n>> b", ["http://x.example/a"], "> {0} \r\n>> b"),
        ("http://x.example/a\r\nb", ["http://x.example/a"], "{0}\r\nb"),
        ("<http://x.example/a \r\nb_> c", ["http://x.example/ab_"], "<{0}> c"),
        ("http://x.example/a, \r\n \r\nb", ["http://x.example/a"], "{0}, \r\n \r\nb"),
        ("http://x.example/a. \r\n b.", ["http://x.example/a.b"], "{0}."),
        (
            "http://x.example/a \r\nhttp://x.example/b",
            ["http://x.example/ahttp://x.example/b"],
            "{0}",
        ),
    ],
)
def test_a_url_goes_on_behind_a_soft_line_break(text: str, urls: list[str], mail: str) -> None:
    result = rewrite_text(text.encode(), OPTIONS, token, US, flowed=True, delsp=True)
    assert [link.url for link in result.links] == urls
    assert result.personalise(TOKEN).decode() == mail.format(f"{US}/c/M-1_x/L0")
    assert result.restore(result.personalise(TOKEN), TOKEN) == text.encode()
    if " \r\nb" in text:  # without DelSp the break is a space
        result = rewrite_text(text, OPTIONS, token, US, flowed=True)
        assert result.links[0].url == "http://x.example/a"


def test_a_bracketed_url_that_goes_on_in_the_next_line_is_left_alone() -> None:
    text = "<https://x.example/t/QUE9\r\n  PQ__> <https://x.example/b\r\n c d>"
    result = rewrite_text(text, OPTIONS, token, US)
    assert [link.reason for link in result.links] == ["wrapped", None]


@pytest.mark.parametrize(
    "piece",
    [
        "http://x.example/\xe9",
        "<http://x.example/a \n",
        "http://",
        "http://x.example/)",
        "'http://x'",
        "http://x.example/ \n> ",
        "\xe9",
        "<URL:http://x.example/\n",
    ],
)
@pytest.mark.parametrize("glue", ["", " "])
def test_ten_times_the_hostile_text_is_at_most_ten_times_the_work(piece: str, glue: str) -> None:
    def work(times: int) -> int:
        text = glue.join([piece] * times).encode()
        return calls(lambda: rewrite_text(text, OPTIONS, token, US, flowed=True, delsp=True))

    assert work(1500) <= 10 * work(150) + 200


def test_text_is_not_tracked_where_it_lets_the_reader_leave() -> None:
    text = (
        "Shop: http://x.example/1\nUnsubscribe here: http://x.example/2\nhttp://x.example/3\n\n"
        "To unsubscribe:\nhttp://x.example/4\n"
    )
    result = rewrite_text(text, OPTIONS, token, US)
    assert [link.reason for link in result.links] == [None, "unsubscribe", None, "unsubscribe"]
