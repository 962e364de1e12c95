"""Reads and writes a page's filters as parameters of its URL, so that every view has a link.

`Filters.read` and `Filters.query` are inverses; parameters with their default are left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlencode

from app.model.errors import FieldError
from app.model.numbers import parse_int, read_int
from app.schemas.stats import RatesOf
from app.stats import periods
from app.stats.periods import MAX_YEAR, MIN_YEAR, Period, Span

Show = Literal["human", "machine", "all"]
Sort = Literal["sent", "name", "messages", "opened", "clicked", "open_rate", "click_rate"]
StepName = Literal["auto", "minute", "hour", "day"]
By = Literal["clicked", "opened", "address"]
Kind = Literal["all", "open", "click", "unsubscribe"]
Of = Literal["auto", "sent", "delivered"]

SHOWN: Mapping[Show, str] = {"human": "People", "machine": "Bots", "all": "Everything"}
KINDS: Mapping[Kind, str] = {
    "all": "All",
    "click": "Clicks",
    "open": "Opens",
    "unsubscribe": "Unsubscribes",
}
STEPS: Mapping[StepName, int] = {"auto": 0, "minute": 60, "hour": 3600, "day": 86_400}  # seconds
# Filters on one newsletter's hits. `link` is an id or a place, `url` a prefix, `path` a pattern
# with *, `country` an ISO code. "-" selects unknown values, or messages without a variant.
PARTS = (
    "link",
    "link_name",
    "label",
    "url",
    "host",
    "path",
    "client",
    "family",
    "os",
    "device",
    "country",
    "variant",
)
_LINK_ID = re.compile(r"[0-9a-f]{16}")
MAX_TEXT_CHARS = 600
MAX_PAGE = 100_000
MAX_POSITION = 65_535  # of a link in its mail


class FilterError(Exception):
    """A parameter has an invalid value; `name` names it, the message says what is allowed."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Filters:
    """The filters of a page; an empty string filters nothing.

    `by` sorts recipients; `after` is the last row of their previous page. `first_day` and
    `last_day` are those of a custom period, and `compared` asks for the period before. `zone` is
    the reader's and no part of the URL.
    """

    show: Show = "human"
    period: Period = "all"
    first_day: str = ""
    last_day: str = ""
    compared: bool = False
    search: str = ""
    tag: str = ""
    sort: Sort = "sent"
    up: bool = False  # smallest first
    page: int = 1
    step: StepName = "auto"
    by: By = "clicked"
    after: str = ""
    kind: Kind = "all"  # of the hits in the live feed
    of: Of = "auto"  # what rates are shares of
    link: str = ""
    link_name: str = ""
    label: str = ""
    url: str = ""
    host: str = ""
    path: str = ""
    client: str = ""
    family: str = ""  # of mail clients
    os: str = ""
    device: str = ""
    country: str = ""
    variant: str = ""
    zone: tzinfo = field(default=UTC, compare=False)

    @classmethod
    def read(cls, query: Mapping[str, str], zone: tzinfo = UTC) -> "Filters":
        """Read a URL's parameters; unknown ones are ignored. Raises FilterError."""
        values = {
            name: _read(parameter, query[parameter])
            for name, parameter in _PARAMETERS.items()
            if parameter in query
        }
        return cls(**_with_period(values), zone=zone)

    def query(self) -> str:
        """Returns the filters as a URL's parameters in a fixed order, without `?`."""
        return urlencode(
            {
                _PARAMETERS[each.name]: "1" if value is True else value
                for each in fields(self)
                if each.name in _PARAMETERS and (value := getattr(self, each.name)) != each.default
            }
        )

    def but(self, **changes: Any) -> "Filters":
        """Returns the filters with some values changed, for the first page."""
        return replace(self, **{"page": 1, "after": "", **changes})

    def all(self) -> "Filters":
        """Returns filters with `show` alone, for another page."""
        return Filters(show=self.show, zone=self.zone)

    def over_time(self) -> "Filters":
        """Returns filters with `show`, `of` and the period, for another page of the same time."""
        names = ("show", "of", "period", "first_day", "last_day", "compared", "zone")
        return Filters(**{name: getattr(self, name) for name in names})

    def set(self) -> list[tuple[str, str]]:
        """Returns names and values of the filters that differ from their defaults."""
        return parse_qsl(self.query())

    @property
    def parts(self) -> dict[str, str]:
        """Returns the filters on one newsletter's hits that are set, without the period."""
        return {name: value for name in PARTS if (value := getattr(self, name))}

    @property
    def hit_filters(self) -> dict[str, str]:
        """Returns the filters on one newsletter's hits that are set; of a period, its span now."""
        if self.period == "all":
            return self.parts
        return self.hit_filters_in(self.span(datetime.now(UTC)))

    @property
    def rates_of(self) -> RatesOf | None:
        """Returns what rates are shares of, None if that depends on the known outcomes."""
        return None if self.of == "auto" else self.of

    def hit_filters_in(self, span: Span) -> dict[str, str]:
        """Returns the filters on one newsletter's hits for messages sent within a span."""
        return self.parts | {name: str(value) for name, value in span.parameters.items()}

    def span(self, now: datetime) -> Span:
        """Returns the span of the period."""
        return periods.span(self.period, now, self.zone, self.first_day, self.last_day)

    def previous(self, now: datetime) -> Span | None:
        """Returns the span that the period is compared with, None if it has no beginning."""
        return periods.previous(self.period, now, self.zone, self.first_day, self.last_day)


