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
