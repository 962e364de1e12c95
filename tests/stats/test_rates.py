"""Rates, and where they have no meaning."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.schemas.stats import OutcomeCounts
from app.stats.rates import (
    Basis,
    NotShown,
    bounded_share,
    click_to_open,
    is_delivery_known,
    share,
)
from app.web.views.templating import NO_CLICK_TO_OPEN

COUNT = st.integers(0, 1000)


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) is None
    assert share(1, 4) == 0.25


def test_a_bounded_share_is_never_above_one() -> None:
    assert bounded_share(4, 4) == 1.0
    assert bounded_share(5, 4) is None
    assert bounded_share(0, 0) is None
    assert Basis("delivered", 4, 3).holds(4, 3)
    assert not Basis("delivered", 4, 3).holds(4, 4)


@pytest.mark.parametrize(
    ("messages", "outcomes", "expected"),
    [
        (100, OutcomeCounts(sent=5, delivered=90, bounced=2, rejected=2, complained=1), True),
        (100, OutcomeCounts(sent=6, delivered=89, bounced=2, rejected=2, complained=1), False),
        (0, OutcomeCounts(), False),
        (1, OutcomeCounts(bounced=1), True),
    ],
)
def test_rates_are_of_delivered_messages_from_95_percent_on(
    messages: int, outcomes: OutcomeCounts, expected: bool
) -> None:
    assert is_delivery_known(messages, outcomes) is expected


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
