"""Which links are shown one by one."""

from hypothesis import given
from hypothesis import strategies as st

from app.links.families import MANY, Recorded, shown

FAMILY = 10**6


def rows(carried: list[int], messages: int, url: str = "https://x.example/p/{}") -> list[Recorded]:
    """A family whose links were carried by so many messages each, all together by `messages`."""
    found = [
        Recorded(n + 1, FAMILY, False, url.format(n), "", "", (), count, 0)
        for n, count in enumerate(carried)
    ]
    return [
        *found,
        Recorded(FAMILY, FAMILY, True, "https://x.example/p/...", "", "", (), messages, 0),
    ]


def keys(found: list[Recorded]) -> set[int]:
    return {row.link_key for row in shown(found)}


def test_two_products_of_a_catalogue_stay_two_links() -> None:
    for carried, messages in (([1, 1], 1), ([2, 2], 2), ([1, 1], 2), ([50, 40], 60), ([9] * 9, 9)):
        assert keys(rows(carried, messages)) == set(range(1, len(carried) + 1)), carried


def test_a_secret_in_each_url_does_not_make_products_personal() -> None:
    secret = "https://x.example/p/{}?key=***"
    assert keys(rows([5, 5], 5, secret)) == {1, 2}
    assert keys(rows([1, 1], 1, secret)) == {1, 2}


def test_what_each_message_has_for_itself_is_a_family() -> None:
    assert keys(rows([1] * 10, 10)) == {FAMILY}
    assert keys(rows([1, 1], 2, "https://x.example/p/{}?key=***")) == {FAMILY}
    assert keys(rows([1] * 30, 10)) == {FAMILY}  # three tickets a message


def test_too_many_to_list_are_a_family_however_often_they_were_sent() -> None:
    assert keys(rows([100] * MANY, 50_000)) == set(range(1, MANY + 1))
    assert keys(rows([100] * (MANY + 1), 50_000)) == {FAMILY}


def test_a_family_without_links_of_its_own_is_shown() -> None:
    assert keys(rows([], 7)) == {FAMILY}


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 50), st.booleans())
def test_either_the_links_or_their_family(carried: list[int], messages: int, masked: bool) -> None:
    url = "https://x.example/p/{}?key=***" if masked else "https://x.example/p/{}"
    found = keys(rows(carried, messages, url))
    assert found == {FAMILY} or found == set(range(1, len(carried) + 1))
