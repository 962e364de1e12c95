"""Times in answers have one precision and one time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from app.schemas.events import Due
from app.schemas.timestamps import timestamp, timestamp_or_none
from app.web.api.app import OPERATIONS

LATEST = datetime(2200, 1, 1)


@given(st.datetimes(datetime(1970, 1, 1), LATEST, timezones=st.timezones()))
def test_any_time_is_in_utc_with_milliseconds(at: datetime) -> None:
    text = timestamp(at)
    assert len(text) == len("2026-11-24T08:00:00.000Z") and text[-5] == "." and text[-1] == "Z"
    read = datetime.fromisoformat(text)
    assert 0 <= (at - read).total_seconds() < 0.001


def test_seconds_since_1970_and_none() -> None:
    assert timestamp(1_795_507_200.5) == "2026-11-24T08:00:00.500Z"
    assert timestamp(datetime(2026, 11, 24, 8, tzinfo=UTC)) == "2026-11-24T08:00:00.000Z"
    assert timestamp_or_none(None) is None
    assert timestamp_or_none(0) == "1970-01-01T00:00:00.000Z"


def datetimes(kind: inspect.Type, path: str) -> Iterator[str]:
    """Yields the paths of the parts of a type whose precision msgspec would choose."""
    match kind:
        case inspect.DateTimeType():
            yield path
        case inspect.Metadata():
            yield from datetimes(kind.type, path)
        case inspect.UnionType():
            for part in kind.types:
                yield from datetimes(part, path)
        case inspect.ListType() | inspect.VarTupleType():
            yield from datetimes(kind.item_type, path)
        case inspect.DictType():
            yield from datetimes(kind.value_type, path)
        case inspect.StructType() | inspect.DataclassType():
            for field in kind.fields:
                yield from datetimes(field.type, f"{path}.{field.name}")


ANSWERS = {
    type_: type_
    for operation in OPERATIONS
    for content in operation.gives
    for type_ in content.types
}


@pytest.mark.parametrize("answer", [*ANSWERS, Due], ids=lambda answer: answer.__name__)
def test_no_answer_has_another_precision(answer: Any) -> None:
    assert list(datetimes(inspect.type_info(answer), "")) == []
