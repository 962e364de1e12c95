import json
import random
import re
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.rewriting import iso2022, links
from app.rewriting.html import (
    MESSAGE_TOKEN,
    CompiledBody,
    Link,
    Options,
    RewriteError,
    compile_html,
    refused,
    rewrite_text,
    scan_html,
    scan_text,
)
from app.tracking.tokens import LinkToken, MessageToken, Tokens
from tests.support.paths import DATA

US = "https://t.example"
FIXTURES = DATA / "rewrite"
TRAPS: dict[str, dict[str, Any]] = json.loads((FIXTURES / "expected.json").read_text("utf-8"))
OPTIONS = Options(own_origins=(US,))
TOKEN = b"M-1_x"

# Pieces that real and hostile mail is made of: hypothesis puts them together in any order.
PIECES = [
    b"<a href='http://x.example/'>",
    b"<a href=http://x.example/?a&copy=1>",
    b'<a href="',
    b"</a>",
    b"<a clicktracking=off href=http://y.example>",
    b'<a data-skip-click=""href="http://z.example">',
    b"<body>",
    b"</body>",
    b"<!--",
    b"-->",
    b"<!--[if mso]>",
    b"<![endif]-->",
    b"<!-- [if gte mso 9]>",
    b"<!--[if !mso]><!-->",
    b"<v:rect href='https://v.example/\xe4'>",
    b"<style>",
    b"</style>",
    b"<title>",
    b"<textarea>",
    b"<p title='>",
    b'"',
    b"'",
    b">",
    b"<",
    b" ",
    b"\r\n",
    b"=",
    b"/",
    b"\0",
    b"\x1b$B",
    b"\x1b(B",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"<meta charset=shift_jis>",
    b"<meta charset=iso-2022-jp>",
    b"\x83\x5c",
    b"<base href=http://b.example/>",
    b"<a href=rel>",
    b"<img alt=x>",
    b"&amp;",
    b"<?",
    b"<plaintext>",
    b"unsubscribe",
    b"{{",
    b'<img src="https://t.example/o/',
]
MAIL = st.one_of(
    st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join)
)
CHARSETS = st.sampled_from(
    [
        None,
        "utf-8",
        "windows-1252",
        "Shift_JIS",
        "big5",
        "gb18030",
        "euc-kr",
        "iso-2022-jp",
        "utf-16",
        "utf-16be",
        "utf-7",
        "x-unheard-of",
        "ebcdic-cp-us",
        "rot13",
        "unicode_escape",
    ]
)


def token(link: Link) -> str:
    return f"L{link.index}"


def compiled(
    html: bytes | str, options: Options = OPTIONS, charset: str | None = None
) -> CompiledBody:
    data = html.encode() if isinstance(html, str) else html
    return compile_html(data, options, token, US, charset)


def rewritten(html: bytes | str, options: Options = OPTIONS) -> str:
    """The mail for one recipient, without its pixel."""
    mail = compiled(html, options).personalise(TOKEN).decode()
    return re.sub(r'<img src="https://t\.example/o/M-1_x\.gif"[^>]*>', "", mail)


def reasons(html: str, **options: Any) -> list[str | None]:
    found = compiled(html, Options(own_origins=(US,), **options)).links
    return [link.reason for link in found]


@pytest.mark.parametrize("name", sorted(TRAPS))
def test_traps_that_real_mail_sets(name: str) -> None:
    html, trap = (FIXTURES / name).read_bytes(), TRAPS[name]
    result = compiled(html, charset=trap["charset"])
    assert [
        [link.url, link.reason, *(["mso"] if link.mso else [])] for link in result.links
    ] == trap["links"]
    assert len(result.notes) == trap["notes"]
    mail = result.personalise(TOKEN)
    assert result.restore(mail, TOKEN) == html
    encoding = "utf-16" if name == "utf-16.html" else trap["charset"] or "latin-1"
    after = re.split(r'<img src="https://t\.example/o/M-1_x\.gif"[^>]*>', mail.decode(encoding))
    assert len(after) == 2
    if "condition-unclosed" not in name:
        assert after[1] == trap["pixel_before"]
    for link in result.links:
        written = f"{US}/c/M-1_x/L{link.index}" in mail.decode(encoding)
        assert written == link.tracked


