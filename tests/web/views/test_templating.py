import pytest

from app.paths import ROOT
from app.stats.filters import Filters
from app.web.views.reader import UTC_READER, Reader
from app.web.views.templating import (
    moment_of,
    of_tracked_of,
    period_of,
    points_of,
    rate_of,
    sent_in,
    tally_of,
    templates,
)

DASH, MINUS = "\u2013", "\u2212"


def test_figures_as_people_read_them() -> None:
    rates = [rate_of(UTC_READER, *of) for of in ((1, 3), (0, 3), (0, 0))]
    assert rates == ["33.3%", "0.0%", DASH]
    points = [points_of(UTC_READER, value) for value in (1.25, -0.5, 0.0)]
    assert points == ["+1.2", f"{MINUS}0.5", "+0.0"]


def test_filters_of_templates_follow_the_reader_of_the_page() -> None:
    template = templates().env.from_string("{{ 1234567 | number }} {{ 1 | rate(8) }}")
    assert template.render() == "1,234,567 12.5%"
    assert template.render(reader=Reader(language="de")) == "1.234.567 12,5%"


@pytest.mark.parametrize(
    ("query", "name", "messages"),
    [
        ({}, "All time", "All messages"),
        ({"period": "today"}, "Today", "Messages sent today"),
        ({"period": "365d"}, "12 months", "Messages sent in the last 12 months"),
        (
            {"from": "2026-11-01", "to": "2026-11-07"},
            "1 Nov 2026 to 7 Nov 2026",
            "Messages sent from 1 Nov 2026 to 7 Nov 2026",
        ),
        (
            {"from": "2026-11-01", "to": "2026-11-01"},
            "1 Nov 2026",
            "Messages sent on 1 Nov 2026",
        ),
        ({"from": "2026-11-01"}, "since 1 Nov 2026", "Messages sent since 1 Nov 2026"),
        ({"to": "2026-11-01"}, "until 1 Nov 2026", "Messages sent until 1 Nov 2026"),
    ],
)
def test_a_period_has_a_name(query: dict[str, str], name: str, messages: str) -> None:
    filters = Filters.read(query)
    assert (period_of(filters, UTC_READER), sent_in(filters, UTC_READER)) == (name, messages)


@pytest.mark.parametrize(
    ("value", "tracked", "messages", "text"),
    [
        (0, 5, 5, "0"),
        (0, 0, 5, DASH),  # nobody could be seen
        (0, 0, 0, "0"),
        (1200, 0, 5, "1,200"),
    ],
)
def test_what_could_not_be_seen_is_a_dash_and_no_zero(
    value: int, tracked: int, messages: int, text: str
) -> None:
    assert tally_of(UTC_READER, value, tracked, messages) == text


def test_a_rate_says_of_which_messages_it_is() -> None:
    assert of_tracked_of(UTC_READER, 5, 5) == "of messages sent"
    assert of_tracked_of(UTC_READER, 1000, 5000) == "of 1,000 tracked messages"


def test_a_moment_is_in_utc() -> None:
    assert "22:13" in moment_of(UTC_READER, 1_700_000_000)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "templates").glob("*.html")))
def test_every_template_compiles_with_the_filters_that_it_uses(name: str) -> None:
    templates().env.get_template(name)


def test_values_are_escaped() -> None:
    environment = templates().env
    autoescape = environment.autoescape
    assert callable(autoescape) and autoescape("x.html")
