"""What msgspec says is wrong, as message and field."""

import ast
from typing import Any

import msgspec
import pytest

from app.model.errors import UNREADABLE, explain, field_error
from app.schemas.messages import RewriteIn
from tests.support.paths import ROOT

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


@pytest.mark.parametrize("data", [b"{", b'{"a":"\xff"}', b"1"])
def test_bytes_that_are_not_of_a_type_are_unreadable(data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        msgspec.json.decode(data, type=dict[str, str])


def test_bytes_that_are_no_utf_8_are_unreadable_everywhere() -> None:
    """Nobody expects msgspec's own error alone."""
    alone = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "app").rglob("*.py")
        for handler in ast.walk(ast.parse(path.read_text()))
        if isinstance(handler, ast.ExceptHandler) and handler.type
        for node in ast.walk(handler.type)
        if isinstance(node, ast.Attribute) and node.attr == "DecodeError"
    ]
    assert alone == []
