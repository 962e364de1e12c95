from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.paths import resource
from app.stats.filters import Filters
from app.web.views.urls import (
    asset,
    compare_url,
    home_url,
    list_url,
    mail_url,
    message_url,
    page_url,
    people_url,
    person_url,
    tags_url,
)

MACHINES = Filters(show="machine")
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def test_filters_are_kept_and_none_leave_no_question_mark() -> None:
    assert home_url(Filters(period="24h", search="not there")) == "/?period=24h"
    assert home_url(Filters()) == "/?period=7d"  # it always has one
    assert list_url(Filters()) == "/newsletters"
    assert list_url(MACHINES, "live") == "/live?show=machine"
    assert tags_url(Filters()) == "/tags"
    assert tags_url(MACHINES, "live") == "/tags/live?show=machine"
    assert people_url(MACHINES) == "/recipients?show=machine"
    assert person_url(2**64 - 1, Filters()) == f"/recipients/{2**64 - 1}"
    assert message_url("0190") == "/messages/0190"


@pytest.mark.parametrize(
    ("newsletter_id", "path"),
    [
        ("a b", "/newsletters/a%20b"),
        ("100%", "/newsletters/100%2525"),
        (".", "/newsletters/%252E"),
        ("..", "/newsletters/%252E%252E"),
        ("...", "/newsletters/..."),
        ("a?b#c", "/newsletters/a%3Fb%23c"),
    ],
)
def test_an_id_stays_one_segment_of_the_path(newsletter_id: str, path: str) -> None:
    assert page_url(newsletter_id) == path


@given(IDS)
@settings(max_examples=60)
def test_any_id_is_read_back_after_the_servers_decoding(newsletter_id: str) -> None:
    url = page_url(newsletter_id, MACHINES, "report", step="day")
    parts = urlsplit(url)
    assert url.isascii() and parts.query == "show=machine&step=day"
    root, folder, segment, part = unquote(parts.path).split("/")
    assert (root, folder, part) == ("", "newsletters", "report")
    assert segment not in (".", "..")
    assert unquote(segment) == newsletter_id


@given(st.lists(IDS, max_size=4))
@settings(max_examples=30)
def test_newsletters_to_compare_are_in_the_query(ids: list[str]) -> None:
    parts = urlsplit(compare_url(ids, MACHINES))
    assert parts.path == "/compare"
    assert parse_qs(parts.query).get("newsletter", []) == ids


def test_a_static_file_has_the_hash_of_its_content() -> None:
    found = {path.name: asset(path.name) for path in resource("static").iterdir() if path.is_file()}
    assert found
    versions = {url.partition("?v=")[2] for url in found.values()}
    assert all(len(version) == 12 for version in versions)
    with pytest.raises(FileNotFoundError):
        asset("none.css")


def test_an_id_is_encoded_twice_so_that_slashes_survive() -> None:
    assert page_url("a/b") == "/newsletters/a%252Fb"
    assert page_url("a", Filters(show="all"), "live") == "/newsletters/a/live?show=all"


def test_an_address_adds_nothing_to_a_mail() -> None:
    assert mail_url("ann@example.com") == "mailto:ann@example.com"
    hostile = mail_url("a@b.example?bcc=c@d.example&body=%0Ax, e@f.example")
    assert not set(hostile) & set("?&=, \n")
    assert unquote(hostile).endswith("?bcc=c@d.example&body=%0Ax, e@f.example")
