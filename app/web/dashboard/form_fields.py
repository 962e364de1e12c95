"""What several forms have in common: lists with an entry on each line, and what is wrong."""

import msgspec
from starlette.datastructures import FormData

from app.model.errors import FieldError, explain


def lines(form: FormData, name: str) -> list[str]:
    """Returns the lines of a field that are not empty."""
    return [line.strip() for line in str(form.get(name, "")).splitlines() if line.strip()]


def problem_of(error: msgspec.ValidationError | FieldError) -> str:
    """Returns what is wrong, with its field."""
    if isinstance(error, FieldError):
        return f"{error.field}: {error}"
    message, field = explain(error)
    return f"{field}: {message}"
