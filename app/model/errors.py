"""Errors that several packages raise; app/web/errors.py answers requests with them."""


class FieldError(ValueError):
    """Input that cannot be used: `field` is the one that is wrong, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(LookupError):
    """Something that does not exist: `field` is what it was asked for by, the message names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def explain(error: Exception) -> tuple[str, str]:
    """Returns the message and the field of a msgspec.ValidationError.

    Its text ends in "- at `$.newsletter.id`", for a wrong key in "- at `key` in `$.utm`".
    """
    message, _, path = str(error).partition(" - at `")
    return message, path.rstrip("`").rpartition("$")[2].lstrip(".")


def field_error(error: Exception, field: str = "") -> FieldError:
    """Returns a msgspec.ValidationError as a FieldError; `field` is used instead of its own."""
    message, own = explain(error)
    return FieldError(field or own, message)
