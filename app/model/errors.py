"""Errors that several packages raise; app/web/errors.py converts them into responses."""


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
