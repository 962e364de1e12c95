"""Spans of periods, in time zones whose clocks are changed."""

from datetime import UTC, date, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stats.periods import (
    ALWAYS,
    LENGTHS,
    NO_END,
    NamedPeriod,
    Period,
    Span,
    midnight,
    previous,
    read_day,
    span,
)

BERLIN, HOBART = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Hobart")
SANTIAGO = ZoneInfo("America/Santiago")  # clocks are changed at midnight
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
TIMES = st.datetimes(datetime(1971, 1, 2), datetime(2099, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from([UTC, BERLIN, HOBART, SANTIAGO, ZoneInfo("Asia/Kathmandu")])


def hours(of: Span) -> float:
    return (of.end - of.start).total_seconds() / 3600


def test_named_periods_reach_back_from_now() -> None:
    assert span("all", NOW) == ALWAYS
    for name, length in LENGTHS.items():
        assert span(name, NOW) == (NOW - length, NO_END)
        assert previous(name, NOW) == (NOW - 2 * length, NOW - length)


def test_today_is_the_day_of_the_time_zone() -> None:
    late = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
    assert span("today", late).start == datetime(2026, 11, 24, tzinfo=UTC)
    assert span("today", late, BERLIN).start == datetime(2026, 11, 24, 23, tzinfo=UTC)
    assert span("today", late, SANTIAGO).start == datetime(2026, 11, 24, 3, tzinfo=UTC)


def test_today_is_compared_with_the_same_hours_of_yesterday() -> None:
    assert previous("today", NOW, BERLIN) == (
        datetime(2026, 11, 22, 23, tzinfo=UTC),
        datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
    )
    changed = datetime(2026, 10, 25, 11, tzinfo=UTC)  # noon: the day has 25 hours
    assert span("today", changed, BERLIN).start == datetime(2026, 10, 24, 22, tzinfo=UTC)
    yesterday = previous("today", changed, BERLIN)
    assert yesterday and yesterday.end == datetime(2026, 10, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "zone", "length"),
    [
        ("2026-10-25", BERLIN, 25),
        ("2026-03-29", BERLIN, 23),
        ("2026-11-24", BERLIN, 24),
        ("2026-04-05", HOBART, 25),
        ("2026-09-06", SANTIAGO, 23),
        ("2026-04-04", SANTIAGO, 25),
    ],
)
def test_a_day_has_the_hours_of_its_time_zone(day: str, zone: ZoneInfo, length: int) -> None:
    assert hours(span("custom", NOW, zone, day, day)) == length


def test_a_range_has_whole_days_and_is_compared_with_as_many() -> None:
    shown = span("custom", NOW, BERLIN, "2026-10-24", "2026-10-26")
    before = previous("custom", NOW, BERLIN, "2026-10-24", "2026-10-26")
    assert hours(shown) == 3 * 24 + 1
    assert before and hours(before) == 3 * 24 and before.end == shown.start


def test_a_range_may_be_open() -> None:
    assert span("custom", NOW, UTC, "2026-11-20", "").end == NO_END
    assert span("custom", NOW, UTC, "", "2026-11-20").start == ALWAYS.start
    assert previous("custom", NOW, UTC, "", "2026-11-20") is None
    open_end = previous("custom", NOW, UTC, "2026-11-20", "")
    assert open_end and hours(open_end) == 4 * 24 + 9.5


@given(st.sampled_from(get_args(NamedPeriod)), TIMES, ZONES)
def test_a_period_is_compared_with_what_was_before_it(
    period: Period, now: datetime, zone: ZoneInfo
) -> None:
    shown = span(period, now, zone).until(now)
    before = previous(period, now, zone)
    assert shown.start <= shown.end == now
    if before is None:
        assert period == "all"
        return
    assert before.start <= before.end <= shown.start
    apart = abs(hours(shown) - hours(before))
    assert apart == 0 or (period == "today" and apart <= 24)


@given(st.dates(date(2000, 1, 1), date(2100, 12, 31)), ZONES)
def test_midnight_is_when_a_day_begins(day: date, zone: ZoneInfo) -> None:
    at = midnight(day, zone).astimezone(zone)
    assert at.date() == day
    assert (at.astimezone(UTC) - timedelta(minutes=1)).astimezone(zone).date() < day


@pytest.mark.parametrize("text", ["", "2026-11-31", "2026-W48-1", "1999-12-31", "9999-01-01"])
def test_other_texts_are_no_days(text: str) -> None:
    assert read_day(text) is None
