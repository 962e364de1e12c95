"""Errors as RFC 9457 says."""

from msgspec import Struct


def explain(error: Exception) -> tuple[str, str]:
    """What msgspec says, and the field: `Expected ... - at $.newsletter.id` or `key in $.utm`."""
    message, _, path = str(error).partition(" - at `")
    return message, path.removeprefix("key` in `").rstrip("`").removeprefix("$").lstrip(".")


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as in RFC 9457. `field` names the wrong field or parameter."""

    title: str
    status: int
    detail: str = ""
    field: str = ""
    type: str = "about:blank"
