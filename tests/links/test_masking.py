import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import md5, sha256
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.links.masking import (
    MASK,
    mask_html,
    mask_text,
    mask_url,
    template_url,
)
from tests.support.paths import SHARED

CORPUS = SHARED / "corpus"
UUID = "550e8400-e29b-41d4-a716-446655440000"
JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0."
    "TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ"
)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        (
            "https://shop.example/reset/8f3a9c?token=abc&utm_source=mail",
            "https://shop.example/reset/***?token=***&utm_source=mail",
        ),
        ("https://user:pw@h.example:8443/a#b", "https://***@h.example:8443/a#b"),
        ("https://h.example/reset-password/482913", "https://h.example/reset-password/***"),
        (
            "https://h.example/reset/MQ/c2v6kz-3f5e6a7b8c9d0e1f2a3b",
            "https://h.example/reset/MQ/***",
        ),
        ("https://h.example/verify/email/aB3dE6", "https://h.example/verify/email/***"),
        ("https://h.example/a;jsessionid=1A2B/b?x=1", "https://h.example/a;jsessionid=***/b?x=1"),
        (
            "https://h.example/cb#access_token=a.b&lang=de",
            "https://h.example/cb#access_token=***&lang=de",
        ),
        ("https://h.example/#/reset/8f3a9c", "https://h.example/#/reset/***"),
        ("https://h.example/?sig=ab/cd+ef==&a=b", "https://h.example/?sig=***&a=b"),
        ("https://h.example/?password=a;b?c&a=b", "https://h.example/?password=***&a=b"),
        ("https://h.example/?a=b&amp;token=x", "https://h.example/?a=b&amp;token=***"),
        (
            "https://h.example/?user%5BresetToken%5D=x",
            "https://h.example/?user%5BresetToken%5D=***",
        ),
        ("https://h.example/?to%256ben=x", "https://h.example/?to%256ben=***"),
        (
            "https://h.example/?%E3%83%88%E3%83%BC%E3%82%AF%E3%83%B3=x",
            "https://h.example/?%E3%83%88%E3%83%BC%E3%82%AF%E3%83%B3=***",
        ),
        (
            "https://h.example/?next=https%3A%2F%2Fx.example%2Freset%2F8f3a%3Fcode%3Da%2526b%26l%3Dde",
            "https://h.example/?next=https%3A%2F%2Fx.example%2Freset%2F***%3Fcode%3D***%26l%3Dde",
        ),
        (
            "https://h.example/?next=https://u:p@x.example/a?token=b",
            "https://h.example/?next=https://***@x.example/a?token=***",
        ),
        (f"https://h.example/orders/{UUID}/track", "https://h.example/orders/***/track"),
        (f"https://h.example/?q={JWT}", "https://h.example/?q=***"),
        ("https://h.example/?q=anna.b%2Bc%40mail.example", "https://h.example/?q=***"),
        ("https://h.example/u/anna@mail.example/edit", "https://h.example/u/***/edit"),
        (
            f"https://h.example/?q={md5(b'anna@mail.example', usedforsecurity=False).hexdigest()}",
            "https://h.example/?q=***",
        ),
        (
            "https://b.example/o?se=2026-01-01&sp=r&sv=2022-11-02&sig=x%2Fy%3D",
            "https://b.example/o?se=***&sp=r&sv=2022-11-02&sig=***",
        ),
        (
            "https://s3.example/k?X-Amz-Date=20240101T000000Z&X-Amz-Signature=f&X-Amz-Credential=A%2FB",
            "https://s3.example/k?X-Amz-Date=20240101T000000Z&X-Amz-Signature=***&X-Amz-Credential=***",
        ),
        (
            "https://s3.example/k?AWSAccessKeyId=AK&Expires=1700000000",
            "https://s3.example/k?AWSAccessKeyId=***&Expires=***",
        ),
        ("https://h.example/x?7f9c2ba4e88f827d616045507605853e", "https://h.example/x?***"),
        (
            "https://h.example/magic/link?t=8f3a9c&page=2",
            "https://h.example/magic/link?t=***&page=2",
        ),
        (
            "https://h.example/users/login/otp/482913?x=y",
            "https://h.example/users/login/otp/***?x=y",
        ),
        ("https://h.example/?rlkey=x8&pincode=12", "https://h.example/?rlkey=***&pincode=***"),
        ("https://gift.example/card/ABCD-1234-EFGH-5678", "https://gift.example/card/***"),
        (
            "https://h.example/t/acme/shared_invite/zt-1a2b3c4d5-AbCdEfGhIjKl",
            "https://h.example/t/acme/shared_invite/***",
        ),
        (
            "https://h.example/comm/?midToken=AQ&midSig=1&trk=eml-x",
            "https://h.example/comm/?midToken=***&midSig=***&trk=eml-x",
        ),
        ("/reset/8f3a9c", "/reset/***"),
        ("", ""),
    ],
)
def test_secrets_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert mask_url(masked) == masked


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/products/red-leather-boots-size-42?variant=40123456789012",
        "https://shop.example/de/artikel/datenschutzgrundverordnung-was-jetzt-zu-tun-ist",
        "https://blog.example/2024/06/12/10-things-i-wish-i-had-known-before-35/",
        "https://shop.example/dp/B08N5WRWNW/ref=sr_1_3?keywords=boots&qid=1718190000&sr=8-3",
        "https://h.example/notebooks/dell-xps13-9310-i7-1165g7-16gb-512gb-ssd.html",
        "https://h.example/Sony-WH-1000XM5-Wireless-Headphones/p/12345678",
        "https://video.example/watch?v=dQw4w9WgXcQ&t=42s",
        "https://h.example/?utm_source=newsletter&utm_campaign=Spring_Sale_2024_DE&utm_term=x+y",
        "https://wp.example/?p=1234&preview_id=99&page=3&sort_key=price&promo_code=SUMMER20",
        "https://h.example/wirelessAndBroadband/TheLifeAndTimesOfAPlatformTopSoftware",
        "https://h.example/events/20240612T101500Z.ics",
        "https://maps.example/maps/@48.137154,11.576124,15z",
        "https://social.example/@anna/113456789012345678",
        "https://h.example/authors/hemingway?author=hemingway&hashtag=boots&preset=warm",
        "https://h.example/caf%C3%A9/%E6%9D%B1%E4%BA%AC?q=gr%C3%BC%C3%9Fe+aus+k%C3%B6ln",
        "https://h.example/?confirm=yes&reset=true&lang=pt-BR&tickets=&next=%2Fcart%2Fitems%3Fpage%3D2",
        "https://h.example/reset/password/help",
        "https://h.example/whiskey/ardbeg10?zipcode=12345&barcode=4012345678901",
        "https://h.example/tickets/berlin2024?promo_code=SUMMER20",
        "https://h.example/authors/kafka1915/preset/warm70",
    ],
)
def test_readable_urls_stay(url: str) -> None:
    assert mask_url(url) == url


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("See https://h.example/reset/8f3a?a=b now", "See https://h.example/reset/***?a=b now"),
        ("h.example/verify/482913", "h.example/verify/***"),
        ("Ask anna@mail.example!", "Ask ***!"),
        ("Here (https://h.example/reset/8f3a).", "Here (https://h.example/reset/***)."),
        ("// @ /", "// @ /"),
        ("Boots and/or shoes -50 % @home", "Boots and/or shoes -50 % @home"),
        ("Your key=value\n code", "Your key=value\n code"),
    ],
)
def test_urls_in_labels_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked
    assert mask_text(masked) == masked


