from hypothesis import given
from hypothesis import strategies as st

from app.stats.home import Response, Trend
from app.web.views.home import tiles

SENT = st.integers(1, 10**6)


def response(messages: int, clicked: int) -> Response:
    return Response(messages, messages, messages, clicked=clicked)


@given(SENT, st.floats(0, 1), SENT, st.floats(0, 1))
def test_a_change_is_the_difference_of_the_rates(
    now: int, part: float, before: int, earlier: float
) -> None:
    whole, last = response(now, round(part * now)), response(before, round(earlier * before))
    sent, _, clicks, _ = tiles(Trend([whole], whole, last))
    apart = 100 * (whole.clicked / now - last.clicked / before)
    assert clicks.change and sent.change
    assert clicks.change.text == f"{abs(apart):.1f} points"
    assert clicks.change.rises == (apart >= 0)
    assert clicks.change.good == (clicks.change.text != "0.0 points")
    assert sent.change.text == f"{abs(100 * (now - before) / before):,.0f}%"
    assert sent.change.good == 0  # more mail is neither better nor worse


def test_nothing_before_means_no_change() -> None:
    whole = response(10, 1)
    assert [tile.change for tile in tiles(Trend([whole], whole, Response()))] == [None] * 4


def test_without_messages_there_is_no_tile() -> None:
    assert tiles(Trend([Response()], Response(), Response())) == []


def test_unknown_opens_are_said() -> None:
    whole = Response(100, 100, 100, opened=20, unknowable=30)
    assert tiles(Trend([whole], whole, Response()))[1].about == (
        "20 opened, up to 50.0% with unknown opens"
    )


def test_fewer_unsubscribes_are_better() -> None:
    now, before = Response(100, unsubscribes=1), Response(100, unsubscribes=5)
    tile = tiles(Trend([now], now, before))[3]
    assert tile.change == ("4.0 points", False, -1) and tile.change.judged == "better"
