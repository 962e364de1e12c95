"""Work that takes long enough to delay hits runs in threads."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

INLINE_BYTES = 65_536  # of a mail, up to which a thread costs more than it saves
P = ParamSpec("P")
T = TypeVar("T")


async def offloaded(size: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread when its input has more than INLINE_BYTES, else at once."""
    if size > INLINE_BYTES:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
