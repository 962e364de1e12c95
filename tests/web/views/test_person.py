from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from app.web.views.person import DAYS, LEVELS, week
from app.web.views.reader import UTC_READER, Reader

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"])


def test_without_hits_there_is_no_week() -> None:
    assert week([], UTC_READER) is None


def test_hours_are_those_of_the_clock_of_the_reader() -> None:
    summer = datetime(2026, 7, 5, 22, 30, tzinfo=UTC)  # a Sunday
    winter = datetime(2026, 11, 29, 23, 30, tzinfo=UTC)  # a Sunday, too
    shown = week([summer, summer, winter], Reader(ZoneInfo("Europe/Berlin")))
    assert shown and [(hour.name, hour.hits) for hour in shown.best] == [
        ("Monday, 00:00 to 01:00", 3)
    ]
    in_utc = week([summer, summer, winter], UTC_READER)
    assert in_utc and [hour.name for hour in in_utc.best] == [
        "Sunday, 22:00 to 23:00",
        "Sunday, 23:00 to 00:00",
    ]


@given(st.lists(TIMES, min_size=1, max_size=60), ZONES)
def test_every_hit_is_in_one_hour_and_the_busiest_is_darkest(
    times: list[datetime], zone: str
) -> None:
    shown = week(times, Reader(ZoneInfo(zone)))
    assert shown and [name for name, _ in shown.rows] == [*DAYS]
    hours = [hour for _, row in shown.rows for hour in row]
    assert len(hours) == 7 * 24 and sum(hour.hits for hour in hours) == len(times)
    assert all((hour.level > 0) == (hour.hits > 0) for hour in hours)
    assert shown.best[0].level == max(hour.level for hour in hours) == LEVELS


def test_a_week_later_is_the_same_hour() -> None:
    at = datetime(2026, 11, 24, 9, tzinfo=UTC)
    shown = week([at, at + timedelta(days=7), at + timedelta(days=1)], UTC_READER)
    assert shown and shown.best[0] == ("Tuesday, 09:00 to 10:00", 2, LEVELS)
