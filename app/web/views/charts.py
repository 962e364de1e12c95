"""Charts as SVG, drawn on the server: pure functions from figures to markup.

The drawing stretches to its box and carries no text; the axes are next to it, and a table holds the
figures, so the SVG itself is hidden from screen readers. Colours are classes of app.css. A column's
title is in `data-tip`, too: app.js shows it for pointers, fingers and arrow keys.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from markupsafe import Markup, escape

from app.web.views.reader import UTC_READER, Reader

WIDTH, HEIGHT = 960, 200
GAP = 0.22  # of a column
MIN_COLUMNS, MAX_COLUMNS = 12, 72  # of a timeline; more when its steps cannot grow
STEPS = (
    *(2, 5, 10, 30, 60, 300, 900, 3600, 3 * 3600, 6 * 3600),
    *(days * 86_400 for days in (1, 3, 7, 28, 91, 364)),
)  # seconds of a column
LIVELY = timedelta(hours=1)
TICKS = 7  # on the axis of time, at most
_TICK_SECONDS = (
    *(10, 30, 60, 120, 300, 600, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600),
    *(days * 86_400 for days in (1, 2, 7, 14, 28, 84, 182, 364, 1456, 3640)),
)


class Column(NamedTuple):
    """One step of a timeline: opens and clicks, people's and machines'."""

    human_opens: int
    machine_opens: int
    human_clicks: int
    machine_clicks: int

    @property
    def highest(self) -> int:
        """Returns the taller of the two bars."""
        return max(self.human_opens + self.machine_opens, self.human_clicks + self.machine_clicks)

    def summary(self, reader: Reader = UTC_READER) -> str:
        """Returns the figures in words."""
        names = ("opens", "opens by bots", "clicks", "clicks by bots")
        hits = [f"{reader.number(n)} {name}" for n, name in zip(self, names, strict=True) if n]
        return ", ".join(hits) or "no opens or clicks"


class Window(NamedTuple):
    """The stretch of time that a timeline shows: where its columns begin and end.

    `step` is their usual width in seconds: where clocks are changed, a day has more or fewer.
    """

    edges: Sequence[datetime]
    step: int

    @property
    def starts(self) -> Sequence[datetime]:
        """Returns when each column begins."""
        return self.edges[:-1]

    @property
    def end(self) -> datetime:
        """Returns when the last column ends."""
        return self.edges[-1]

    @property
    def unit(self) -> int:
        """Returns the longest step, in seconds, of which every column has a whole number."""
        return math.gcd(self.step, *(int(edge.timestamp()) for edge in self.edges))

    def column(self, at: datetime) -> int:
        """Returns the number of the column in which a time lies; -1 before the first."""
        return bisect_right(self.edges, at) - 1

    def place(self, at: datetime) -> float:
        """Returns where a time lies, in percent from the left: columns are equally wide."""
        number = min(max(self.column(at), 0), len(self.edges) - 2)
        begin, end = self.edges[number], self.edges[number + 1]
        return 100 * (number + (at - begin) / (end - begin)) / (len(self.edges) - 1)


def window_of(first: datetime, end: datetime, step: int, reader: Reader) -> Window:
    """Returns the columns of `step` seconds from `first` to `end`."""
    return Window(reader.edges(first, end, step), step)


def readable(span: timedelta) -> int:
    """Returns the step, in seconds, that divides a span into a readable number of columns."""
    seconds = span.total_seconds()
    return next((step for step in STEPS if seconds / step <= MAX_COLUMNS - 1), STEPS[-1])


def window(
    first: datetime,
    last: datetime,
    now: datetime,
    seconds: int = 0,
    reader: Reader = UTC_READER,
) -> Window:
    """Returns the time from the first message until now, or until a `last` activity long ago.

    Steps are as wide as `asked` (seconds), or as gives a readable number of them; then the latest
    are shown. Long means for longer than there was activity: without that a newsletter's two
    lively days would be one column of its later years.
    """
    last = max(first, last)
    end = last if now - last > max(last - first, LIVELY) else max(now, last)
    step = seconds or readable(end - first)
    earliest = end - timedelta(seconds=step * (10 * MAX_COLUMNS - 1))
    latest = end - timedelta(seconds=step * (MIN_COLUMNS - 1))
    begin = min(max(first, earliest), latest)
    return window_of(begin, end + timedelta(microseconds=1), step, reader)


def ceiling(highest: int) -> int:
    """Returns a round number at or above `highest`, and at least 4."""
    for step in (4, 8, 10, 20, 40, 50, 80):
        if highest <= step:
            return step
    magnitude = int(10 ** (len(str(highest)) - 1))
    return next(m * magnitude // 2 for m in range(2, 23) if m * magnitude // 2 >= highest)


def ticks(top: int) -> list[int]:
    """Returns the round numbers from `top`, a result of `ceiling`, down to 0."""
    parts = 4 if top % 4 == 0 else 5
    return [top * part // parts for part in range(parts, -1, -1)]


class TimeTick(NamedTuple):
    """A time on the axis, `place` percent from its left end."""

    place: float
    label: str


def time_ticks(window: Window, reader: Reader = UTC_READER) -> list[TimeTick]:
    """Returns round times within a window; days have their date, and so has the first tick."""
    start, end = window.edges[0], window.end
    span = (end - start).total_seconds()
    apart = next((s for s in _TICK_SECONDS if span / s <= TICKS), _TICK_SECONDS[-1])
    shown: list[TimeTick] = []
    for at in reader.edges(start, end, apart):
        if not start <= at <= end:
            continue
        local = reader.local(at)
        clock = "%H:%M:%S" if apart < 60 else "%H:%M"
        day = reader.day(local, year=not shown or local.timetuple().tm_yday <= apart // 86_400)
        if apart >= 86_400 or (local.hour, local.minute, local.second) == (0, 0, 0):
            label = day
        else:
            label = local.strftime(clock) if shown else f"{day}, {local.strftime(clock)}"
        shown.append(TimeTick(window.place(at), label))
    return shown


def axis(marks: Sequence[TimeTick]) -> Markup:
    """Returns an axis with its labels; those at the ends stay inside."""
    texts = []
    for place, label in marks:
        anchor = "start" if place < 4 else "end" if place > 96 else "middle"
        texts.append(
            f'<g><line x1="{place:.2f}%" x2="{place:.2f}%" y1="0" y2="4"/>'
            f'<text x="{place:.2f}%" y="18" text-anchor="{anchor}">{escape(label)}</text></g>'
        )
    return Markup(  # noqa: S704  (numbers and escaped labels only)
        f'<svg class="xaxis" aria-hidden="true" focusable="false">{"".join(texts)}</svg>'
    )


def marks(places: Sequence[TimeTick]) -> Markup:
    """Returns names above a chart, each over the place that it marks."""
    texts = []
    for place, label in places:
        anchor = "start" if place < 8 else "end" if place > 92 else "middle"
        short = label if len(label) <= 18 else f"{label[:17]}\u2026"
        texts.append(
            f'<g><title>{escape(label)}</title><text x="{place:.2f}%" y="11"'
            f' text-anchor="{anchor}">{escape(short)}</text>'
            f'<line x1="{place:.2f}%" x2="{place:.2f}%" y1="15" y2="22"/></g>'
        )
    return Markup(  # noqa: S704  (numbers and escaped labels only)
        f'<svg class="marks" aria-hidden="true" focusable="false">{"".join(texts)}</svg>'
    )


def _column(number: int, wide: float, title: str) -> str:
    """Returns the start of a column: what shows its title, over the whole height."""
    said = escape(title)
    return (
        f'<g data-tip="{said}"><title>{said}</title><path class="column"'
        f' d="M{number * wide:.2f} 0h{wide:.2f}v{HEIGHT}h-{wide:.2f}z"/>'
    )


def _grid(parts: int) -> list[str]:
    """Returns lines that divide the height."""
    heights = (min(max(HEIGHT * part / parts, 0.5), HEIGHT - 0.5) for part in range(parts + 1))
    return [f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>' for y in heights]


def timeline(
    columns: Sequence[Column], titles: Sequence[str], before: Sequence[Column] = ()
) -> Markup:
    """Returns opens and clicks side by side for each step; machine hits stand hatched on top.

    A column's title shows while the pointer rests anywhere above or on it. Those of the period
    `before` are dashed lines.
    """
    top = ceiling(max((column.highest for column in [*columns, *before]), default=0))
    wide = WIDTH / max(len(columns), 1)
    bar = wide * (1 - GAP) / 2
    shapes = _grid(len(ticks(top)) - 1)
    for number, (column, title) in enumerate(zip(columns, titles, strict=True)):
        left = number * wide + wide * GAP / 2
        shapes.append(_column(number, wide, title))
        for x, kind, human, machine in (
            (left, "opens", column.human_opens, column.machine_opens),
            (left + bar, "clicks", column.human_clicks, column.machine_clicks),
        ):
            shapes.append(_bar(x, bar, kind, 0, human, top))
            shapes.append(_bar(x, bar, f"{kind} machine", human, machine, top))
        shapes.append("</g>")
    for kind, heights in (
        ("opens", [column.human_opens + column.machine_opens for column in before]),
        ("clicks", [column.human_clicks + column.machine_clicks for column in before]),
    ):
        tops = [f"{HEIGHT - HEIGHT * height / top:.2f}" for height in heights]
        path = [f"{wide * n:.2f},{y} {wide * (n + 1):.2f},{y}" for n, y in enumerate(tops)]
        if path:
            shapes.append(f'<polyline class="before {kind}" points="{" ".join(path)}"/>')
    hatch = "".join(
        f'<pattern id="hatch-{kind}" width="6" height="6" patternUnits="userSpaceOnUse"'
        f' patternTransform="rotate(45)"><rect class="{kind}" width="2.4" height="6"/></pattern>'
        for kind in ("opens", "clicks")
    )
    return Markup(  # noqa: S704  (numbers, fixed names and escaped titles only)
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
    """Returns a small line of hits over a newsletter's life."""
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
    """Returns a bar of `part` in `whole`."""
    percent = 100 * min(part / whole, 1) if whole else 0
    return Markup(  # noqa: S704
        '<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"'
        f' focusable="false"><rect width="{percent:.1f}" height="1"/></svg>'
    )


