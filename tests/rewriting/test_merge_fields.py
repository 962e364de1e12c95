"""Values in a compiled mail: where they are filled, and that they cannot leave their place."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.rewriting import merge_fields, urls
from app.rewriting.html import CompiledBody, Link, Options, RewriteError, compile_html, rewrite_text
from app.rewriting.merge_fields import MissingValueError
from tests.support.hostile_urls import HOSTILE

US = "https://t.example"
TOKEN = b"M-1_x"
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def sign(link: Link) -> str:
    """A link token that can be read back in a test."""
    return f"L{link.index}-{link.target.encode().hex()}"


def compiled(html: str, options: Options | None = None) -> CompiledBody:
    return compile_html(html.encode(), options or Options(opens=False), sign, US, "utf-8")


def filled(html: str, **values: str | None) -> str:
    return compiled(html).filled(values, sign).personalise(TOKEN).decode()


def targets(mail: str) -> list[str]:
    """Where a mail's redirects lead."""
    found = re.findall(rf"{US}/c/M-1_x/L\d+-([0-9a-f]*)", mail)
    return [bytes.fromhex(target).decode() for target in found]


def test_a_value_is_encoded_for_the_place_where_it_stands() -> None:
    value = "a/b & <c>\"d'?e=1#f\u00e9"
    html = (
        "<title>{{ v }}</title><p title=\"{{v}}\" lang='{{v}}' id={{v}}>{{v}} *|v|*</p>"
        '<a href="https://x.example/{{v}}/?q={{ v }}#{{v}}">{{v}}</a><img src="https://x.example/{{v}}">'
    )
    mail = filled(html, v=value)
    text = "a/b &amp; &lt;c&gt;&quot;d&#x27;?e=1#fé"
    part = "a%2Fb%20%26%20%3Cc%3E%22d%27%3Fe%3D1%23f%C3%A9"
    assert targets(mail) == [f"https://x.example/{part}/?q={part}#{part}"]
    assert re.sub(rf"{US}[^\"]*", "T", mail) == (
        f'<title>{text}</title><p title="{text}" lang=\'{text}\' id="{text}">{text} {text}</p>'
        f'<a href="T">{text}</a><img src="https://x.example/{part}">'
    )


def test_text_is_filled_as_it_is_and_its_links_are_tracked() -> None:
    text = "Dear *|NAME|*, your {{ size }}: https://x.example/p/{{ id }}?e=*|MAIL|*. Bye {{NAME}}"
    result = rewrite_text(text, Options(), sign, US)
    assert result.fields == {"NAME", "size", "id", "MAIL"}
    assert result.links[0].url == "https://x.example/p/{{ id }}?e=*|MAIL|*"
    values = {
        "NAME": "<Ann & Bob>\n\u00e9",
        "size": "9\u00bd",
        "id": "4/2",
        "MAIL": "a+b@x.example",
    }
    mail = result.filled(values, sign).personalise(TOKEN).decode()
    assert targets(mail) == ["https://x.example/p/4%2F2?e=a%2Bb%40x.example"]
    assert re.sub(rf"{US}\S*[0-9a-f]", "T", mail) == (
        "Dear <Ann & Bob>\n\u00e9, your 9\u00bd: T. Bye <Ann & Bob>\n\u00e9"
    )
    assert result.personalise(TOKEN).decode() == text


def test_without_values_nothing_changes() -> None:
    html = '<p>{{a}}</p><a href="https://x.example/{{a}}">x</a><a href="https://x.example/">y</a>'
    result = compiled(html)
    mail = result.personalise(TOKEN).decode()
    assert "<p>{{a}}</p>" in mail and 'href="https://x.example/{{a}}"' in mail
    assert [(link.reason, link.personal) for link in result.links] == [
        ("placeholder", True),
        (None, False),
    ]


def test_a_link_is_signed_for_what_it_leads_to_and_reported_so() -> None:
    html = '<a href="https://x.example/p?e={{mail}}">Parcel</a>'
    options = Options(opens=False, utm={"utm_source": "n"})
    for mail in ("ann@x.example", "bob@x.example"):
        link = compiled(html, options).filled({"mail": mail}, sign).links[0]
        quoted = mail.replace("@", "%40")
        assert (link.reason, link.url) == (None, f"https://x.example/p?e={quoted}")
        assert link.target == f"https://x.example/p?e={quoted}&utm_source=n"