PIECES = (
    "token code = & ; ? # / %2F %3D %26 %25 %2525 https:// a@b.de reset *** ... eyJhbGciOi . % + "
    "0123456789 AbCd12xY34zQ9w8e7R abcdef0123456789 utm_source %41 hello-world"
)


@given(st.text(max_size=80) | st.lists(st.sampled_from(PIECES.split())).map(" ".join))
def test_any_text_is_masked(text: str) -> None:
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize(
    ("html", "masked"),
    [
        (
            '<a class=b href="https://h.example/?a=b&amp;token=x">Hi</a>',
            '<a class=b href="https://h.example/?a=b&amp;token=***">Hi</a>',
        ),
        (
            "<a HREF = 'h&#116;tps://h.example/reset/8f3a'>https://h.example/reset/8f3a</a>",
            "<a HREF = 'https://h.example/reset/***'>https://h.example/reset/***</a>",
        ),
        ("<a href=/reset/8f3a title=x>", "<a href=/reset/*** title=x>"),
        (
            '<a href=""><img src="https://h.example/?token=x">',
            '<a href=""><img src="https://h.example/?token=x">',
        ),
        (
            '<p style="background:url(https://h.example/?token=x)">',
            '<p style="background:url(https://h.example/?token=x)">',
        ),
        ('<img alt="https://h.example/?token=x">', '<img alt="https://h.example/?token=***">'),
        ("<a href='/?q=a&amp;copy=2'>&copy; 1 &lt;", "<a href='/?q=a&amp;copy=2'>&copy; 1 &lt;"),
    ],
)
def test_urls_in_html_are_masked(html: str, masked: str) -> None:
    assert mask_html(html) == masked
    assert mask_html(masked) == masked


