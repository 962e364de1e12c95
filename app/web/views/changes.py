"""How figures differ from those of the period before, as pages show it."""

from typing import NamedTuple

from app.web.views.reader import Reader


class Change(NamedTuple):
    """A difference; `good` says which way is better: 1 up, -1 down, 0 neither."""

    text: str
    rises: bool
    good: int

    @property
    def judged(self) -> str:
        """Returns whether the difference is better or worse; empty if neither."""
        if not self.good:
            return ""
        return "better" if (self.good > 0) == self.rises else "worse"


def count_change(now: int, before: int, reader: Reader) -> Change | None:
    """Returns by how many percent a count has changed, None if there was nothing."""
    if not before:
        return None
    percent = reader.decimal(abs(100 * (now - before) / before), 0)
    return Change(f"{percent}%", now >= before, 0)


def rate_change(
    now: tuple[int, int], before: tuple[int, int], good: int, reader: Reader
) -> Change | None:
    """Returns by how many percentage points a rate (part, whole) has changed, None if unknown."""
    if not now[1] or not before[1]:
        return None
    points = 100 * (now[0] / now[1] - before[0] / before[1])
    judged = good if round(abs(points), 1) else 0
    return Change(f"{reader.decimal(abs(points))} points", points >= 0, judged)