@pytest.mark.parametrize(
    ("value", "reason", "href_"),
    [
        ("https://y.example/a?b=1&c=2", None, ""),
        ("HTTP://Y.EXAMPLE/ x", None, ""),
        ("javascript:alert(1)", "relative", "javascript%3Aalert%281%29"),
        ("JaVaScRiPt:alert(1)", "relative", "JaVaScRiPt%3Aalert%281%29"),
        (" java\nscript:x", "relative", "%20java%0Ascript%3Ax"),
        ("data:text/html,<b>", "relative", "data%3Atext%2Fhtml%2C%3Cb%3E"),
        ("vbscript:x", "relative", "vbscript%3Ax"),
        ("//evil.example", "relative", "%2F%2Fevil.example"),
        ("mailto:a@x.example?subject=b", "other_scheme", "mailto:a@x.example?subject=b"),
        ("tel:+49", "other_scheme", "tel:+49"),
        ("https:///", "relative", "https%3A%2F%2F%2F"),
        ("", "empty", ""),
        ("https://t.example/x", "own_url", "https://t.example/x"),
        ("https://x.example/unsubscribe", "unsubscribe", "https://x.example/unsubscribe"),
        ("https://x.example/{{other}}", "placeholder", "https://x.example/{{other}}"),
    ],
)
@pytest.mark.parametrize("quote", ['"', "'", ""])
def test_a_value_that_is_the_whole_url(
    value: str, reason: str | None, href_: str, quote: str
) -> None:
    html = f"<a href={quote}{{{{u}}}}{quote} id=i>x</a>"
    result = compiled(html).filled({"u": value}, sign)
    assert result.links[0].reason == reason
    mail = result.personalise(TOKEN).decode()
    if reason:
        written = quote or '"'
        assert mail == f"<a href={written}{href_.replace('&', '&amp;')}{written} id=i>x</a>"
    else:
        assert len(targets(mail)) == 1


@pytest.mark.parametrize(
    ("url", "values", "host"),
    [
        ("https://{{a}}.x.example/", {"a": "shop"}, "shop.x.example"),
        ("https://{{a}}/p", {"a": "shop.example"}, "shop.example"),
        ("https://{{a}}:8443/p", {"a": "shop.example"}, "shop.example"),
        ("https://{{a}}.x.example/", {"a": "evil.example/"}, None),
        ("https://{{a}}.x.example/", {"a": "evil.example#"}, None),
        ("https://{{a}}.x.example/", {"a": "a@evil"}, None),
        ("https://{{a}}.x.example/", {"a": "evil.example"}, None),
        ("https://x.example{{a}}/", {"a": ".evil.example"}, None),
        ("https://x.co{{a}}", {"a": "m"}, None),
        ("https://{{a}}/evil.example/", {"a": ""}, None),
        ("{{b}}{{a}}/", {"b": "https://x.example", "a": ".evil.example"}, None),
        ("{{b}}{{a}}/", {"b": "https://x.example/", "a": ".evil.example"}, "x.example"),
        ("{{b}}//x.example/", {"b": "https"}, None),
        ("{{b}}://x.example/", {"b": "https"}, "x.example"),
        ("{{b}}://x.example/%0aalert(1)", {"b": "javascript"}, None),
        ("java{{b}}:alert(1)", {"b": "script"}, None),
        ("{{b}}javascript:alert(1)", {"b": ""}, None),
    ],
)
def test_a_value_makes_no_other_host_and_no_other_scheme(
    url: str, values: dict[str, str], host: str | None
) -> None:
    full = merge_fields.fill_url(url, values)
    assert urls.scheme(full) in ("", "https")
    link = compiled(f'<a href="{url}">x</a>').filled(values, sign).links[0]
    assert (urlsplit(link.target).hostname if link.tracked else None) == host


