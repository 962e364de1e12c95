"""Whole numbers in text that others wrote: query parameters, header fields, cursors."""

from app.model.errors import FieldError

MAX_DIGITS = 20  # of an unsigned 64-bit number; int() takes long over thousands of them


def read_int(text: str, low: int = 0, high: int = 2**64 - 1) -> int | None:
    """Returns the whole number that `text` is, or None where it is none from `low` to `high`.

    Only ASCII digits count: int() would also take signs, spaces, underscores and other scripts.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        return None
    number = int(text)
    return number if low <= number <= high else None


def parse_int(text: str, name: str, low: int, high: int) -> int:
    """Returns the whole number of the field `name`. Raises FieldError."""
    number = read_int(text, low, high)
    if number is None:
        raise FieldError(name, f"must be a whole number from {low:,} to {high:,}")
    return number
