import pytest

from app.rewriting import urls
from app.rewriting.charsets import Charset


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("?a=1&amp;b=2", "?a=1&b=2"),
        ("?target=3&sectionid=1", "?target=3&sectionid=1"),
        ("?a&copy=1&copy2&copy;&copy&", "?a&copy=1&copy2\xa9\xa9&"),
        ("&notit;&notin;&ampx&amp", "&notit;\u2209&ampx&"),
        ("&#65;&#x41&#X41;&#65=", "AAAA="),
        ("&#128;&#x80;&#x81;", "\u20ac\u20ac\x81"),
        ("&#0;&#xD800;&#x110000;&#" + "9" * 5000 + ";", "\ufffd" * 4),
        ("&#1;&#x1F600;&#00000000065;", "\x01\U0001f600A"),
        ("&#;&#x;&;&", "&#;&#x;&;&"),
        ("&NotEqualTilde;", "\u2242\u0338"),
    ],
)
def test_references_in_attributes(value: str, read: str) -> None:
    assert urls.read_value(value) == read


def test_references_in_text() -> None:
    assert urls.read_text("&copy=&ampx &notit; &#38;amp; &#65") == "\xa9=&x \xacit; &amp; A"


@pytest.mark.parametrize(
    ("value", "url"),
    [
        (" \n http://x.example/a\r\n\tb \x00", "http://x.example/ab \ufffd"),
        ("ht&Tab;tp://x.example&NewLine;", "http://x.example"),
        ("\x01http://x.example/\x1f", "http://x.example/"),
        ("\xa0http://x.example", "\xa0http://x.example"),
    ],
)
def test_white_space_as_the_url_standard_takes_it_away(value: str, url: str) -> None:
    assert urls.read_url(value) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example",
        "https://x.example?a=1",
        "http://user:pa@ss@x.example:8080/a(b)/@c;d=1,2!~*'/%7Bx%7D?q=a%20b+c&d=[1]#f=#g",
        "http://[2001:db8::1]:80/",
        "HTTP://X.Example./a//b/../c?",
        'http://x.example/"<>`{|}^\\',
    ],
)
def test_visible_ascii_arrives_as_it_stands(url: str) -> None:
    assert urls.split_url(url).target({}) == url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://bücher.example/ü?ü#ü", "http://xn--bcher-kva.example/%C3%BC?%C3%BC#%C3%BC"),
        ("http://i❤.example/", "http://xn--i-7iq.example/"),
        ("http://faß.example", "http://xn--fa-hia.example"),
        ("http://\uff25\uff38\u3002example/", "http://ex.example/"),
        ("http://x.example/🥾 a", "http://x.example/%F0%9F%A5%BE%20a"),
        ("http:x.example", "http://x.example"),
        ("https:/\\x.example\\a", "https://x.example/a"),
        ("http://x.example\\@evil.example", "http://x.example/@evil.example"),
        ("http://x.example。/", "http://x.example./"),
    ],
)
def test_the_rest_is_encoded_as_browsers_do(url: str, target: str) -> None:
    assert urls.split_url(url).target({}) == target


