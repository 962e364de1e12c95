"""Query parameters are read by the Struct that describes them."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct
from starlette.datastructures import QueryParams

from app.model.errors import FieldError
from app.schemas.fields import Metadata, Recipient
from app.web.query import NoQuery, read_query


class Everything(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}, kw_only=True
):
    recipient: Recipient
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many.")] = 100
    dry_run: bool = False
    start: Annotated[datetime, Meta(tz=True)] | None = None
    state: Literal["waiting", "dead"] | None = None
    tag: Annotated[tuple[str, ...], Meta(max_length=2)] = ()
    type: tuple[Literal["open", "click"], ...] = ()
    metadata: Metadata = {}


def read(query: str) -> Everything:
    return read_query(QueryParams(query), Everything)


def test_each_type_is_read_from_text() -> None:
    found = read(
        "recipient=ann@example.com&limit=7&dry_run=Yes&from=2026-01-02T03:04:05+00:00&state=dead"
        "&tag=a&tag=b&type=click&metadata=order:1&metadata=c:d:e&metadata.a.b=2&metadata=a.b:2"
    )
    assert found == Everything(
        recipient="ann@example.com",
        limit=7,
        dry_run=True,
        start=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        state="dead",
        tag=("a", "b"),
        type=("click",),
        metadata={"order": "1", "a.b": "2", "c": "d:e"},
    )


def test_defaults_stand_for_what_is_left_out() -> None:
    assert read("recipient=a") == Everything(recipient="a")
    assert read("recipient=a&limit=5&limit=5").limit == 5  # the same once more
    assert read_query(QueryParams(""), NoQuery) == NoQuery()


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("", "recipient", "is required"),
        ("recipient=", "recipient", "length >= 1"),
        ("recipient=%20", "recipient", "must be an email address"),
        ("recipient=a%0A", "recipient", "must be an email address"),
        (f"recipient={'a' * 513}", "recipient", "length <= 512"),
        ("limit=0", "limit", "must be a whole number from 1 to 1,000"),
        ("limit=1001", "limit", "must be a whole number from 1 to 1,000"),
        ("limit=", "limit", "must be a whole number"),
        ("limit=-1", "limit", "must be a whole number"),
        ("limit=1&limit=2", "limit", "must not be repeated"),
        ("dry_run=maybe", "dry_run", "must be 1, true or yes, or 0, false or no"),
        ("dry_run=", "dry_run", "must be 1"),
        ("from=yesterday", "from", "must be a time such as"),
        ("from=2026-01-01T00:00:00", "from", "timezone"),
        ("from=0001-01-01T00:00:00Z", "from", "between 1970 and 2200"),
        ("start=2026-01-01T00:00:00Z", "start", "is not a parameter"),
        ("state=gone", "state", "must be one of dead, waiting"),
        ("type=open&type=hit", "type", "must be one of click, open"),
        ("tag=a&tag=b&tag=c", "tag", "length <= 2"),
        ("metadata=1", "metadata", "must be KEY:VALUE"),
        ("metadata=a b:1", "metadata.a b", "matching regex"),
        ("metadata=a:1&metadata=a:2", "metadata.a", "must not be repeated"),
        ("metadata=a:1&metadata.a=2", "metadata.a", "must not be repeated"),
        (f"metadata=a:{'x' * 501}", "metadata.a", "length <= 500"),
        ("metadata.a b=1", "metadata.a b", "matching regex"),
        ("metadata.=1", "metadata.", "matching regex"),
        ("metadata.a=1&metadata.a=2", "metadata.a", "must not be repeated"),
        (f"metadata.a={'x' * 501}", "metadata.a", "length <= 500"),
        ("&".join(f"metadata.k{n}=1" for n in range(21)), "metadata", "length <= 20"),
        ("limit.a=1", "limit.a", "is not a parameter"),
        ("limitt=1", "limitt", "its parameters are recipient, limit, dry_run, from, state"),
        (f"{'x' * 5000}=1", "x" * 100, "is not a parameter"),
    ],
)
def test_what_is_wrong_is_named(query: str, field: str, message: str) -> None:
    given = query if not query or "recipient" in query else f"recipient=a&{query}"
    with pytest.raises(FieldError) as caught:
        read(given)
    assert caught.value.field == field
    assert message in str(caught.value)


def test_an_endpoint_without_parameters_says_so() -> None:
    with pytest.raises(FieldError, match="it has no parameters"):
        read_query(QueryParams("form=1"), NoQuery)
