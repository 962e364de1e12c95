from datetime import UTC, date, datetime, timedelta
from typing import get_args
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stats.filters import By, FilterError, Filters, Show, Sort, StepName
from app.stats.periods import NamedPeriod

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=50)
DAYS = st.lists(st.dates(date(2000, 1, 1), date(2100, 12, 31)).map(str), min_size=2, max_size=2)
PERIODS = st.sampled_from(get_args(NamedPeriod)).map(lambda name: {"period": name})
RANGES = st.tuples(DAYS.map(sorted), st.sampled_from(["both", "from", "to"])).map(
    lambda pair: {
        "period": "custom",
        "first_day": "" if pair[1] == "to" else pair[0][0],
        "last_day": "" if pair[1] == "from" else pair[0][1],
    }
)
FILTERS = st.builds(
    lambda period, **values: Filters(**period, **values),
    st.one_of(PERIODS, RANGES),
    show=st.sampled_from(get_args(Show)),
    compared=st.booleans(),
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
    assert (changed.parts, changed.period) == (filters.parts, filters.period)
    assert filters.all() == Filters(show=filters.show)
    kept = filters.over_time()
    assert {name for name, _ in kept.set()} <= {"show", "period", "from", "to", "compare"}
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert kept.span(now) == filters.span(now) and kept.previous(now) == filters.previous(now)


@given(
    st.dictionaries(
        st.sampled_from([*Filters.__dataclass_fields__, "from", "to", "compare", "other"]),
        st.one_of(st.text(), st.sampled_from(["custom", "2026-11-24", "1"])),
    )
)
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
        ("compare", "yes"),
        ("from", "yesterday"),
        ("from", "20261124"),
        ("from", "2026-02-30"),
        ("to", "1999-12-31"),
        ("to", "2101-01-01"),
        ("from", "\u0662026-01-01"),
        ("period", "custom"),
        ("client", "\0"),
    ],
)
def test_what_means_nothing_is_refused(name: str, text: str) -> None:
    with pytest.raises(FilterError) as raised:
        Filters.read({name: text})
    assert raised.value.name == name


def test_a_range_ends_no_earlier_than_it_begins() -> None:
    with pytest.raises(FilterError, match="earlier than") as raised:
        Filters.read({"from": "2026-11-24", "to": "2026-11-23"})
    assert raised.value.name == "to"


def test_days_belong_to_a_custom_period_only() -> None:
    assert Filters.read({"period": "7d", "from": "2026-11-24"}) == Filters(period="7d")
    assert Filters.read({"from": "2026-11-24", "to": ""}).period == "custom"
    assert Filters.read({"period": "all", "to": "2026-11-24"}) == Filters()


def test_hits_are_filtered_by_the_span_of_the_period() -> None:
    custom = Filters.read({"from": "2026-11-23", "to": "2026-11-24", "os": "Linux"})
    begin = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
    assert custom.hit_filters == {
        "os": "Linux",
        "since_ms": str(begin),
        "until_ms": str(begin + 2 * 86_400_000),
    }
    assert Filters(os="Linux").hit_filters == {"os": "Linux"}
    before = (datetime.now(UTC) - timedelta(hours=24)).timestamp() * 1000
    assert int(Filters(period="24h").hit_filters["since_ms"]) - before < 60_000
