from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.stats.engagement import HALF_LIFE, LEAST, Received, score

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MESSAGES = st.lists(
    st.builds(
        lambda days, opened, clicked: Received(NOW - timedelta(days=days), opened, clicked),
        st.floats(-1, 4000),
        st.booleans(),
        st.booleans(),
    ),
    min_size=LEAST,
    max_size=200,
)


def sent(days: float, opened: bool = False, clicked: bool = False) -> Received:
    return Received(NOW - timedelta(days=days), opened, clicked)


def test_a_score_needs_some_messages() -> None:
    assert score([], NOW) is None
    assert score([sent(1, clicked=True)] * (LEAST - 1), NOW) is None


def test_clicks_are_worth_more_than_opens() -> None:
    assert score([sent(1, clicked=True)] * 3, NOW) == 100
    assert score([sent(1, opened=True)] * 3, NOW) == 40
    assert score([sent(1, True, True), sent(1, True), sent(1), sent(1)], NOW) == 35
    assert score([sent(1)] * 3, NOW) == 0


def test_recent_messages_count_more() -> None:
    half = HALF_LIFE.days
    assert score([sent(0, clicked=True), sent(half), sent(half)], NOW) == 50
    assert score([sent(0), sent(half, clicked=True), sent(half, clicked=True)], NOW) == 50


@given(MESSAGES, st.integers(0, 199))
def test_a_score_lies_between_nothing_and_everything(messages: list[Received], one: int) -> None:
    shown = score(messages, NOW)
    assert shown is not None and 0 <= shown <= 100
    place = one % len(messages)
    better = [*messages]
    better[place] = better[place]._replace(clicked=True)
    more = score(better, NOW)
    assert more is not None and more >= shown
