"""Errors as RFC 9457 says."""

from msgspec import Struct


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 says; `field` names what was wrong."""

    title: str
    status: int
    detail: str = ""
    field: str = ""
    type: str = "about:blank"
