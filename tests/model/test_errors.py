"""What msgspec says is wrong, as message and field."""

from typing import Any

import msgspec
import pytest

from app.model.errors import explain, field_error
from app.schemas.messages import RewriteIn

MAIL = {"newsletter": {"id": "n"}, "recipient": "a@example.com", "html": ""}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"newsletter": {"id": 1}}, "newsletter.id"),
        ({"newsletter": {"id": "n", "tags": ["a", 1]}}, "newsletter.tags[1]"),
        ({"utm": {"a b": "1"}}, "utm"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"recipients": 1}, ""),
    ],
)
def test_the_field_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({**MAIL, **change}, RewriteIn)
    message, named = explain(caught.value)
    assert named == field and " - at " not in message
    assert field_error(caught.value).field == field
    assert field_error(caught.value, "other").field == "other"
