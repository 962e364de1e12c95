import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.web.views.charts import HEIGHT, WIDTH, Column, ceiling, share, sparkline, timeline, window

COUNT = st.integers(0, 10**9)
COLUMNS = st.lists(st.builds(Column, COUNT, COUNT, COUNT, COUNT), max_size=80)


@given(COLUMNS)
def test_every_bar_lies_inside_the_drawing_and_is_as_tall_as_its_figure(
    columns: list[Column],
) -> None:
    titles = [f"<{n}> & {column.summary()}" for n, column in enumerate(columns)]
    svg = ET.fromstring(timeline(columns, titles))
    assert [title.text for title in svg.iter("title")] == titles
    bars = [shape for shape in svg.iter("rect") if "x" in shape.attrib]
    figures = [value for column in columns for value in column if value]
    assert len(bars) == len(figures)
    top = ceiling(max((column.highest for column in columns), default=0))
    for bar in bars:
        x, y, width, height = (float(bar.attrib[k]) for k in ("x", "y", "width", "height"))
        assert x >= 0 and x + width <= WIDTH + 0.02
        assert y >= -0.01 and y + height <= HEIGHT + 0.02
    tall = sorted(float(bar.attrib["height"]) for bar in bars)
    for drawn, figure in zip(tall, sorted(figures), strict=True):
        assert abs(drawn - HEIGHT * figure / top) < 0.01


@given(COUNT)
def test_the_ceiling_is_round_and_not_far_above(highest: int) -> None:
    top = ceiling(highest)
    assert top >= highest
    assert top <= max(4, 2 * highest)


@given(st.lists(COUNT, max_size=40))
def test_a_sparkline_stays_in_its_box(values: list[int]) -> None:
    svg = ET.fromstring(sparkline(values))
    points = svg.find("polyline")
    assert points is not None
    for pair in points.attrib["points"].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 96.1 and 0 <= y <= 24


def test_a_share_is_a_percentage_of_the_whole() -> None:
    assert 'width="25.0"' in share(1, 4)
    assert 'width="100.0"' in share(5, 4)
    assert 'width="0.0"' in share(1, 0)


def test_no_chart_carries_a_style_that_the_policy_forbids() -> None:
    for svg in (timeline([Column(1, 2, 3, 4)], ["noon"]), sparkline([1, 2]), share(1, 2)):
        assert "style=" not in svg and "<script" not in svg


@given(*[st.integers(0, 5 * 10**8)] * 3)
def test_a_window_covers_what_happened_in_even_steps(sent: int, lively: int, quiet: int) -> None:
    first = datetime.fromtimestamp(sent, UTC)
    last = first + timedelta(seconds=lively)
    shown = window(first, last, last + timedelta(seconds=quiet))
    assert shown.starts[0] <= first and last < shown.end
    step = timedelta(seconds=shown.step)
    assert all(b - a == step for a, b in pairwise(shown.edges))
    assert shown.edges[:-1] == shown.starts and step.total_seconds() % shown.unit == 0


def test_a_newsletter_long_quiet_is_shown_as_it_was_while_it_lived() -> None:
    first = datetime(2026, 3, 1, 8, tzinfo=UTC)
    shown = window(first, first + timedelta(days=2), first + timedelta(days=200))
    assert shown.end - first < timedelta(days=3)
    assert window(first, first, first + timedelta(minutes=2)).end > first + timedelta(minutes=2)
