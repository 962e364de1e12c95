from collections.abc import Callable
from contextlib import suppress

import pytest

from app.rewriting import html_scanner
from app.rewriting.html import compile_html
from app.rewriting.html_scanner import Attributes, RewriteError, Tag, Unclosed
from app.rewriting.links import Options
from tests.support.call_counter import calls

HREF = Attributes([b"href"])


def hrefs(html: bytes) -> list[bytes | None]:
    """The first href of every tag that has one."""
    tags = [token for token in html_scanner.read(html) if isinstance(token, Tag)]
    found = [HREF.read(html, tag) for tag in tags]
    return [attributes[0].value for attributes in found if attributes]


def unclosed(html: bytes) -> Unclosed | None:
    last = list(html_scanner.read(html))[-1:]
    return last[0] if last and isinstance(last[0], Unclosed) else None


@pytest.mark.parametrize(
    ("html", "values"),
    [
        (b"<a href=x>", [b"x"]),
        (b"<A\fHREF\n=\t'x y'>", [b"x y"]),
        (b"<a/href=x/>", [b"x/"]),
        (b'<a href="x"href="y">', [b"x"]),
        (b"<a href>", [None]),
        (b"<a href=>", [b""]),
        (b"<a title='>' href=x>", [b"x"]),
        (b"<a =href=x href=y>", [b"y"]),
        (b"<a xhref=x hrefs=y>", []),
        (b"<ab href=x><v: href=y><v:rect href=z>", [b"y", b"z"]),
        (b"< a href=x><3 <a href=y>", [b"y"]),
        (b"<area href=x></area href=y>", [b"x"]),
        (b"<!--><a href=x><!---><a href=y><!----!><a href=z>", [b"x", b"y", b"z"]),
        (b"<!-- <a href=x> --!><a href=y>", [b"y"]),
        (b"<!doctype <a href=x><?p <a href=y></3 <a href=z><a href=w>", [b"w"]),
        (b"<script>'<a href=x></scripty>'</SCRIPT\n><a href=y>", [b"y"]),
        (b"<p title=<a href=x><a href=y>", [b"y"]),
        (b"<plaintext><a href=x>", []),
        (b"<![CDATA[<a href=x>]]><a href=y>", [b"y"]),
    ],
)
def test_tags_are_read_as_the_standard_reads_them(html: bytes, values: list[bytes | None]) -> None:
    assert hrefs(html) == values


@pytest.mark.parametrize(
    ("html", "what", "start"),
    [
        (b"x<!-- <a href=x>", "comment", 1),
        (b"<a href='x><a href=y>", "tag", 0),
        (b"<p><title><a href=x>", "<title>", 3),
        (b"<!doctype", "tag", 0),
        (b"ab<!--[if mso]><a href=x>", "comment", 2),
    ],
)
def test_what_never_closes_is_told(html: bytes, what: str, start: int) -> None:
    assert unclosed(html) == Unclosed(what, start)


def test_what_never_closes_for_outlook_ends_with_its_comment() -> None:
    html = b"<!--[if mso]><a href='x><![endif]--><a href=y>"
    assert hrefs(html) == [b"y"]
    assert unclosed(html) is None


def test_what_stands_for_outlook_alone_is_marked() -> None:
    html = b"<a href=1><!--[if mso]><a href=2><!--[if x]><a href=3><![endif]--><a href=4>"
    tags = [token for token in html_scanner.read(html) if isinstance(token, Tag)]
    assert [tag.mso for tag in tags] == [False, True, True, False]


HOSTILE: list[Callable[[int], bytes]] = [
    lambda n: b"<a " * n,
    lambda n: b"<a href=x " * n,
    lambda n: b"<a href=" + b'"' * n,
    lambda n: b"<!--" * n,
    lambda n: b"<!--[if mso]>" * n,
    lambda n: b"<!--[if " * n + b"-->",
    lambda n: b"<!--[if mso]>" + b"<!--[if " * n + b"-->",
    lambda n: b"<a" + b" " * n + b">",
    lambda n: b"<a" + b" x" * n + b">",
    lambda n: b"<a href=x>" + b"<img <" * n,
    lambda n: b"<a href=x><p title='" * n,
    lambda n: b"<v:x href=a>" * n,
    lambda n: b"</body>" * n,
    lambda n: b"<title>" * n,
    lambda n: b"<style></style>" * n,
    lambda n: b"<svg>" * n,
    lambda n: b"<svg><g>" + b"<g>" * n + b"</x>" * n,
    lambda n: b"<table><svg></td>" * n,
    lambda n: b"<svg><title><p>" * n,
    lambda n: b"<svg><![CDATA[" * n,
    lambda n: b"<svg><a" + b" x=y" * n + b"/>",
    lambda n: b"<a href='http://x.example/" + b"[[{%&#9" * n + b"'>",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_ten_times_the_hostile_input_is_at_most_ten_times_the_work(
    hostile: Callable[[int], bytes],
) -> None:
    # Calls into Python's functions and the regex engine; tests/bench measures what is inside them.
    small, large = work(hostile(150)), work(hostile(1500))
    assert large <= 10 * small + 100


def work(html: bytes) -> int:
    def compile_it() -> None:
        with suppress(RewriteError):
            compile_html(html, Options(), lambda link: "L", "https://t.example", "utf-8")

    return calls(compile_it)
