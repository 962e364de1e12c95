"""Errors that several packages raise; app/web/errors.py converts them into responses."""

import msgspec

from app.model.email_address import NO_RECIPIENT, RECIPIENT_PATTERN

# What msgspec raises for bytes that are not of a type, and for bytes that are no UTF-8.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_RECIPIENT_PATTERN = repr(RECIPIENT_PATTERN)  # as msgspec's errors contain it


class FieldError(ValueError):
    """Invalid input: `field` names the invalid field, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(LookupError):
    """Something does not exist: `field` is the field that asked for it, the message names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def explain(error: Exception) -> tuple[str, str]:
    """Returns the message and the field of a msgspec.ValidationError.

    Its text ends in "- at `$.newsletter.id`", for a wrong key in "- at `key` in `$.utm`".
    """
    message, _, path = str(error).partition(" - at `")
    if _RECIPIENT_PATTERN in message:
        message = NO_RECIPIENT
    return message, path.rstrip("`").rpartition("$")[2].lstrip(".")


def field_error(error: Exception, field: str = "") -> FieldError:
    """Returns a msgspec.ValidationError as a FieldError; `field` is used instead of its own."""
    message, own = explain(error)
    return FieldError(field or own, message)
