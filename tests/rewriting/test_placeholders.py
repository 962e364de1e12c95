"""Placeholders that mailers leave in URLs, and real URLs that look like them."""

import re
import string
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rewriting import placeholders
from app.rewriting.html import Options, compile_html

PLACEHOLDERS = (
    "{{x}}",
    "{{ name }}",
    "%7B%7Bemail%7D%7D",
    "%7b%7b%20email%20%7d%7d",
    "{{#if",
    "{%if",
    "{% if x %}",
    "*|EMAIL|*",
    "*|IF:X|*",
    "*%7CEMAIL%7C*",
    "{contactfield=email}",
    "{leadfield=email|true}",
    "{pagelink=3}",
    "%recipient.email%",
    "%recipient.id%",
    "%EMAIL%",
    "%ADDRESS%",
    "%DATE%",
    "%Subscriber:EmailAddress%",
    "%unsubscribe_url%",
    "-id-",
    "-firstName-",
    "[email]",
    "[ID]",
    "[EMAIL]",
    "[firstname,fallback=]",
    "[subscriber:email]",
    "[[email]]",
    "[[data:email]]",
    "[%x%]",
    "[*data.email*]",
    "#EMAIL#",
    "##email##",
    "#{ID}",
    "{EMAIL_CODE}",
    "{$ID}",
    "{email}",
    "{!Contact.Email}",
    "{subtag:email}",
    "{$email|escape}",
    "{if $x}",
    "%%EMAIL%%",
    "%%=v(@id)=%%",
    "%%[var",
    "%%merge members_.id_%%",
    "%25%25EMAIL%25%25",
    "<%=x%>",
    "<% x %>",
    "${x}",
    "${x!''}",
    "$%7Bx%7D",
    "$!{x}",
    "$!x",
    "$user.name",
    "$user.getName()",
    "$[LI:EMAIL]$",
    "$EMAIL_ADDRESS_$",
    "<#if",
    "[=x]",
    "[#if x]",
    "@EMAIL@",
    "~EMAIL~",
    "%(email)s",
    "\u00a7\u00a7email\u00a7\u00a7",
)
REAL = (
    "?a[0]=1",
    "?[0]=2",
    "?f[0]=x:2",
    "?f%5B0%5D=x",
    "?a[]=1",
    "?filter[color]=red",
    "?[a]=1",
    "?a[b][c]=1",
    "?%22QID",
    "?%5Bx%5D",
    "?a=%7Bx%7D",
    "?a=[0]",
    "?a=[1,2]",
    '?a=["x"]',
    "?a=[%22x%22]",
    '?q={"a":{"b":1}}',
    "?q={%22a%22:1}",
    "?q=%7B%22a%22%3A%7B%22b%22%3A1%7D%7D",
    "?q={}",
    "?q=[]",
    "?q=[[1,2],[3]]",
    "?id={ABCDEF01-4F89-11D3-9A0C-0305E82C3301}",
    "?id={abcdefabcdefabcdefabcdefabcdefab}",
    "my-id-card-4",
    "my--id--card",
    "-/x",
    "a/-b",
    "a-b-/c",
    "a-b-c",
    "#top",
    "#/a/b#c",
    "#a=#b",
    "?price=$20",
    "?price=$1.99",
    "?c=US$",
    "?$filter=a.b",
    "?$select=a,b",
    "is/image/x?$preset$",
    "$metadata",
    "%24metadata",
    "~user/",
    "@user/post",
    "?q=%E4%B8%AD%E6%96%87",
    "?q=%DE%AD%BE%EF",
    "?q=%C3%A9t%C3%A9",
    "?q=%d0%a1%d0%ba",
    "?q=100%25",
    "?q=50%25%20off",
    "?d=50%off&e=20%off",
    "?d=5%&e=6%",
    "?x=%2525",
    "?a=b*c|d",
    "?a=*",
    "?q=a||b",
    "?x=<b>",
    "?x=%3Cb%3E",
    "?c=#fff",
    "?t=+1",
    "?e=a@b.example",
    "a;jsessionid=1",
    "a//b",
    "?q=a%20-b-%20c",
    "?u=https%3A%2F%2Fy.example%2F%3Fa%5B%5D%3D1",
    "?a=b:c,d",
    "?a=(b)",
    "a_b-c.d~e",
    "?m=*.pdf",
)


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_is_found_wherever_it_stands(placeholder: str) -> None:
    for url in (
        f"https://x.example/p?e={placeholder}",
        f"https://x.example/p?e={placeholder}&b=1",
        f"https://x.example/p/{placeholder}/b",
        placeholder,
    ):
        found = placeholders.find(url, 2000)
        assert found is not None, url
        assert url.startswith(found.text, found.start)
        assert placeholder.startswith(found.text)


