import pytest

from app.paths import ROOT
from app.web.views.templating import moment, number, of_tracked, points, rate, tally, templates

DASH, MINUS = "\u2013", "\u2212"


def test_figures_as_people_read_them() -> None:
    assert number(1234567) == "1,234,567"
    assert (rate(1, 3), rate(0, 3), rate(0, 0)) == ("33.3%", "0.0%", DASH)
    assert (points(1.25), points(-0.5), points(0.0)) == ("+1.2", f"{MINUS}0.5", "+0.0")


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
    assert tally(value, tracked, messages) == text


def test_a_rate_says_of_which_messages_it_is() -> None:
    assert of_tracked(5, 5) == "of messages sent"
    assert of_tracked(1000, 5000) == "of 1,000 tracked messages"


def test_a_moment_is_in_utc() -> None:
    assert "22:13" in moment(1_700_000_000)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "templates").glob("*.html")))
def test_every_template_compiles_with_the_filters_that_it_uses(name: str) -> None:
    templates().env.get_template(name)


def test_values_are_escaped() -> None:
    environment = templates().env
    autoescape = environment.autoescape
    assert callable(autoescape) and autoescape("x.html")