def test_every_link_of_real_mail_is_tracked_or_says_why(shared: Path) -> None:
    corpus = shared / "corpus"
    expected = json.loads((corpus / "expected_links.json").read_text())
    assert len(expected) > 300
    for name, targets in expected.items():
        html = (corpus / name).read_bytes()
        result = compiled(html)
        for mso, key in ((False, "links"), (True, "mso_links")):
            urls = [x.url for x in result.links if x.mso == mso and x.url[:4].lower() == "http"]
            assert urls == targets[key], name
        mail = result.personalise(TOKEN)
        assert result.restore(mail, TOKEN) == html, name
        assert mail.count(b"/c/M-1_x/L") == sum(link.tracked for link in result.links), name
        assert mail.count(b"/o/M-1_x.gif") == 1, name
        # The change is exactly this: splices cut out of the original, each where a link stands.
        at = {link.offset for link in result.links if link.tracked}
        assert at == {s.start for s in result.splices if s.after.startswith(b"/L")}, name
        assert compiled(mail).personalise(b"other") == mail, name


@given(MAIL, CHARSETS, st.booleans(), st.booleans())
@example(b"<a/data-skip-click/href=http://x.example>", None, True, True)
def test_any_bytes_come_back_and_a_second_pass_changes_nothing(
    html: bytes, charset: str | None, opens: bool, clicks: bool
) -> None:
    options = Options(opens=opens, clicks=clicks, own_origins=(US,))
    first = compile_html(html, options, token, US, charset)
    mail = first.personalise(TOKEN)
    assert first.restore(mail, TOKEN) == html
    second = compile_html(mail, options, token, US, charset)
    assert second.personalise(b"other") == mail


@given(st.text(max_size=300))
@example("see http://a.example/x). And (http://b.example/y_(z)), http://c.example\r\n")
def test_any_text_comes_back(text: str) -> None:
    result = rewrite_text(text, OPTIONS, token, US)
    mail = result.personalise(TOKEN)
    assert result.restore(mail, TOKEN) == text.encode("utf-8", "surrogatepass")
    again = rewrite_text(mail.decode("utf-8", "surrogatepass"), OPTIONS, token, US)
    assert again.personalise(b"other") == mail


def test_restoring_names_the_byte_that_is_not_ours() -> None:
    result = compiled('<a href="http://x.example">x</a>')
    with pytest.raises(RewriteError, match="byte 9"):
        result.restore(result.personalise(TOKEN), b"someone-else")


def test_only_the_href_changes() -> None:
    html = "<A  HREF = 'http://x.example/'\ttitle=\"a > b\"data-track-name=Top  >x</A >"
    assert rewritten(html) == html.replace("http://x.example/", f"{US}/c/M-1_x/L0")


@pytest.mark.parametrize(
    "attribute",
    [
        'data-track="off"',
        "ses:no-track",
        "clicktracking=off",
        "ClickTracking='OFF'",
        'data-msys-clicktrack="0"',
        "disable-tracking=true",
        'mautic:disable-tracking="true"',
        "data-skip-click",
        'data-mautic-disable-tracking="true"',
        'data-pm-no-track=""',
        "data-as-no-track",
        'autotrack="false"',
        "mc:disable-tracking",
        "notrack",
        'notrack="notrack"',
        "cm_dontconvertlink",
        "mb_dontconvertlink",
    ],
)
def test_every_vendors_opt_out_is_honoured_and_stripped(attribute: str) -> None:
    html = (
        f'<a {attribute} href="http://x.example">x</a><a href="http://y.example" {attribute}>y</a>'
    )
    assert reasons(html) == ["opted_out", "opted_out"]
    assert rewritten(html) == '<a href="http://x.example">x</a><a href="http://y.example">y</a>'


@pytest.mark.parametrize("value", ["untracked", "button Untracked", "mktNoTrack\tx"])
def test_a_class_opts_out_and_stays(value: str) -> None:
    html = (
        f'<a class="{value}" href="http://x.example">x</a><a class=tracked href=http://y.example>'
    )
    assert reasons(html) == ["opted_out", None]
    assert rewritten(html).startswith(f'<a class="{value}" href="http://x.example">')


@pytest.mark.parametrize(
    "attribute",
    [
        "autotrack=true",
        "notrack=false",
        "clicktracking=on",
        "data-track=on",
        "data-skip-click=false",
    ],
)
def test_what_opts_nothing_out_stays(attribute: str) -> None:
    html = f'<a {attribute} href="http://x.example">x</a>'
    assert reasons(html) == [None]
    assert attribute in rewritten(html)