@pytest.mark.parametrize("rest", REAL)
def test_a_real_url_holds_none(rest: str) -> None:
    assert placeholders.find(f"https://x.example/{rest}", 2000) is None


@pytest.mark.parametrize(
    "host", ["[::1]", "[fe80::1]", "[2001:db8::a]:80", "[abcd:ef01:2345:6789:abcd:ef01:2345:6789]"]
)
def test_an_ip_address_in_brackets_is_none(host: str) -> None:
    assert placeholders.find(f"http://{host}/", 2000) is None


@given(st.text(string.ascii_letters + string.digits + "-_.~/?&=+,;:@!'()", max_size=200))
def test_what_is_written_with_plain_characters_holds_none_but_delimited_words(rest: str) -> None:
    found = placeholders.find(f"https://x.example/{rest}", 2000)
    if found:
        assert re.fullmatch(r"-[A-Za-z_]\w*-|@[A-Z][A-Z0-9_]+@|~[A-Za-z_][\w.]*~", found.text)


@given(st.binary(max_size=100))
def test_what_is_percent_encoded_holds_none_but_encoded_braces(data: bytes) -> None:
    url = "https://x.example/?q=" + "".join(f"%{byte:02X}" for byte in data)
    if not any(sign in data for sign in (b"{{", b"{%", b"%%", b"<%", b"${")):
        assert placeholders.find(url, 2000) is None


def test_real_mail_holds_none(shared: Path) -> None:
    """Every URL in the text of real mail and of templates, of which a few are unfilled."""
    mails = [*(shared / "corpus").rglob("*.html"), *(shared / "mime").rglob("*.eml")]
    urls: set[str] = set()
    for path in mails:
        text = path.read_bytes().replace(b"=\n", b"").replace(b"=\r\n", b"")
        text = text.replace(b"=3D", b"=").replace(b"&amp;", b"&")
        urls |= {match.decode("latin-1") for match in re.findall(rb"https?://[^\s\"'<>()]+", text)}
    assert len(urls) > 500
    found = [found for url in urls if (found := placeholders.find(url, 2000))]
    assert {found.text for found in found} <= {"{{", "%%RANDOM%%"}, found


def test_tokens_hold_none() -> None:
    """Of base64url, hexadecimal and base64, as reset links and signed URLs carry them."""
    random = Random(1)
    for size in (9, 16, 22, 32, 64):
        for _ in range(5_000):
            data = random.randbytes(size)
            for token in (
                urlsafe_b64encode(data).decode(),
                urlsafe_b64encode(data).decode().rstrip("="),
                quote(b64encode(data)),
                data.hex(),
                quote(data, safe="~-_."),
            ):
                assert placeholders.find(f"https://x.example/{token}?t={token}", 2000) is None


def test_every_pattern_is_bounded() -> None:
    """Ten thousand beginnings of a placeholder would take minutes if one were not."""
    for first in "{[*<$#~@%-=":
        for second in "{%[aA.-=#(|":
            found = placeholders.find((first + second) * 5_000, 10_000)
            assert found is None or found.start + len(found.text) <= 10_000


def test_own_patterns_are_literal() -> None:
    own = placeholders.compile_own(("<<...>>", "((x...))", "USERCODE", "a.c"))
    assert own is not None
    for text in ("<<mail>>", "((xyz))", "USERCODE", "a.c"):
        assert placeholders.find(f"https://x.example/?e={text}", 2000, own) == (text, 21)
    for text in ("<<mail", "abc", "((y))", "<<" + "x" * 201 + ">>", "<< >>"):
        assert placeholders.find(f"https://x.example/?e={text}", 2000, own) is None
    assert placeholders.compile_own(()) is None


@pytest.mark.parametrize(
    "patterns",
    [("...>>",), ("<<...",), ("a",), ("a...b",), ("x" * 41,), ("a b",), ("",), ("<<...>>",) * 21],
)
def test_own_patterns_have_limits(patterns: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"characters|START|patterns"):
        placeholders.compile_own(patterns)


def test_the_setting_reaches_the_rewriter() -> None:
    html = b'<a href="https://x.example/?e=<<mail>>">x</a>'
    for own, reason in (((), None), (("<<...>>",), "placeholder")):
        options = Options(placeholders=own)
        links = compile_html(html, options, lambda _: "L", "https://t.example").links
        assert [link.reason for link in links] == [reason]
