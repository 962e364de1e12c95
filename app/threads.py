"""Runs work in a thread if it takes so long that it would delay hits."""

import asyncio
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

# A link takes about as much time as 5,000 bytes of text, and needs ten bytes: what is longer than
# this may have so many of them that hits would wait.
INLINE_BYTES = 2_048
# Threads of their own: nothing else waits behind rewriting. More than two would
# only compete with each other, and with the event loop, for the interpreter's lock.
REWRITING_THREADS = 2
SWITCH_SECONDS = 0.001  # for which a thread may keep the interpreter's lock; Python's default: 5 ms
P = ParamSpec("P")
T = TypeVar("T")
_rewriting = ThreadPoolExecutor(REWRITING_THREADS, "rewriting")
_inline_bytes = INLINE_BYTES


def favour_event_loop() -> None:
    """Shorten the times for which threads delay the event loop. Call it once everything is loaded.

    The garbage collector, which stops all threads, no longer examines what exists by then: mostly
    modules, which are never freed.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()


def offload_everything() -> None:
    """Run the smallest work in a thread, too: it asks for a state that another host may have."""
    global _inline_bytes  # noqa: PLW0603  (of this process, as its threads are)
    _inline_bytes = -1


async def offloaded(size: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work`, in a thread if its input's `size` exceeds INLINE_BYTES; returns its result."""
    if size > _inline_bytes:
        run = partial(copy_context().run, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(_rewriting, run)
    return work(*args, **kwargs)