@pytest.mark.parametrize(
    ("tag", "left"),
    [
        (
            '<a data-skip-click=""title="t" href=http://x.example>',
            '<a title="t" href=http://x.example>',
        ),
        ("<a href=http://x.example data-skip-click/>", "<a href=http://x.example />"),
        ('<a href="http://x.example"data-skip-click>', '<a href="http://x.example">'),
        (
            "<a clicktracking=off clicktracking=off href=http://x.example>",
            "<a href=http://x.example>",
        ),
        ("<a href=http://x.example\r\n\tses:no-track\r\n>", "<a href=http://x.example\r\n>"),
    ],
)
def test_stripping_joins_nothing(tag: str, left: str) -> None:
    assert rewritten(tag) == left
    assert [x.url for x in compiled(left).links] == ["http://x.example"]


def test_without_a_pixel_or_a_redirect_nothing_is_touched() -> None:
    html = b'<a clicktracking=off href="http://x.example">x</a></body>'
    assert compiled(html, Options(opens=False)).parts == (html,)


def test_a_mail_that_has_been_through_is_left_alone() -> None:
    html = '<a href="http://x.example">x</a><a clicktracking=off href="http://y.example">y</a>'
    for options in (Options(), Options(opens=False)):
        mail = compiled(html, options).personalise(TOKEN)
        again = compiled(mail, Options())
        assert again.personalise(b"other") == mail
        assert [link.reason for link in again.links] == ["own_url", "rewritten"]
        assert "left unchanged" in again.notes[0]


def test_our_address_in_other_words_is_ours() -> None:
    html = "".join(
        f'<a href="{url}">x</a>'
        for url in (
            "HTTPS://T.EXAMPLE/x",
            "https://t.example:443",
            "http://t.example/",
            "//t.example/",
        )
    )
    assert reasons(html) == ["own_url", "own_url", "own_url", "no_scheme"]
    html = '<a href="https://x.example/mail/u">u</a><a href="https://x.example/mailbox">m</a>'
    assert reasons(html)[0] is None
    own = Options(own_origins=("https://x.example/mail",))
    assert [link.reason for link in compiled(html, own).links] == ["own_url", None]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("#top", "fragment"),
        ("mailto:a@example.com", "other_scheme"),
        ("tel:+49", "other_scheme"),
        ("java\nscript:x", "other_scheme"),
        ("a/b", "relative"),
        ("//x.example/", "no_scheme"),
        ("\\/x.example/", "no_scheme"),
        ("/x.example", "relative"),
        ("http://", "bad_url"),
        ("http://a b/", "bad_url"),
        ("http://x.example:99999/", "bad_url"),
        ("http://x.example/unsubscribe?u=1", "unsubscribe"),
        ("https://x.example/opt-out", "unsubscribe"),
        ("https://x.example/adopt-outdoor-cats", None),
        ("http://x.example/{{id}}", "placeholder"),
        ("http://x.example/*|ID|*", "placeholder"),
        ("http://x.example/%%ID%%", "placeholder"),
        ("http://x.example/<% id %>", "placeholder"),
        ("http://x.example/[[id]]", "placeholder"),
        ("http://x.example/${id}", "placeholder"),
        ("http://x.example/%22QID", None),
        ("http://x.example/a[1]=2", None),
        ("http://spam.example/", "excluded_domain"),
        ("http://a.SPAM.example./", "excluded_domain"),
        ("http://notspam.example/", None),
        ("http://x.example/" + "x" * 2000, "too_long"),
        ("http://x.example/" + "ü" * 700, "too_long"),
    ],
)
def test_why_a_link_is_not_tracked(url: str, reason: str | None) -> None:
    assert reasons(f'<a href="{url}">x</a>', excluded_domains=("spam.example",)) == [reason]


def test_switched_off() -> None:
    html = '<a href="http://x.example">x</a><a href="#x">y</a></body>'
    assert reasons(html, clicks=False) == ["tracking_off", "fragment"]
    assert compiled(html, Options(clicks=False, opens=False)).parts == (html.encode(),)


def test_an_unsubscribe_link_is_known_by_any_of_its_names() -> None:
    html = (
        '<a href="http://x.example/1" data-track-name="footer">Unsubscribe</a>'
        '<a href="http://x.example/2"><img alt="Hier abmelden"></a>'
        '<a href="http://x.example/3" title="Se désabonner">x</a>'
        f'<a href="http://x.example/4">{"Why readers unsubscribe, and what to do. " * 2}</a>'
    )
    assert reasons(html) == ["unsubscribe", "unsubscribe", "unsubscribe", None]