def interval(low: float, value: float, high: float, top: float) -> Markup:
    """Returns a bar from `low` to `high` with a mark at `value`, on a scale from 0 to `top`."""
    scale = 100 / top if top else 0
    start, end, at = (min(max(place * scale, 0), 100) for place in (low, high, value))
    return Markup(  # noqa: S704
        '<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"'
        f' focusable="false"><rect class="range" x="{start:.1f}" width="{end - start:.1f}"'
        f' height="1"/><rect x="{min(max(at - 0.5, 0), 99):.1f}" width="1" height="1"/></svg>'
    )


def round_up(value: float) -> float:
    """Returns 1, 2, 4 or 5 times a power of ten, at or above `value`; 1 for nothing."""
    if value <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    steps = (magnitude * factor for factor in (1, 2, 4, 5, 10))
    return next((step for step in steps if step >= value), 10 * magnitude)


def lines(series: Sequence[Sequence[float]], titles: Sequence[str], top: float) -> Markup:
    """Returns lines over the same steps, distinguished by colour and by dash, up to `top`."""
    shapes = _grid(4)
    for number, values in enumerate(series):
        step = WIDTH / max(len(values), 1)
        points = [f"0,{HEIGHT}"] + [
            f"{(place + 1) * step:.1f},{HEIGHT - (HEIGHT - 2) * value / top:.1f}"
            for place, value in enumerate(values)
        ]
        shapes.append(f'<polyline class="line{number}" points="{" ".join(points)}"/>')
    wide = WIDTH / max(len(titles), 1)
    shapes += [f"{_column(number, wide, title)}</g>" for number, title in enumerate(titles)]
    return Markup(  # noqa: S704
        f'<svg class="timeline lines" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none"'
        f' aria-hidden="true" focusable="false">{"".join(shapes)}</svg>'
    )
