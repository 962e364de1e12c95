"""How much work something is, counted so that a busy machine cannot change it."""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls(action: Callable[[], Any]) -> int:
    """The calls of Python's functions and of C's that `action` makes.

    Without the garbage collector, which calls hypothesis back whenever it happens to run.
    """
    made = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    gc.disable()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return made
