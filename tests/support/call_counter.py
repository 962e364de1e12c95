"""Measures work in function calls, which a busy machine cannot change."""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls(action: Callable[[], Any]) -> int:
    """Count the calls of Python and C functions that `action` makes.

    The garbage collector is off, since it calls hypothesis back whenever it happens to run.
    """
    total = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal total
        total += event in ("call", "c_call")

    gc.disable()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return total
