import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.links.url_patterns import MAX_PATTERN_CHARS, pattern_url


@pytest.mark.parametrize(
    ("url", "pattern", "template"),
    [
        ("https://a.example/parcel/1?key=abc", "/parcel/*", "https://a.example/parcel/...?key=..."),
        ("https://a.example/parcel/1/?a&b=", "/parcel/*", "https://a.example/parcel/...?...&b="),
        ("https://a.example/parcel/1/x", "/parcel/*", None),
        ("https://a.example/parcel/1/x", "/parcel/**", "https://a.example/parcel/..."),
        ("https://a.example/parcel", "/parcel/**", None),
        ("https://a.example/parcel/", "/parcel/*", None),
        ("https://a.example/x/parcel/1", "/parcel/*", None),
        (
            "HTTPS://Shop.example/orders/7/track#t",
            "https://shop.example/orders/*/track",
            "https://shop.example/orders/.../track#...",
        ),
        ("http://shop.example/orders/7/track", "https://shop.example/orders/*/track", None),
        (
            "https://u:p@b.c.example.com:81/x/7",
            "*.example.com/x/*",
            "https://....example.com/x/...",
        ),
        ("https://example.com/x/7", "*.example.com/x/*", None),
        ("https://a.example/", "a.example", "https://a.example/"),
        ("https://a.example:81/", "a.example:81/", "https://a.example:81/"),
        ("https://a.example/order-7-b", "/order-*-*", "https://a.example/order-...-..."),
        ("https://a.example/order--b", "/order-*-*", None),
        (
            "https://a.example/t?x=1&id=7&lang=de",
            "/t?id=*&lang=de",
            "https://a.example/t?x=...&id=...&lang=de",
        ),
        ("https://a.example/t?id=7&lang=fr", "/t?id=*&lang=de", None),
        ("https://a.example/caf%C3%A9/7", "/café/*", "https://a.example/café/..."),
        (
            "https://a.example/t/1?cbb6833f14483e22=x&token=y",
            "/t/*",
            "https://a.example/t/...?***=...&token=...",
        ),
        ("mailto:a@b.example", "/*", None),
    ],
)
def test_patterns_give_templates(url: str, pattern: str, template: str | None) -> None:
    assert pattern_url(url, [pattern]) == template


def test_the_first_pattern_that_matches_decides() -> None:
    patterns = ["/a/*/track", "/a/*/*", "/a/**"]
    assert pattern_url("https://h.example/a/1/track", patterns) == "https://h.example/a/.../track"
    assert pattern_url("https://h.example/a/1/bill", patterns) == "https://h.example/a/.../..."
    assert pattern_url("https://h.example/a/1/b/c", patterns) == "https://h.example/a/..."
    assert pattern_url("https://h.example/a/1", []) is None


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "1 to 500 characters"),
        ("/" + "a" * MAX_PATTERN_CHARS, "1 to 500 characters"),
        ("/a b", "printable"),
        ("/a\n", "printable"),
        ("/a#b", "fragment"),
        ("ftp://a/b", "http"),
        ("https:///a", "host"),
        ("?a=b", "host"),
        ("/**/a", "last segment"),
        ("/a**", "last segment"),
    ],
)
def test_a_bad_pattern_is_named(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=rf"^patterns\[1\]: .*{re.escape(says)}"):
        pattern_url("https://h.example/", ["/fine", pattern])


def test_there_are_at_most_fifty_patterns() -> None:
    assert pattern_url("https://h.example/a", ["/b"] * 49 + ["/a"]) == "https://h.example/a"
    with pytest.raises(ValueError, match=r"^patterns: at most 50"):
        pattern_url("https://h.example/a", ["/a"] * 51)


def test_patterns_do_not_backtrack() -> None:
    """A backtracking matcher would take longer than the age of the universe."""
    patterns = ["/" + "a*" * 240 + "b"] * 50
    assert pattern_url("https://h.example/" + "a" * 20_000, patterns) is None


@given(st.text(max_size=60), st.text(max_size=30))
def test_any_url_and_pattern_have_an_answer(tail: str, pattern: str) -> None:
    try:
        template = pattern_url(f"https://h.example/{tail}", [pattern])
    except ValueError as error:
        assert str(error).startswith("patterns[0]: ")
    else:
        assert template is None or template.startswith("https://")


@given(st.lists(st.text("ab*", min_size=1, max_size=6), max_size=4), st.text("ab", max_size=12))
def test_a_glob_matches_what_a_regular_expression_does(parts: list[str], text: str) -> None:
    glob = re.sub(r"\*+", "*", "".join(parts))
    expected = re.fullmatch(re.escape(glob).replace(r"\*", ".+"), text)
    assert bool(pattern_url(f"https://h.example/-{text}", [f"/-{glob}"])) == bool(expected)