TAGS = ["<a href=", '"', "'", "src=", "url(", "https://h/?token=", "&amp;", " ", ">", "a"]


@given(st.lists(st.sampled_from(TAGS)).map("".join))
def test_any_html_is_masked(html: str) -> None:
    assert mask_html(mask_html(html)) == mask_html(html)


def _random_token(seed: bytes) -> str:
    return urlsafe_b64encode(sha256(seed).digest()[:24]).decode()


CANARIES = st.binary(min_size=8, max_size=8).flatmap(
    lambda seed: st.sampled_from(
        [
            _random_token(seed),
            sha256(seed).hexdigest()[:32],
            sha256(seed).hexdigest().upper(),
            f"eyJhbGciOiJIUzI1NiJ9.{_random_token(seed)}.{_random_token(seed + b'!')}",
        ]
    )
)
ENCODINGS: list[Callable[[str], str]] = [
    str,
    lambda text: "".join(f"%{ord(c):02X}" for c in text),
    lambda text: "".join(f"%25{ord(c):02x}" for c in text),
    lambda text: text.replace("-", "%2D").replace("_", "%5f").replace(".", "%252E"),
    lambda text: f"see+{text}+now",
    lambda text: f"see%20{text}%2Bnow",
    lambda text: quote(quote(f"https://x.example/{text}/a?b={text}#{text}", safe=""), safe=""),
    lambda text: quote(f"//u:{text}@x.example/?b[{text}]=c", safe=""),
    lambda text: f"some-article-of-ours-{text}",
    lambda text: f"{text}.html",
]
PLACES = [
    "https://{}@h.example/",
    "https://u:{}@h.example/",
    "https://h.example/{}",
    "https://h.example/a/{}/b?c=d",
    "https://h.example/a;v={}/b",
    "https://h.example/a,{},b",
    "https://h.example/?{}",
    "https://h.example/?{}=1",
    "https://h.example/?a={}&b=c",
    "https://h.example/?a=b;c={}",
    "https://h.example/?a[{}]=b",
    "https://h.example/?a=b=c={}",
    "https://h.example/?token={}",
    "https://h.example/#{}",
    "https://h.example/#/a/{}?b",
    "https://h.example/?a=b#c={}&d",
    "https://h.example/?u=https://x.example/{}/a?b=c",
    "https://h.example/?j=%7B%22a%22%3A%22{}%22%7D",
    "//h.example/{}",
    "/a/{}",
    "a={}",
]