def test_tags_and_label_stay_in_the_mail() -> None:
    names = 'data-track-name="Hero &amp; co" data-track-tag="boots, sale new"'
    html = f'<a href="http://x.example" {names}>Buy</a>'
    link = compiled(html).links[0]
    assert (link.label, link.tags) == ("Hero & co", ("boots", "sale", "new"))
    assert names in rewritten(html)


@pytest.mark.parametrize(
    ("element", "label"),
    [
        ("<a href=#>  Buy\n <b>n</b>ow &amp; save<br>now</a> later", "Buy now & save now"),
        ("<a href=#><img src=x alt='A &gt; b'></a>", "A > b"),
        ("<a href=# title=T></a>", "T"),
        ("<a href=#><!--[if mso]>&nbsp;<![endif]-->Go<!-- > --></a>", "Go"),
        ("<v:rect href=#><w:anchorlock/><center>Order</center></v:rect> x", "Order"),
        ("<area href=# alt=Map> x", "Map"),
        ("<a href=#><style>.a > b{}</style><script>x</script>Go</a>", "Go"),
        ("<a href=#><img src=x alt=''><img title=T></a>", "T"),
        ("<a href=#><img alt=' ' aria-label='A &amp; b'></a>", "A & b"),
        ("<a href=# aria-label=A><img src=i.png></a>", "A"),
        (
            "<a href=#><img src='https://x.example/i/hero%20shoe.png?w=1&amp;h=2#x'></a>",
            "hero shoe.png",
        ),
        ("<a href=#><img src=i.png><img src=j.png></a>", "i.png"),
        ("<a href=#><img src=cid:a@b></a>", ""),
        ("<a href=#><img src='data:image/png;base64,iVBO/Rw0'></a>", ""),
        ("<svg><a xlink:href=#><title>T</title></a></svg>", "T"),
        ("<a href=#>" + "x" * 200 + "</a>", "x" * 120),
        ("<a href=#>one<a href=#>two", "one"),
        ("<a href=#>&#" + "9" * 4000 + ";</a>", "\ufffd"),
    ],
)
def test_labels(element: str, label: str) -> None:
    assert compiled(element).links[0].label == label


def test_links_of_svg_and_what_follows_it() -> None:
    html = (
        '<svg viewBox="0 0 1 1"><title/><style><a href="http://x.example/1"/></style>'
        '<![CDATA[<a href="http://x.example/no">]]><a xlink:href="http://x.example/2">2</a>'
        '<a href="http://x.example/3" xlink:href="http://x.example/no">3</a>'
        '<foreignObject><style><a href="http://x.example/no"></style>'
        '<a xlink:href="http://x.example/no">no</a></foreignObject></svg>'
        '<a href="http://x.example/4" xlink:href="http://x.example/no">4</a>'
        '<math><style/><p><![CDATA[> <a href="http://x.example/5">]]>5</a>'
    )
    result = compiled(html)
    assert [link.url for link in result.links] == [f"http://x.example/{n}" for n in range(1, 6)]
    assert result.notes == ()
    mail = rewritten(html)
    assert f'<a xlink:href="{US}/c/M-1_x/L1">2</a>' in mail and mail.count("/no") == 5


def test_utm_comes_before_the_fragment_and_never_twice() -> None:
    html = '<a href="http://x.example/?utm_source=old#top">x</a>'
    link = compiled(html, Options(utm={"utm_source": "new", "utm_medium": "e mail"})).links[0]
    assert link.target == "http://x.example/?utm_source=old&utm_medium=e%20mail#top"
    assert link.url == "http://x.example/?utm_source=old#top"


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("windows-1251", "cp1251"),
        ("KOI8-R", "koi8-r"),
        ("GB2312", "gb18030"),
        ("Big5", "big5hkscs"),
        ("Shift_JIS", "cp932"),
        ("EUC-JP", "euc_jp"),
        ("ks_c_5601-1987", "cp949"),
        ("ISO-2022-JP", "iso2022_jp"),
        ("utf-16", "utf-16-le"),
        ("utf-16", "utf-16-be"),
        ("UTF-16BE", "utf-16-be"),
    ],
)
def test_charsets(charset: str, codec: str) -> None:
    word = {"cp1251": "Привет", "koi8-r": "Привет", "cp949": "안녕"}.get(codec, "日本表")
    html = f'<p>{word}</p><a href="http://x.example/{word}">{word}</a></body>'
    data = html.encode(codec)
    result = compiled(data, charset=charset)
    link = result.links[0]
    assert (link.url, link.label, link.reason) == (f"http://x.example/{word}", word, None)
    assert data[link.offset :].startswith("http://x.example/".encode(codec))
    mail = result.personalise(TOKEN)
    assert f"{US}/c/M-1_x/L0" in mail.decode(codec)
    assert mail.decode(codec).endswith("></body>")
    assert result.restore(mail, TOKEN) == data


