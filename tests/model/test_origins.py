import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.origins import origin


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("", ""),
        ("https://click.example.com", "https://click.example.com"),
        ("https://click.example.com/", "https://click.example.com"),
        ("http://h:8080/path//", "http://h:8080/path"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_slashes_at_the_end_are_dropped(url: str, kept: str) -> None:
    assert origin(url) == kept


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("click.example.com", "http"),
        ("ftp://click.example.com", "http"),
        ("https://", "http"),
        ("https:///path", "http"),
        ("https://user@h.example", "a user name"),
        ("https://h.example/?a=b", "a query"),
        ("https://h.example/#a", "fragment"),
        ("https://grün.example", "ASCII"),
        ('https://h.example/"', "ASCII"),
        ("https://h.example/a b", "ASCII"),
        ("https://h.example/\\", "ASCII"),
    ],
)
def test_other_urls_are_refused_with_the_reason(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        origin(url)


@given(st.text(max_size=30).map("https://h{}".format) | st.text(max_size=30))
def test_an_origin_fits_unquoted_into_html_and_is_its_own_origin(url: str) -> None:
    try:
        kept = origin(url)
    except ValueError:
        return
    assert kept.isascii() and not set(kept) & set("\"'<>` ") and origin(kept) == kept
