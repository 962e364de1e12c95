"""Runs work in a thread if it takes so long that it would delay hits."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

INLINE_BYTES = 65_536  # up to this size of a mail, a thread costs more than it saves
P = ParamSpec("P")
T = TypeVar("T")


async def offloaded(size: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work`, in a thread if its input's `size` exceeds INLINE_BYTES; returns its result."""
    if size > INLINE_BYTES:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