@pytest.mark.parametrize(
    ("charset", "word", "text"),
    [
        ("iso-2022-jp", b"\x1b$B-!%F%9%H\x1b(B", "\u2460テスト"),  # NEC's row 13
        ("iso-2022-jp", b"\x1b$@%F%9%H\x1b(J", "テスト"),
        ("iso-2022-jp", b"\x1b(J\\~\x1b(B", "\xa5\u203e"),
        ("iso-2022-jp", b"\x1b(IC=D\x1b(B", "ﾃｽﾄ"),
        ("iso-2022-jp", b"\x1b(B\x1b$B%F\x1b(B\x1b$B%9\x1b$B%H\x1b(B\x1b(B", "テスト"),
        ("iso-2022-jp", b'\x1b$B<>!"\x1b(B', "湿、"),  # whose bytes are < > ! "
        ("iso-2022-jp-1", b"\x1b$(D0!\x1b(B", "丂"),
        ("iso-2022-kr", b"\x1b$)C\x0e>H3g\x0f", "안녕"),
        ("iso-2022-cn", b"\x1b$)A\x0eVPND\x0f", "中文"),
    ],
)
def test_what_is_shifted_is_neither_read_as_markup_nor_changed(
    charset: str, word: bytes, text: str
) -> None:
    html = (
        b"<p>" + word + b'</p><a href="http://x.example/' + word + b'">' + word + b"</a>"
        b"<a href=http://x.example/b>" + word + b"</a>" + word
    )
    result = compiled(html, charset=charset)
    assert [link.label for link in result.links] == [text, text]
    assert [link.url for link in result.links] == [f"http://x.example/{text}", "http://x.example/b"]
    mail = result.personalise(TOKEN)
    assert result.restore(mail, TOKEN) == html
    read = iso2022.decode(mail)
    assert (
        f'{text}</p><a href="{US}/c/M-1_x/L0">{text}</a><a href={US}/c/M-1_x/L1>{text}</a>' in read
    )
    assert iso2022.decode(mail).count("<img") == 1


def test_a_mail_that_ends_in_another_set_gets_its_pixel_in_ascii() -> None:
    html = b"<a href=http://x.example/>x</a>\x1b$B%F"
    result = compiled(html, charset="iso-2022-jp")
    mail = result.personalise(TOKEN)
    assert mail.startswith(b"<a href=https://t.example/c/M-1_x/L0>x</a>\x1b$B%F\x1b(B<img ")
    assert result.restore(mail, TOKEN) == html


@pytest.mark.parametrize(
    ("data", "charset", "note"),
    [
        (b"<a href=http://x.example>+AGE-", "utf-7", "left unchanged"),
        (b"<a href=http://x.example>~{VP~}", "HZ-GB-2312", "left unchanged"),
        (b"\xff\xfe<\0a", None, "not valid"),
        (b"<p>\xff", "x-unheard-of", "is unknown"),
    ],
)
def test_a_charset_that_cannot_be_kept_is_reported(
    data: bytes, charset: str | None, note: str
) -> None:
    result = compiled(data, charset=charset)
    assert note in result.notes[0]
    assert result.restore(result.personalise(TOKEN), TOKEN) == data
    if "left unchanged" in result.notes[0]:
        assert result.parts == (data,)


