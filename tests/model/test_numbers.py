"""Whole numbers in text that others wrote."""

import pytest

from app.model.errors import FieldError
from app.model.numbers import parse_int, read_int


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        (str(2**64 - 1), 2**64 - 1),
        (str(2**64), None),
        ("0" * 21, None),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("1_0", None),
        ("1.0", None),
        ("1e3", None),
        ("²", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),  # int() reads it
    ],
)
def test_only_ascii_digits_are_a_number(text: str, number: int | None) -> None:
    assert read_int(text) == number


def test_bounds_are_part_of_the_range_and_named() -> None:
    assert [parse_int(text, "limit", 1, 1000) for text in ("1", "1000")] == [1, 1000]
    for text in ("0", "1001", "x"):
        with pytest.raises(FieldError, match="must be a whole number from 1 to 1,000") as caught:
            parse_int(text, "limit", 1, 1000)
        assert caught.value.field == "limit"
