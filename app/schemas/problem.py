"""Errors as RFC 9457 says."""

from msgspec import Struct


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as in RFC 9457. `field` names the wrong field or parameter."""

    title: str
    status: int
    detail: str = ""
    field: str = ""
    type: str = "about:blank"