def test_a_query_is_encoded_in_the_mails_charset() -> None:
    split = urls.split_url("http://x.example/ü?q=ü日本#ü")
    assert split.target({}, Charset("windows-1252")) == (
        "http://x.example/%C3%BC?q=%FC%26%2326085%3B%26%2326412%3B#%C3%BC"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///",
        "http://?a",
        "http://a b/",
        "http://a<b/",
        "http://x:y/",
        "http://x.example:65536/",
        "http://u@/",
        "http://[::1/",
        "http://[x]/",
        "http://./",
        "http://\u2fff.example/",
        "ftp://x.example/",
        "http://" + "ü" * 5000,
        "http://good.example\uff20evil.example/",
        "http://good.example\uff0f.evil.example/",
        "http://good.example%40evil.example/",
        "http://good.example%2f/",
        "http://x%00y/",
        "http://%ff.example/",
        "http://%5b::1%5d/",
        "http://[fe80::1%25eth0]/",
        "http://[1::2::3]/",
        "http://ü.xn--a.example/",
        "http://ü.xn--\xad/",
    ],
)
def test_what_has_no_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"no valid|not an http"):
        urls.split_url(url).target({})


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://x.example", "http://x.example?utm_a=1%262"),
        ("http://x.example/#f?", "http://x.example/?utm_a=1%262#f?"),
        ("http://x.example/?", "http://x.example/?utm_a=1%262"),
        ("http://x.example/?b=1&", "http://x.example/?b=1&utm_a=1%262"),
        ("http://x.example/?xutm_a=0", "http://x.example/?xutm_a=0&utm_a=1%262"),
        ("http://x.example/?b&utm_a", "http://x.example/?b&utm_a"),
        ("http://x.example/#utm_a=0", "http://x.example/?utm_a=1%262#utm_a=0"),
    ],
)
def test_utm(url: str, target: str) -> None:
    assert urls.split_url(url).target(urls.encoded({"utm_a": "1&2"})) == target


@pytest.mark.parametrize(
    ("url", "base", "absolute"),
    [
        ("a?b=1", "http://x.example/m/", "http://x.example/m/a?b=1"),
        ("a", "http://x.example", "http://x.example/a"),
        ("a", "http://x.example/m/n?o#p", "http://x.example/m/a"),
        ("a", "http://x.example\\m\\n", "http://x.example/m/a"),
        ("a", "http://x.example/m/..", "http://x.example/m/../a"),
        ("?", "http://x.example/m/n?o#p", "http://x.example/m/n?"),
        ("#", "http://x.example/m/n?o#p", "http://x.example/m/n?o#"),
        ("/a//b", "https://u@x.example:8/m", "https://u@x.example:8/a//b"),
        ("//y.example/?", "https://x.example/", "https://y.example/?"),
        ("\\\\y.example", "https://x.example/", "https://y.example"),
        ("/\\y.example", "https://x.example/", "https://y.example"),
        ("\\/\\y.example", "https://x.example/", "https://y.example"),
        ("\\y.example", "https://x.example/", "https://x.example/y.example"),
        ("https:y.example", "https://x.example/m/", "https://x.example/m/y.example"),
        ("https:/y.example", "https://x.example/m/", "https://x.example/y.example"),
        ("http:y.example", "https://x.example/m/", "http://y.example"),
        ("http://y.example/a/../b?#", "http://x.example/", "http://y.example/a/../b?#"),
        ("//y.example", "", "//y.example"),
    ],
)
def test_relative_addresses(url: str, base: str, absolute: str) -> None:
    read = urls.absolute(url, base)
    assert (urls.split_url(read).target({}) if base else read) == absolute


def test_a_long_base_is_part_of_no_url() -> None:
    """It would be copied for every link. What does not depend on it is read all the same."""
    base = "https://x.example/" + "a" * urls.MAX_BASE_CHARS + "/"
    for relative in ("", "x", "/x", "?x", "#x", "https:x"):
        with pytest.raises(urls.LongBaseError):
            urls.absolute(relative, base)
    for url in ("http://y.example/", "https://y.example/", "http:x"):
        assert urls.absolute(url, base) == url
    assert urls.absolute("//y.example/", base) == "https://y.example/"


def test_parameters_are_looked_up_in_the_original_query_only() -> None:
    """Each is added once, whatever the number: their cost is the sum of their lengths."""
    utm = {f"utm_{number}": "é" for number in range(2_000)}
    target = urls.split_url("http://x.example/?utm_7=x&a&utm_8?utm_9=&utm_10").target(
        urls.encoded(utm)
    )
    names = [field.partition("=")[0] for field in target.partition("?")[2].split("&")]
    own = ["utm_7", "a", "utm_8?utm_9", "utm_10"]
    added = [name for name in utm if name not in ("utm_7", "utm_9", "utm_10")]
    assert names == [*own, *added]
