"""What a check has found."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One finding of a check. `fix` says what to do, empty if nothing is wrong."""

    about: str
    status: Literal["ok", "warning", "error"]
    what: str
    fix: str = ""
