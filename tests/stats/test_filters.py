from datetime import UTC, datetime, timedelta
from typing import get_args
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stats.filters import By, FilterError, Filters, Period, Show, Sort, StepName

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=50)
FILTERS = st.builds(
    Filters,
    show=st.sampled_from(get_args(Show)),
    period=st.sampled_from(get_args(Period)),
    search=TEXT,
    tag=TEXT,
    sort=st.sampled_from(get_args(Sort)),
    up=st.booleans(),
    page=st.integers(1, 100_000),
    by=st.sampled_from(get_args(By)),
    step=st.sampled_from(get_args(StepName)),
    after=TEXT,
    link=st.one_of(st.just(""), st.integers(0, 65_535).map(str)),
    client=TEXT,
    family=TEXT,
    os=TEXT,
    device=TEXT,
    country=TEXT,
    variant=TEXT,
)


@given(FILTERS)
def test_an_address_says_all(filters: Filters) -> None:
    query = filters.query()
    assert Filters.read(dict(parse_qsl(query, keep_blank_values=True))) == filters
    assert query.isascii() and " " not in query and "#" not in query


@given(FILTERS, st.sampled_from(get_args(Show)))
def test_a_change_starts_from_the_first_page(filters: Filters, show: Show) -> None:
    changed = filters.but(show=show)
    assert (changed.show, changed.page, changed.after) == (show, 1, "")
    assert changed.hit_filters == filters.hit_filters
    assert filters.all() == Filters(show=filters.show)


@given(st.dictionaries(st.sampled_from([*Filters.__dataclass_fields__, "other"]), st.text()))
def test_anything_is_read_or_refused_by_name(query: dict[str, str]) -> None:
    try:
        found = Filters.read(query)
    except FilterError as error:
        assert error.name in query
    else:
        assert Filters.read(dict(parse_qsl(found.query()))) == found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("show", "robots"),
        ("period", "9d"),
        ("sort", ""),
        ("by", "name"),
        ("up", "yes"),
        ("step", "second"),
        ("page", "0"),
        ("page", "-1"),
        ("page", "100001"),
        ("page", "\u0663"),
        ("link", "01"),
        ("page", "0" * 9 + "1" * 5000),
        ("link", "65536"),
        ("link", "-1"),
        ("variant", "x" * 601),
        ("variant", "\0"),
        ("search", "a" * 601),
        ("client", "\0"),
    ],
)
def test_what_means_nothing_is_refused(name: str, text: str) -> None:
    with pytest.raises(FilterError) as raised:
        Filters.read({name: text})
    assert raised.value.name == name


def test_periods_reach_back() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert Filters(period="24h").since(now) == now - timedelta(hours=24)
    assert Filters(period="365d").since(now) == now - timedelta(days=365)
    assert Filters().since(now).year == 1970
