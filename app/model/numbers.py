"""Parses whole numbers in untrusted text: query parameters, header fields, cursors."""

from app.model.errors import FieldError

MAX_DIGITS = 20  # of an unsigned 64-bit number; int() is slow for thousands of them


def read_int(text: str, low: int = 0, high: int = 2**64 - 1) -> int | None:
    """Returns the whole number in `text`; None if it is not one from `low` to `high`.

    Only ASCII digits count: int() would also accept signs, spaces, underscores and other scripts.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        return None
    number = int(text)
    return number if low <= number <= high else None


def parse_int(text: str, name: str, low: int, high: int) -> int:
    """Returns the whole number in the field `name`. Raises FieldError."""
    number = read_int(text, low, high)
    if number is None:
        raise FieldError(name, f"must be a whole number from {low:,} to {high:,}")
    return number
