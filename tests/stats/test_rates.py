"""Rates, and where they have no meaning."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stats.rates import NotShown, click_to_open, share
from app.web.views.templating import NO_CLICK_TO_OPEN

COUNT = st.integers(0, 1000)


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) is None
    assert share(1, 4) == 0.25


@pytest.mark.parametrize(
    ("opened", "unknowable", "clicked", "tracked", "expected"),
    [
        (10, 0, 5, (20, 20), (0.5, "")),
        (10, 1, 5, (20, 20), (0.5, "")),
        (10, 2, 5, (20, 20), (None, "unknowable")),
        (0, 2, 0, (20, 20), (None, "unknowable")),
        (10, 0, 30, (40, 40), (None, "more_clicks")),
        (0, 0, 3, (20, 20), (None, "no_opens")),
        (10, 0, 5, (20, 30), (None, "other_messages")),
    ],
    ids=[
        "plain",
        "few unknowable",
        "many unknowable",
        "all",
        "300 %",
        "no opens",
        "other messages",
    ],
)
def test_clicks_are_compared_with_opens_where_that_means_something(
    opened: int,
    unknowable: int,
    clicked: int,
    tracked: tuple[int, int],
    expected: tuple[float | None, str],
) -> None:
    assert click_to_open(opened, unknowable, clicked, *tracked) == expected


def test_each_reason_has_a_text_on_pages() -> None:
    assert set(NO_CLICK_TO_OPEN) == set(get_args(NotShown)) - {""}


@given(COUNT, COUNT, COUNT, COUNT, COUNT)
def test_no_rate_is_above_one(
    opened: int, unknowable: int, clicked: int, opens: int, clicks: int
) -> None:
    rate, reason = click_to_open(opened, unknowable, clicked, opens, clicks)
    assert reason if rate is None else 0 <= rate <= 1 and not reason
