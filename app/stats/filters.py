"""What a page shows, as its address says it: every filter is a parameter, so a link is a view.

`Filters.read` and `Filters.query` are each other's inverse; what has its default is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlencode

from app.model.errors import FieldError
from app.model.numbers import parse_int, read_int

Show = Literal["human", "machine", "all"]
Period = Literal["all", "24h", "7d", "30d", "90d", "365d"]
Sort = Literal["sent", "name", "messages", "opened", "clicked", "open_rate", "click_rate"]
StepName = Literal["auto", "minute", "hour", "day"]
By = Literal["clicked", "opened", "address"]

SHOWN: Mapping[Show, str] = {"human": "People", "machine": "Bots", "all": "Everything"}
PERIODS: Mapping[Period, str] = {
    "all": "All time",
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "365d": "12 months",
}
STEPS: Mapping[StepName, int] = {"auto": 0, "minute": 60, "hour": 3600, "day": 86_400}  # seconds
# Of one newsletter's hits. `link` is an id or a place, `url` a prefix, `path` a pattern with *,
# `country` an ISO code; "-" asks for the unknown, or for messages without a variant.
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
MAX_TEXT = 600
MAX_PAGE = 100_000
MAX_POSITION = 65_535  # of a link in its mail


class FilterError(Exception):
    """A parameter of the address that means nothing; `name` is which."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Filters:
    """Empty strings filter nothing. `by` sorts recipients; `after` is where their page starts."""

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
        """From an address's parameters; others are ignored. Raises FilterError."""
        return cls(**{f.name: _read(f.name, query[f.name]) for f in fields(cls) if f.name in query})

    def query(self) -> str:
        """As parameters in a fixed order, without `?`."""
        return urlencode(
            {
                field.name: "1" if value is True else value
                for field in fields(self)
                if (value := getattr(self, field.name)) != field.default
            }
        )

    def but(self, **changes: Any) -> "Filters":
        """With other values, from the first page on."""
        return replace(self, **{"page": 1, "after": "", **changes})

    def all(self) -> "Filters":
        """Only whose hits, for the page of something else."""
        return Filters(show=self.show)

    def set(self) -> list[tuple[str, str]]:
        """Names and values of what has not its default."""
        return parse_qsl(self.query())

    @property
    def hit_filters(self) -> dict[str, str]:
        """The filters on one newsletter's hits that are set."""
        found = {name: value for name in PARTS if (value := getattr(self, name))}
        return found if self.period == "all" else {**found, "period": self.period}

    def since(self, now: datetime) -> datetime:
        """When the period begins."""
        return since(self.period, now)


def since(period: str, now: datetime) -> datetime:
    """When a period that ends now began."""
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
    if len(text) > MAX_TEXT or "\0" in text:
        raise FilterError(name, f"must have at most {MAX_TEXT} characters, none of them NUL")
    return text
