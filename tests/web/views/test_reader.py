"""Times in zones whose clocks are changed, and numbers of several languages."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.views.charts import STEPS, Window, readable, time_ticks, window
from app.web.views.reader import UTC_READER, Reader, languages, zone_names, zone_of

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "UTC",
]
BERLIN = Reader(ZoneInfo("Europe/Berlin"))
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))


def test_times_are_those_of_the_zone_with_their_year() -> None:
    summer = datetime(2026, 7, 1, 22, 30, 5)
    assert UTC_READER.when(summer) == "1 Jul 2026, 22:30"
    assert BERLIN.when(summer) == "2 Jul 2026, 00:30"
    assert BERLIN.when(summer, 1) == "2 Jul 2026, 00:30:05"
    assert BERLIN.when(summer, 86_400) == "2 Jul 2026"
    assert Reader(language="en-us").when(summer) == "Jul 1, 2026, 22:30"


@pytest.mark.parametrize(
    ("language", "number", "decimal"),
    [
        ("en", "1,234,567", "1,234.5"),
        ("en-us", "1,234,567", "1,234.5"),
        ("de", "1.234.567", "1.234,5"),
        ("de-ch", "1\u2019234\u2019567", "1\u2019234.5"),
        ("fr", "1\u202f234\u202f567", "1\u202f234,5"),
        ("fr-be", "1\u202f234\u202f567", "1\u202f234,5"),
        ("pl", "1\u00a0234\u00a0567", "1\u00a0234,5"),
        ("ja", "1,234,567", "1,234.5"),
        ("xx", "1,234,567", "1,234.5"),
    ],
)
def test_numbers_have_the_separators_of_the_language(
    language: str, number: str, decimal: str
) -> None:
    reader = Reader(language=language)
    assert (reader.number(1_234_567), reader.decimal(1234.5)) == (number, decimal)
    assert reader.decimal(12.0, 0) == "12"


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("", []),
        ("de", ["de"]),
        ("en-GB,en;q=0.9,de;q=0.8", ["en-gb", "en", "de"]),
        ("de;q=0.5, fr", ["fr", "de"]),
        ("de;q=0, fr;q=x, pt_BR", ["pt-br"]),
        ("," * 5000, []),
    ],
)
def test_languages_are_read_by_their_weight(field: str, found: list[str]) -> None:
    assert languages(field) == found


@given(st.text())
def test_any_field_of_languages_is_read(field: str) -> None:
    assert len(languages(field)) <= 10


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "posixrules", "a" * 5000])
def test_other_names_are_no_time_zones(name: str) -> None:
    assert zone_of(name) is None


def test_time_zones_are_known() -> None:
    assert set(ZONES) <= zone_names()
    assert all(zone_of(name) for name in ZONES)


@given(TIMES, st.integers(0, 400 * 86_400), st.sampled_from(STEPS), st.sampled_from(ZONES))
def test_columns_are_whole_hours_and_days_of_the_zone(
    first: datetime, seconds: int, step: int, name: str
) -> None:
    reader = Reader(ZoneInfo(name))
    end = min(first + timedelta(seconds=seconds), first + timedelta(seconds=200 * step))
    edges = reader.edges(first, end, step)
    assert edges[0] <= first < edges[1] and edges[-2] < max(end, edges[1]) and end <= edges[-1]
    shift = 3 * 3600 if step > 3600 else 0  # by which clocks are changed, at most
    if name == "Pacific/Apia":
        shift = 86_400  # which had no 30 December 2011
    for begin, following in pairwise(edges):
        apart = (following - begin).total_seconds()
        assert apart > 0 and step - shift <= apart <= step + shift
    if step >= 86_400:
        for edge in edges:
            local = reader.local(edge)
            before = reader.local(edge - timedelta(seconds=1))
            assert local.date() != before.date()  # midnight, or what comes right after


@given(TIMES, st.integers(0, 400 * 86_400), st.sampled_from(ZONES))
def test_ticks_lie_on_the_axis_in_order(first: datetime, seconds: int, name: str) -> None:
    reader, end = Reader(ZoneInfo(name)), first + timedelta(seconds=seconds)
    shown = Window(reader.edges(first, end, readable(end - first)), readable(end - first))
    ticks = time_ticks(shown, reader)
    assert len(ticks) <= 9
    places = [tick.place for tick in ticks]
    assert places == sorted(places) and all(0 <= place <= 100 for place in places)


def test_the_axis_of_a_day_with_25_hours_keeps_its_hours() -> None:
    first = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin
    edges = BERLIN.edges(first, first + timedelta(hours=25), 3600)
    assert len(edges) == 26
    days = BERLIN.edges(first, first + timedelta(days=2), 86_400)
    assert [(b - a).total_seconds() / 3600 for a, b in pairwise(days)] == [25, 24]
    threes = BERLIN.edges(first, first + timedelta(hours=25), 3 * 3600)
    clocks = [f"{BERLIN.local(edge):%H}" for edge in threes]
    assert clocks == ["00", "03", "06", "09", "12", "15", "18", "21", "00"]


def test_every_hit_lies_in_the_column_of_its_day() -> None:
    first = datetime(2026, 10, 20, tzinfo=UTC)
    shown = window(first, first + timedelta(days=40), first + timedelta(days=40), 86_400, BERLIN)
    assert shown.unit == 3600
    at = datetime(2026, 10, 25, 22, 30, tzinfo=UTC)  # 23:30 in Berlin
    assert BERLIN.local(shown.starts[shown.column(at)]).day == 25
    assert BERLIN.local(shown.starts[shown.column(at + timedelta(hours=1))]).day == 26