@pytest.mark.parametrize(
    "html",
    [
        "<script>{{v}}</script>",
        "<style>{{v}}</style>",
        "<!-- {{v}} -->",
        "<p {{v}}>",
        "<{{v}}>",
        "<p onclick='{{v}}'>",
        '<p style="color: {{v}}">',
        '<p {{v}}="x">',
        "<plaintext>{{v}}",
        '<meta content="{{v}}">',
        '<base href="{{v}}">',
        '<img srcset="{{v}}">',
        "<{{v}}{{v}}>",
        '<p title={{v}}"x>',
        "</{{v}}>",
        "<!{{v}}>",
        "<title></{{v}}></title>",
        "<textarea></tex{{v}}></textarea>",
        "<script><!--<script></script>{{v}}",
        "<svg><title><script></title>{{v}}",
        "<select><style><script></style>{{v}}",
        '<script src="{{v}}"></script>',
        '<iframe src="{{v}}">',
        '<p title="{{v}}',
        "<a href=\"javascript:x('{{v}}')\">x</a>",
        '<img src="data:{{v}}">',
        "<xmp>{{v}}</xmp>",
    ],
)
def test_where_nothing_is_filled(html: str) -> None:
    result = compiled(html)
    assert result.fields == frozenset()
    assert result.filled({"v": "VALUE"}, sign).personalise(TOKEN).decode() == html


@pytest.mark.parametrize(
    "text",
    [
        "{{{v}}}",
        "{{v|upper}}",
        "{{#v}}",
        "{{ v w }}",
        "{{}}",
        "{ {v} }",
        "*|v w|*",
        "*||*",
        "{{v",
        "*|v",
        "{{" + "v" * 65 + "}}",
    ],
)
def test_what_is_no_merge_field(text: str) -> None:
    assert compiled(f"<p>{text}</p>").fields == frozenset()
    assert rewrite_text(text, Options(), sign, US).fields == frozenset()


def test_a_missing_value_is_named_and_null_leaves_a_field_alone() -> None:
    html = '<p>{{b}} {{a}}</p><a href="https://x.example/{{c}}?{{a}}">x</a>'
    with pytest.raises(MissingValueError, match="'b'") as caught:
        filled(html, a="1", c="2")
    assert caught.value.name == "b"
    mail = filled(html, a="1", b=None, c=None)
    assert mail == '<p>{{b}} 1</p><a href="https://x.example/{{c}}?1">x</a>'


@pytest.mark.parametrize(
    ("html", "options", "reason"),
    [
        ('<a href="https://x.example/{{a}}">x</a>', Options(clicks=False), "tracking_off"),
        ('<a data-track=off href="https://x.example/{{a}}">x</a>', Options(), "opted_out"),
        ('<a href="https://x.example/{{a}}">Abmelden</a>', Options(), "unsubscribe"),
        (
            '<a href="https://x.example/{{a}}">x.example</a>',
            Options(leave_url_text=True),
            "url_text",
        ),
        (
            f'<a href="{US}/c/x/y">x</a><a href="https://x.example/{{{{a}}}}">x</a>',
            Options(),
            "rewritten",
        ),
        ('<a href="https://x.example/{{a}}{{{b}}}">x</a>', Options(), "placeholder"),
        (
            '<a href="https://x.example/{{a}}">x</a>',
            Options(excluded_domains=("x.example",)),
            "excluded_domain",
        ),
        ('<a href="https://x.example/{{a}}">x</a>', Options(max_url=20), "too_long"),
    ],
)
def test_a_link_that_is_not_tracked_is_filled_all_the_same(
    html: str, options: Options, reason: str
) -> None:
    link = compiled(html, options).links[-1]
    assert (link.reason, link.personal) == ("placeholder", reason == "too_long")
    whole = compiled(html, options).filled({"a": "v w", "b": "x"}, sign)
    assert whole.links[-1].reason == reason
    assert 'href="https://x.example/v%20w' in whole.personalise(TOKEN).decode()


def test_a_value_is_not_filled_again() -> None:
    assert filled("<p>{{a}} {{b}}</p>", a="{{b}}", b="*|a|*") == "<p>{{b}} *|a|*</p>"


def test_a_mail_has_so_many_fields() -> None:
    result = compiled("{{a}}" * (merge_fields.MAX_PLACES + 1))
    with pytest.raises(RewriteError, match="2,000 merge fields"):
        result.filled({"a": ""}, sign)
    assert compiled("{{a}}" * merge_fields.MAX_PLACES).filled({"a": "x"}, sign).parts == (
        b"x" * 2000,
    )