def test_limits_are_named() -> None:
    link = b'<a href="http://x.example/">x</a>'
    for html, limit in (
        (link * 20_001, "more than 20,000 links"),
        (b"</body>" * 100_001, "more than 100,000"),
        (b"<a" + b" href" * 201 + b">", "200 attributes"),
        (b"<a title='" + b"x" * 2_000_000 + b"' href=x>", "2,000,000 bytes"),
        (b"<a href='" + b"&#9" * 500_001 + b"'>", "500,000 character references"),
    ):
        with pytest.raises(RewriteError, match=limit):
            compiled(html)
    with pytest.raises(RewriteError, match="more than 20,000 links"):
        rewrite_text("http://x.example/ " * 20_001, OPTIONS, token, US)


def test_one_decision_for_a_url_in_all_alternatives() -> None:
    options = Options(own_origins=(US,), utm={"utm_source": "x"})
    html = scan_html(
        b'<a data-track=off href="https://x.example/reset?a=1&amp;b=2">New password</a>'
        b'<a href="https://x.example/q/1">Unsubscribe</a><a href="https://x.example/q/2">click</a>'
        b'<a href="https://x.example/q/3">shop</a>',
        options,
        US,
    )
    text = scan_text(
        "https://x.example/reset?a=1&b=2 https://x.example/q/1#x https://x.example/q/1\n"
        "To unsubscribe: https://x.example/q/2\nhttps://x.example/q/3",
        options,
        US,
    )
    leave = refused([html, text])
    assert [link.reason for link in html.compile(token, leave).links] == [
        "opted_out",
        "unsubscribe",
        "unsubscribe",
        None,
    ]
    assert [link.reason for link in text.compile(token, leave).links] == [
        "opted_out",
        None,
        "unsubscribe",
        "unsubscribe",
        None,
    ]
    assert [link.reason for link in text.compile(token).links] == [
        None,
        None,
        None,
        "unsubscribe",
        None,
    ]


def test_a_link_is_as_long_at_most_as_windows_opens_it() -> None:
    tokens = Tokens(["a signing key of these tests, of no use elsewhere"])
    message = tokens.message(MessageToken(bytes(16), 1, 2)).encode()
    assert len(message) <= MESSAGE_TOKEN
    rng = random.Random(1)
    longest = 0
    for size in range(1300, 1990, 7):  # of random letters, which do not compress
        path = "".join(rng.choices(ascii_letters + digits, k=size))
        html = f'<a data-skip-click="no" href="https://x.example/{path}">x</a>'
        result = compile_html(
            html.encode(),
            Options(opens=False),
            lambda x: tokens.link(LinkToken(1, 2, x.target)),
            US,
        )
        (link,) = result.links
        assert link.reason in (None, "too_long") and bool(link.target) == link.tracked
        if link.tracked:
            longest = max(longest, len(result.personalise(message)) - len(html) + len(link.url))
        else:
            assert result.personalise(message) == html.encode()
    assert 2_000 < longest <= 2_083


@pytest.mark.parametrize(
    "sign", ["amp4email", "\u26a14email", "\u26a1\ufe0f4email data-css-strict"]
)
def test_amp_is_left_alone(sign: str) -> None:
    html = f'<!doctype html><html lang="en" {sign}><body><a href="http://x.example">x</a></body>'
    result = compiled(html)
    assert result.personalise(TOKEN) == html.encode()
    assert result.notes == ("the document is AMP for email: left unchanged",)
    assert len(compiled(html.replace(sign, "title='amp4email'")).links) == 1


def test_the_targets_of_a_mail_have_so_many_characters_only() -> None:
    base = f'<base href="https://x.example/{"a" * 1_900}/">'
    count = links.MAX_TARGET_CHARS // 1_920
    compiled(base + "<a href=1>x</a>" * (count - 10))
    with pytest.raises(RewriteError, match=r"byte \d+: the URLs of all links have more than"):
        compiled(base + "<a href=1>x</a>" * (count + 10))
    utm = Options(utm={"utm_x": "x" * 1_900})
    with pytest.raises(RewriteError, match="all links in the text"):
        rewrite_text("https://x.example/\n" * (count + 10), utm, token, US)


def test_parameters_longer_than_any_url_leave_all_links_as_they_are() -> None:
    options = {"utm": {"utm_x": "é" * 400}}
    assert reasons("<a href=https://x.example/>x</a><a href=/y>y</a>", **options) == [
        "too_long",
        "relative",
    ]


def test_a_long_base_leaves_relative_links_as_they_are() -> None:
    base = f'<base href="https://x.example/{"a" * 2_000}/">'
    assert reasons(base + "<a href=1>x</a><a href=https://y.example/>y</a>") == ["too_long", None]