def _decoded(text: str) -> str:
    for _ in range(4):
        text = re.sub("%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text)
    return text


@given(CANARIES, st.sampled_from(ENCODINGS), st.sampled_from(PLACES))
def test_no_canary_survives(canary: str, encode: Callable[[str], str], place: str) -> None:
    url = place.format(encode(canary))
    shown = _decoded(mask_url(url) + template_url(url))
    assert MASK in shown
    parts = [part for part in canary.split(".") if len(part) > 20]
    assert not any(part[at : at + 8] in shown for part in parts for at in range(len(part) - 7))


def test_random_tokens_are_known_by_their_look_at_every_usual_length() -> None:
    """Names and places help where this does not: the rates are in the docstring."""
    for size, missed in ((15, 20), (18, 8), (24, 0), (32, 0)):
        tokens = [secrets.token_urlsafe(size) for _ in range(5_000)]
        assert sum(mask_url(f"/{token}") == f"/{token}" for token in tokens) <= missed
    for size, missed in ((8, 40), (16, 0), (20, 0), (32, 0)):
        tokens = [secrets.token_hex(size) for _ in range(5_000)]
        assert sum(mask_url(f"/{token}") == f"/{token}" for token in tokens) <= missed


TEXT = st.text(
    st.sampled_from("abcXYZ019-_.~%25/?&;=#@:+*,[]!$ é日\\eyJtoken%3D%26%2F"), max_size=60
) | st.text(max_size=80)
URLS = st.one_of(
    TEXT,
    TEXT.map(lambda tail: f"https://u@h.example:80/{tail}"),
    st.lists(
        st.sampled_from(PIECES.split()),
        max_size=20,
    ).map("".join),
)


@given(URLS)
def test_masking_twice_changes_nothing_more(url: str) -> None:
    masked = mask_url(url)
    assert mask_url(masked) == masked
    assert len(masked) <= 3 * len(url) + 3


@given(URLS)
def test_a_template_of_a_template_or_masked_url_is_the_template(url: str) -> None:
    template = template_url(url)
    assert template_url(template) == template
    assert template_url(mask_url(url)) == template
    assert MASK not in template


@given(st.sampled_from(["http", "HTTPS"]), st.sampled_from(["h.example", "[::1]:8080"]), TEXT)
def test_scheme_and_host_stay(scheme: str, host: str, tail: str) -> None:
    for shown in (mask_url(f"{scheme}://{host}/{tail}"), template_url(f"{scheme}://{host}/{tail}")):
        assert shown.startswith(f"{scheme}://{host}/")


@given(
    st.sampled_from(["a", "a=", "%", "%25", "=", "?", "eyJhbGc.", "a@", "/", "a.", "aB3-", "%2F"])
)
def test_long_urls_are_masked_in_linear_time(unit: str) -> None:
    """Quadratic, this would take minutes."""
    url = "https://h.example/" + unit * (200_000 // len(unit))
    masked = mask_url(url)
    assert masked.startswith("https://h.example/")
    template_url(masked)


@pytest.mark.parametrize(
    ("urls", "template"),
    [
        (["/parcel/1?key=abc", "/parcel/2?key=def"], "/parcel/...?key=..."),
        (
            [f"https://h.example/orders/{UUID}/x", "https://h.example/orders/12/x"],
            "https://h.example/orders/.../x",
        ),
        (
            [
                "https://h.example/order-12.html?id=7&utm_term=a1",
                "https://h.example/order-9.html?id=8&utm_term=a1",
            ],
            "https://h.example/order-....html?id=...&utm_term=a1",
        ),
        (["https://h.example/?d=2024-06-12", "https://h.example/?d=7"], "https://h.example/?d=..."),
        (
            ["https://h.example/?m=a@b.example", "https://h.example/?m=c@d.example"],
            "https://h.example/?m=...",
        ),
        (["https://h.example/caf%C3%A9/t"], "https://h.example/caf%C3%A9/t"),
        (["https://h.example:81/boots#top"], "https://h.example:81/boots#top"),
    ],
)
def test_personal_links_have_one_template(urls: list[str], template: str) -> None:
    assert {template_url(url) for url in urls} == {template}


@pytest.mark.skipif(not CORPUS.exists(), reason="no corpus beside the checkout")
def test_readable_links_of_real_newsletters_stay() -> None:
    """What is masked of their pages: reset links, personal tokens, an email address."""
    links = {
        match
        for path in CORPUS.rglob("*.html")
        for match in re.findall(r'href="(https?://[!-~]+?)"', path.read_text("utf-8", "replace"))
        if not re.search(r"\.(?:png|gif|jpe?g|woff2?|css)", match)
    }
    masked = {link for link in links if mask_url(link) != link}
    assert len(links) > 100
    assert len(masked) < len(links) / 10