def test_a_comment_in_a_style_sheet_ends_nothing() -> None:
    assert filled("<style><!-- p{} --></style><p>{{v}}", v="x").endswith("<p>x")


def test_outlooks_comments_are_filled_too() -> None:
    html = '<!--[if mso]><a href="https://x.example/{{v}}">{{v}}</a><![endif]--><p>{{v}}</p>'
    mail = filled(html, v="-->")
    assert targets(mail) == ["https://x.example/--%3E"]
    assert mail.count("--&gt;") == 2


class Shape(HTMLParser):
    """Tags with their attributes' names, and texts and values by the marks around them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value or "" for name, value in attrs if name in ("title", "alt", "id")]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", (data,)))


TEMPLATE = (
    '<!doctype html><title>({{a}})</title><!-- {{a}} --><p title="({{a}})">({{a}})</p>'
    "<p title='({{b}})' alt=({{a}}) {{a}}>{{a}}{{b}}</p><script>x={{a}}</script>"
    '<a href="https://x.example/{{a}}?q={{b}}#{{a}}">*|a|*</a><a href={{a}}>u</a>'
    '<a href="{{b}}">v</a><style>{{b}}</style><{{a}}{{b}}>< {{a}} {{b}}'
    "<a href='https://{{a}}.x.example/{{b}}'>h</a><a href='{{a}}{{b}}'>w</a>"
    "<a href='{{a}}:{{b}}'>s</a>"
    '<img src="{{a}}" alt="({{b}})"><div onclick="{{a}}" style="{{b}}" id="({{a}})">({{b}})</div>'
    '<a href="https://{{a}}/{{b}}">o</a><a href="javascript:x({{a}})">j</a><b>end</b>'
)
MARKUP = (
    '"',
    "'",
    ">",
    "<",
    "</p>",
    "</script>",
    "</title>",
    "<script>alert(1)</script>",
    "-->",
    "--!>",
    "<!--",
    " onclick=x",
    '" onclick="x',
    "' onclick='x",
    "x onclick=x",
    "&lt;",
    "&#34;",
    "&quot;",
    "`",
    "=",
    "/",
    "\\",
    "]]>",
    "<![CDATA[",
    "<plaintext>",
    "{{a}}",
    "*|b|*",
    "%22%3E",
    "%2e%2e",
    "..",
    "javascript",
    "javascript:",
    ":alert(1)",
    "@evil.example",
    ".evil.example",
    "evil.example/",
    "#",
    "?",
    "&",
    "//",
    "https:",
    "https://",
    "https://y.example",
    "https://y.example/a b?c=\"d'",
    "\t\r\n",
    "\u2028",
    "\u00a0",
    "\ufeff",
    "\u202e",
    "\U0001f97e",
    "\uff1a",
    "\uff02",
    "\uff0e",
)
VALUE = st.one_of(
    st.sampled_from([CONTROLS.sub("", url) for url in HOSTILE]),
    st.lists(st.sampled_from(MARKUP), max_size=6).map("".join),
    st.text(max_size=50).map(lambda text: CONTROLS.sub("", text)),
)


@given(VALUE, VALUE)
@example("", "")
@example("javascript", "alert(1)")
@example("https://y.example", ".evil.example")
def test_a_value_never_leaves_its_place(a: str, b: str) -> None:
    result = compiled(TEMPLATE)
    whole = result.filled({"a": a, "b": b}, sign)
    mail = whole.personalise(TOKEN)
    assert whole.restore(mail, TOKEN) == TEMPLATE.encode()
    plain = Shape(result.filled({"a": "x", "b": "x"}, sign).personalise(TOKEN).decode())
    shape = Shape(mail.decode())
    assert shape.tags == plain.tags
    values = [value.replace("\r\n", "\n") for value in shape.values]
    assert values == [
        value.replace("\r\n", "\n") for value in (f"({a})", f"({b})", f"({a})", f"({b})", f"({a})")
    ]
    for link in whole.links:
        assert urls.scheme(link.url) in ("", "http", "https", "mailto", "tel", "sms", "javascript")
        if link.label == "j":
            assert link.url == "javascript:x({{a}})"
    first, host = whole.links[0], whole.links[3]
    split = urls.split_url(first.url)
    assert first.reason in (None, "too_long", "unsubscribe")
    assert (split.host, len(split.path.split("/"))) == ("x.example", 2)
    assert unquote(split.path[1:]) == unquote(split.fragment[1:]) == a
    assert unquote(split.query.removeprefix("?q=")) == b
    if host.tracked:
        assert urls.split_url(host.target).domain.endswith(".x.example")


@given(VALUE, VALUE)
def test_a_value_in_text_leaves_the_links_alone(a: str, b: str) -> None:
    text = "{{a}} https://x.example/{{a}}?q={{b}} and https://y.example/ {{b}}"
    result = rewrite_text(text, Options(), sign, US)
    whole = result.filled({"a": a, "b": b}, sign)
    mail = whole.personalise(TOKEN)
    assert whole.restore(mail, TOKEN) == text.encode()
    assert [urls.split_url(link.url).host for link in whole.links] == ["x.example", "y.example"]
    first = whole.links[0]
    assert first.reason in (None, "too_long", "unsubscribe")
    shown = f"{US}/c/" if first.tracked else first.url
    assert mail.decode().startswith(f"{a} {shown}") and mail.decode().endswith(f" {b}")


@given(st.lists(st.sampled_from([*MARKUP, "<p>", "<a href=", "title=", "{{a}}", "<!--[if mso]>"])))
def test_any_template_is_filled_or_left_and_comes_back(pieces: list[str]) -> None:
    html = "".join(pieces)
    result = compiled(html, Options())
    for values in ({"a": "<x>'\"", "b": "javascript:x"}, {"a": None, "b": None}):
        whole = result.filled(values, sign)
        assert whole.restore(whole.personalise(TOKEN), TOKEN) == html.encode()
    assert result.restore(result.personalise(TOKEN), TOKEN) == html.encode()


@pytest.mark.parametrize(
    "mail",
    [
        '<a href="https://x.example/{many}">x</a>',
        '<img src="https://x.example/{many}">',
        "<img src=https://x.example/{many}>",
        "<p title={many}>x</p>",
    ],
)
def test_every_field_of_a_url_counts(mail: str) -> None:
    few, many = "{{a}}" * 1_000, "{{a}}" * (merge_fields.MAX_PLACES + 1)
    compiled(mail.replace("{many}", few)).filled({"a": "x"}, sign)
    with pytest.raises(RewriteError, match="2,000 merge fields"):
        compiled(mail.replace("{many}", many)).filled({"a": "x"}, sign)


def test_what_is_filled_has_so_many_bytes_only() -> None:
    mail = compiled("<p>{{a}}</p>" * 1_900)
    with pytest.raises(RewriteError, match=r"byte \d+: the values of all merge fields have more"):
        mail.filled({"a": "&" * 4_000}, sign)
    with pytest.raises(RewriteError, match="a URL of more than 100,000 characters"):
        compiled(f'<img src="/{"{{a}}" * 100}">').filled({"a": "x" * 4_000}, sign)


def test_fields_outside_of_attributes_are_reported_in_order() -> None:
    body = compiled('<p {{a}} title="{{b}}" {{c}} lang="{{d}}" {{e}}>x</p>')
    assert body.merge and list(body.merge.closed) == [3, 23, 42]
    assert body.fields == {"b", "d"}


@pytest.mark.parametrize("mail", ["{{a}}", "<p {{a}}>", "<!--{{a}}-->", "<p>{{a}}", "*|A|*</p>"])
def test_fields_are_not_searched_beyond_the_number_that_is_filled(mail: str) -> None:
    """Fields that cannot be filled only need a note, so those are not all searched either."""
    many = compiled(mail * 50_000)
    assert many.merge
    assert many.merge.occurrences <= merge_fields.MAX_PLACES + 1
    assert len(many.merge.closed) <= merge_fields.MAX_PLACES


def test_fields_after_many_that_are_not_filled_are_filled() -> None:
    for before in ("<!--{{a}}-->", "<p {{a}}>", "<{{a}}"):
        mail = compiled(before * 3_000 + "<p>{{b}}</p>").filled({"a": "x", "b": "done"}, sign)
        assert mail.personalise(TOKEN).endswith(b"<p>done</p>"), before
