"""Charts as SVG, drawn on the server: pure functions from figures to markup.

The drawing stretches to its box and carries no text; labels stand beside it in HTML, and a table
holds the figures, so the SVG itself is hidden from screen readers. Colours are classes of app.css.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 960, 200
GAP = 0.22  # of a column


class Column(NamedTuple):
    """One step of a timeline: opens and clicks, people's and machines'."""

    human_opens: int
    machine_opens: int
    human_clicks: int
    machine_clicks: int

    @property
    def highest(self) -> int:
        """The taller of the two bars."""
        return max(self.human_opens + self.machine_opens, self.human_clicks + self.machine_clicks)


def ceiling(highest: int) -> int:
    """A round number at or above `highest`, and at least 4."""
    for step in (4, 8, 10, 20, 40, 50, 80):
        if highest <= step:
            return step
    magnitude = int(10 ** (len(str(highest)) - 1))
    return next(m * magnitude // 2 for m in range(2, 23) if m * magnitude // 2 >= highest)


def timeline(columns: Sequence[Column]) -> Markup:
    """Opens and clicks side by side for each step; machine hits stand hatched on top."""
    top = ceiling(max((column.highest for column in columns), default=0))
    wide = WIDTH / max(len(columns), 1)
    bar = wide * (1 - GAP) / 2
    shapes = [
        f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>'
        for y in (0.5, HEIGHT / 2, HEIGHT - 0.5)
    ]
    for number, column in enumerate(columns):
        left = number * wide + wide * GAP / 2
        for x, kind, human, machine in (
            (left, "opens", column.human_opens, column.machine_opens),
            (left + bar, "clicks", column.human_clicks, column.machine_clicks),
        ):
            shapes.append(_bar(x, bar, kind, 0, human, top))
            shapes.append(_bar(x, bar, f"{kind} machine", human, machine, top))
    hatch = "".join(
        f'<pattern id="hatch-{kind}" width="6" height="6" patternUnits="userSpaceOnUse"'
        f' patternTransform="rotate(45)"><rect class="{kind}" width="2.4" height="6"/></pattern>'
        for kind in ("opens", "clicks")
    )
    return Markup(  # noqa: S704  (numbers and fixed names only)
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none"'
        f' aria-hidden="true" focusable="false"><defs>{hatch}</defs>{"".join(shapes)}</svg>'
    )


def _bar(x: float, width: float, classes: str, below: int, height: int, top: int) -> str:
    if not height:
        return ""
    tall = HEIGHT * height / top
    y = HEIGHT - HEIGHT * (below + height) / top
    return (
        f'<rect class="{classes}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{tall:.2f}"/>'
    )


def sparkline(values: Sequence[int]) -> Markup:
    """A small line of hits over a newsletter's life."""
    wide, high = 96, 24
    top = max(values, default=0) or 1
    step = wide / max(len(values) - 1, 1)
    points = [
        f"{number * step:.1f},{high - 2 - (high - 4) * value / top:.1f}"
        for number, value in enumerate(values or [0, 0])
    ]
    return Markup(  # noqa: S704
        f'<svg class="sparkline" viewBox="0 0 {wide} {high}" preserveAspectRatio="none"'
        f' aria-hidden="true" focusable="false"><polygon points="0,{high} {" ".join(points)}'
        f' {wide},{high}"/><polyline points="{" ".join(points)}"/></svg>'
    )


def share(part: float, whole: float) -> Markup:
    """A bar of `part` in `whole`."""
    percent = 100 * min(part / whole, 1) if whole else 0
    return Markup(  # noqa: S704
        '<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"'
        f' focusable="false"><rect width="{percent:.1f}" height="1"/></svg>'
    )
