"""Reads and writes a page's filters as parameters of its URL, so that every view has a link.

`Filters.read` and `Filters.query` are inverses; parameters with their default are left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlencode

from app.model.errors import FieldError
from app.model.numbers import parse_int, read_int
from app.schemas.stats import RatesOf

Show = Literal["human", "machine", "all"]
Period = Literal["all", "24h", "7d", "30d", "90d", "365d"]
Sort = Literal["sent", "name", "messages", "opened", "clicked", "open_rate", "click_rate"]
StepName = Literal["auto", "minute", "hour", "day"]
By = Literal["clicked", "opened", "address"]
Kind = Literal["all", "open", "click", "unsubscribe"]
Of = Literal["auto", "sent", "delivered"]

SHOWN: Mapping[Show, str] = {"human": "People", "machine": "Bots", "all": "Everything"}
PERIODS: Mapping[Period, str] = {
    "all": "All time",
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "365d": "12 months",
}
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

    `by` sorts recipients; `after` is the last row of their previous page.
    """

    show: Show = "human"
    period: Period = "all"
    search: str = ""
    tag: str = ""
    sort: Sort = "sent"
    up: bool = False  # smallest first
    page: int = 1
    step: StepName = "auto"
    by: By = "clicked"
    after: str = ""
    kind: Kind = "all"  # of the hits in the live feed
    of: Of = "auto"  # what rates of one newsletter are shares of
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

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "Filters":
        """Read a URL's parameters; unknown ones are ignored. Raises FilterError."""
        return cls(**{f.name: _read(f.name, query[f.name]) for f in fields(cls) if f.name in query})

    def query(self) -> str:
        """Returns the filters as a URL's parameters in a fixed order, without `?`."""
        return urlencode(
            {
                field.name: "1" if value is True else value
                for field in fields(self)
                if (value := getattr(self, field.name)) != field.default
            }
        )

    def but(self, **changes: Any) -> "Filters":
        """Returns the filters with some values changed, for the first page."""
        return replace(self, **{"page": 1, "after": "", **changes})

    def all(self) -> "Filters":
        """Returns filters with `show` alone, for another page."""
        return Filters(show=self.show)

    def set(self) -> list[tuple[str, str]]:
        """Returns names and values of the filters that differ from their defaults."""
        return parse_qsl(self.query())

    @property
    def hit_filters(self) -> dict[str, str]:
        """Returns the filters on one newsletter's hits that are set."""
        filters = {name: value for name in PARTS if (value := getattr(self, name))}
        return filters if self.period == "all" else {**filters, "period": self.period}

    @property
    def rates_of(self) -> RatesOf | None:
        """Returns what rates are shares of, None if that depends on the known outcomes."""
        return None if self.of == "auto" else self.of

    def since(self, now: datetime) -> datetime:
        """Returns when the period begins."""
        return since(self.period, now)


def since(period: str, now: datetime) -> datetime:
    """Returns when a period that ends at `now` began."""
    if period == "all":
        return datetime.fromtimestamp(0, UTC)
    number, unit = int(period[:-1]), period[-1]
    return now - timedelta(**{"hours" if unit == "h" else "days": number})


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
    if name == "up":
        if text != "1":
            raise FilterError(name, "must be 1")
        return True
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
