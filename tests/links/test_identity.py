"""What a link is: the same for everybody whom it leads to the same, however mails differ."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.links import identity
from app.links.identity import FULL_URL, WHOLE, Identity, identify, without_utm

SHOES = "https://shop.example/shoes"
WORDS = st.text("abcdefghijklmnop", min_size=1, max_size=8)
FIELDS = st.lists(st.tuples(WORDS | st.just("utm_source") | st.just("UTM_x"), WORDS), max_size=5)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        (SHOES, SHOES),
        (f"{SHOES}?utm_source=mail", SHOES),
        (f"{SHOES}?UTM_Source=mail&a=1", f"{SHOES}?a=1"),
        (f"{SHOES}?a=1&utm_term=x&b=%26utm_x", f"{SHOES}?a=1&b=%26utm_x"),
        (f"{SHOES}?utm_id=1#top", f"{SHOES}#top"),
        (f"{SHOES}#utm_id=1", f"{SHOES}#utm_id=1"),
        (f"{SHOES}?", f"{SHOES}?"),
        (f"{SHOES}?a&&utm_=", f"{SHOES}?a&"),
        (f"{SHOES}/utm_source?my_utm_x=1", f"{SHOES}/utm_source?my_utm_x=1"),
    ],
)
def test_utm_fields_are_no_part_of_a_link(url: str, bare: str) -> None:
    assert without_utm(url) == bare
    assert identify(url).link == identify(bare).link


@given(FIELDS)
def test_all_that_is_no_utm_field_stays_in_its_order(fields: list[tuple[str, str]]) -> None:
    query = "&".join("=".join(field) for field in fields)
    left = parse_qsl(urlsplit(without_utm(f"{SHOES}?{query}#x")).query)
    assert left == [field for field in fields if not field[0].lower().startswith("utm_")]


def test_a_name_is_the_link_wherever_it_leads() -> None:
    boots, hats = identify(SHOES, "hero"), identify("https://shop.example/hats", "hero")
    assert boots.link == hats.link == boots.family != identify(SHOES).link
    assert boots.flags & WHOLE
    assert identify(SHOES, "Hero").link != boots.link


def test_recipients_links_that_differ_in_a_secret_are_one_link() -> None:
    first, second = (
        identify(f"https://shop.example/reset?token={token}")
        for token in ("Zk3J9qLw8VtX2bNc7RyP", "Hd5Mf1SgT6uYe4WiQo0A")
    )
    assert first == second
    assert "Zk3J" not in first.url
    whole = identify("https://shop.example/reset?token=Zk3J9qLw8VtX2bNc7RyP", full=True)
    assert whole.link != first.link and "Zk3J9qLw8VtX2bNc7RyP" in whole.url
    assert whole.flags == FULL_URL


def test_links_that_differ_in_an_id_are_two_of_a_family() -> None:
    first, second = (identify(f"https://shop.example/parcel/{n}?key=a{n}b2c3") for n in (1, 2))
    assert first.link != second.link
    assert first.family == second.family == identity.family(first.template).link
    assert first.template == second.template
    assert identify(SHOES).family == identify(SHOES).link


def test_a_stated_pattern_makes_one_link_at_once() -> None:
    found = {identify(f"https://shop.example/for/{who}", "", ("/for/*",)) for who in ("ann", "bob")}
    assert len(found) == 1
    only = found.pop()
    assert only.link == only.family and only.flags == WHOLE and "ann" not in only.url


@given(st.integers(0, 2**64 - 1))
def test_ids_come_back(key: int) -> None:
    assert identity.read_id(identity.shown_id(key)) == key


@pytest.mark.parametrize("text", ["", "1", "G" * 16, "a" * 15, "A" * 16, "a" * 17, "٣" * 16])
def test_anything_else_is_no_id(text: str) -> None:
    assert identity.read_id(text) is None


@given(st.text(max_size=20), st.lists(st.text(max_size=5), max_size=3))
def test_a_detail_is_32_bits_and_never_none(label: str, tags: list[str]) -> None:
    assert 0 < identity.detail(label, tuple(tags)) < 2**32


@example("http://a.example/?")
@example("http://a.example/?#top")
@given(
    st.from_regex(
        r"https?://[a-z]{1,9}(\.[a-z]{2,5}){1,2}(:[0-9]{2,4})?/[!-~]{0,60}", fullmatch=True
    )
)
def test_every_url_has_a_key_of_64_bits_that_utm_does_not_change(url: str) -> None:
    found = identify(url)
    assert isinstance(found, Identity)
    assert 0 < found.link < 2**64 and 0 < found.family < 2**64
    before, hash_, fragment = url.partition("#")
    mark = "&" if "?" in before else "?"
    assert identify(f"{before}{mark}utm_source=mail{hash_}{fragment}") == found
