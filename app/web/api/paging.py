"""Paging, in one style for all lists: `limit` entries, and `next_after` for the page after them."""

from typing import Annotated

from msgspec import Meta

from app.model.numbers import read_int
from app.web.errors import RequestError
from app.web.query import MAX_INT

MAX_CHARS = 300  # of `after`: the longest contains an id of 200 characters
After = Annotated[
    str,
    Meta(
        max_length=MAX_CHARS,
        description="The `next_after` of the previous page. Default: the first page.",
    ),
]


def number_of(after: str) -> int:
    """Returns the number in an `after`, 0 for the first page. Raises RequestError."""
    number = read_int(after, high=MAX_INT) if after else 0
    if number is None:
        raise unknown()
    return number


def unknown() -> RequestError:
    """Returns the error for an `after` that no answer contained."""
    return RequestError(422, "must be a `next_after` returned by this service", "after")
