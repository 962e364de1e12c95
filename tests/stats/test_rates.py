"""Rates, and where they have no meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stats.rates import click_to_open, share

COUNT = st.integers(0, 1000)


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) is None
    assert share(1, 4) == 0.25


@pytest.mark.parametrize(
    ("opened", "unknowable", "clicked", "tracked", "expected"),
    [
        (10, 0, 5, (20, 20), 0.5),
        (10, 1, 5, (20, 20), 0.5),
        (10, 2, 5, (20, 20), None),
        (10, 0, 30, (40, 40), None),
        (0, 0, 3, (20, 20), None),
        (10, 0, 5, (20, 30), None),
    ],
    ids=["plain", "few unknowable", "many unknowable", "300 %", "no opens", "other messages"],
)
def test_clicks_are_compared_with_opens_where_that_means_something(
    opened: int, unknowable: int, clicked: int, tracked: tuple[int, int], expected: float | None
) -> None:
    assert click_to_open(opened, unknowable, clicked, *tracked) == expected


@given(COUNT, COUNT, COUNT, COUNT, COUNT)
def test_no_rate_is_above_one(
    opened: int, unknowable: int, clicked: int, opens: int, clicks: int
) -> None:
    rate = click_to_open(opened, unknowable, clicked, opens, clicks)
    assert rate is None or 0 <= rate <= 1
