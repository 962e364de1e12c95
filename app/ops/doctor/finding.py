"""What a check has found."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """`mend` says what to do; empty where all is fine."""

    about: str
    state: Literal["fine", "mind", "wrong"]
    what: str
    mend: str = ""
