"""How a reader wants times and numbers: in the time zone and the locale of the browser.

Pages are in English; numbers and the order of dates follow the locale. Separators are those of
CLDR (unicode.org/cldr, symbols of the numbering system latn).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from app.stats.queries import utc

MAX_ZONE_CHARS = 64
MAX_LANGUAGES = 10  # of Accept-Language that are looked at
MAX_ACCEPT_CHARS = 200
_COMMA, _DOT, _APOSTROPHE = (",", "."), (".", ","), ("\u2019", ".")
_SPACE, _THIN = ("\u00a0", ","), ("\u202f", ",")
_LANGUAGES: Mapping[tuple[str, str], str] = {
    _DOT: "de es-ar id it nl da tr el pt ro sl hr sr is vi",
    _SPACE: "ru uk pl cs sk bg fi sv nb nn no hu et lv lt pt-pt de-at fr-ca",
    _THIN: "fr",
    _APOSTROPHE: "de-ch de-li it-ch",
}
_SEPARATORS = {name: both for both, names in _LANGUAGES.items() for name in names.split()}
_MONTH_FIRST = frozenset(("en-us", "en-ph"))  # Nov 28, 2026; others write 28 Nov 2026


@cache
def zone_names() -> frozenset[str]:
    """Returns the names of all time zones of the tz database, without its aliases for files."""
    return frozenset(
        name for name in available_timezones() if "/" in name or name in ("UTC", "GMT")
    )


def zone_of(name: str) -> ZoneInfo | None:
    """Returns a time zone by its name in the tz database, None if there is none."""
    return ZoneInfo(name) if len(name) <= MAX_ZONE_CHARS and name in zone_names() else None


def languages(accepted: str) -> list[str]:
    """Returns the languages of an Accept-Language field (RFC 9110, section 12.5.4), best first."""
    weighted = []
    for part in accepted[:MAX_ACCEPT_CHARS].split(",")[:MAX_LANGUAGES]:
        tag, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        if tag and weight > 0:
            weighted.append((-weight, tag.strip().lower().replace("_", "-")))
    return [tag for _, tag in sorted(weighted, key=lambda pair: pair[0])]


@dataclass(frozen=True)
class Reader:
    """The time zone and the language of somebody who looks at a page."""

    zone: tzinfo = UTC
    language: str = "en"

    @property
    def zone_name(self) -> str:
        """Returns the name of the time zone."""
        return getattr(self.zone, "key", "UTC")

    @property
    def separators(self) -> tuple[str, str]:
        """Returns what is written between thousands, and before decimals."""
        base = self.language.partition("-")[0]
        return _SEPARATORS.get(self.language) or _SEPARATORS.get(base) or _COMMA

    def number(self, value: int) -> str:
        """Returns a whole number with separators between thousands."""
        return f"{value:,}".replace(",", self.separators[0])

    def decimal(self, value: float, digits: int = 1) -> str:
        """Returns a number with decimals."""
        thousands, point = self.separators
        whole, _, decimals = f"{value:,.{digits}f}".partition(".")
        return whole.replace(",", thousands) + (point + decimals if decimals else "")

    def local(self, at: datetime) -> datetime:
        """Returns a time in the reader's zone; one without a zone is in UTC."""
        return utc(at).astimezone(self.zone)

    def day(self, at: date, year: bool = True) -> str:
        """Returns a day: 28 Nov 2026."""
        if self.language in _MONTH_FIRST:
            return f"{at:%b} {at.day}" + (f", {at.year}" if year else "")
        return f"{at.day} {at:%b}" + (f" {at.year}" if year else "")

    def when(self, at: datetime, step: int = 60) -> str:
        """Returns a time, as fine as `step` (seconds) asks for."""
        local = self.local(at)
        if step >= 86_400:
            return self.day(local)
        return (
            f"{self.day(local)}, {local:%H:%M:%S}"
            if step < 60
            else f"{self.day(local)}, {local:%H:%M}"
        )

    def edges(self, first: datetime, end: datetime, step: int) -> list[datetime]:
        """Returns where columns of `step` seconds begin and end, the first at or before `first`.

        The last edge is at or after `end`. Columns of hours and days begin at whole ones of the
        reader's clock, so that a day may have 23 or 25 hours. Those of weeks begin on Mondays.
        """
        edges = [next(following := self._edges(first, step))]
        for edge in following:
            edges = [edge] if edge <= first else [*edges, edge]
            if edge >= end and len(edges) > 1:
                return edges
        raise AssertionError("edges never end")

    def _edges(self, first: datetime, step: int) -> Iterator[datetime]:
        """Yields edges without an end, beginning at or before `first`."""
        if step <= 3600:
            offset = self.local(first).utcoffset() or timedelta()
            shift = int(offset.total_seconds())
            begun = (int(first.timestamp()) + shift) // step * step - shift
            while True:
                yield datetime.fromtimestamp(begun, UTC)
                begun += step
        days = max(1, step // 86_400)
        hours = range(0, 24, step // 3600) if step < 86_400 else (0,)
        day = self.local(first).date()
        day -= timedelta(days=(day.toordinal() - 1) % days)
        latest = datetime.min.replace(tzinfo=UTC)
        while True:
            for hour in hours:
                at = datetime.combine(day, time(hour), self.zone).astimezone(UTC)
                if at > latest:  # an hour that is skipped begins with the next one
                    yield (latest := at)
            day += timedelta(days=days)


UTC_READER = Reader()