# Names of parameters by the field of Filters that they set.
_PARAMETERS: Mapping[str, str] = {
    each.name: {"first_day": "from", "last_day": "to", "compared": "compare"}.get(
        each.name, each.name
    )
    for each in fields(Filters)
    if each.name != "zone"
}


def _with_period(values: dict[str, Any]) -> dict[str, Any]:
    """Returns values whose days belong to a custom period. Raises FilterError.

    Forms send the fields of days with every period, and those of another one are dropped.
    """
    first, last = values.pop("first_day", ""), values.pop("last_day", "")
    period = values.get("period", "custom" if first or last else "all")
    if period != "custom":
        return values
    if not first and not last:
        raise FilterError("period", "custom needs a day in `from`, in `to` or in both")
    if first and last and last < first:
        raise FilterError("to", "must not be earlier than `from`")
    return {**values, "period": period, "first_day": first, "last_day": last}


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "show": get_args(Show),
    "period": get_args(Period),
    "sort": get_args(Sort),
    "by": get_args(By),
    "step": get_args(StepName),
    "kind": get_args(Kind),
    "of": get_args(Of),
}


def _read(name: str, text: str) -> Any:
    if choices := _CHOICES.get(name):
        if text not in choices:
            raise FilterError(name, f"must be one of {', '.join(choices)}")
        return text
    if name in ("up", "compare"):
        if text != "1":
            raise FilterError(name, "must be 1")
        return True
    if name in ("from", "to"):
        if text and periods.read_day(text) is None:
            raise FilterError(
                name, f"must be a day such as 2026-11-24, from {MIN_YEAR} to {MAX_YEAR}"
            )
        return text
    if name == "page":
        try:
            return parse_int(text, name, 1, MAX_PAGE)
        except FieldError as error:
            raise FilterError(name, str(error)) from None
    if name == "link" and text and not _LINK_ID.fullmatch(text):
        position = read_int(text, high=MAX_POSITION)  # as in version 0.1
        if position is None or str(position) != text:
            raise FilterError(name, "must be the ID of a link")
    if len(text) > MAX_TEXT_CHARS or "\0" in text:
        raise FilterError(name, f"must have at most {MAX_TEXT_CHARS} characters, none of them NUL")
    return text
