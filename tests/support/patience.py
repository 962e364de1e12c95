"""One limit for everything a test waits for. It ends a test that hangs and decides nothing else.

A test waits for a condition, never for a length of time: on a busy machine the condition comes
later, and the test passes all the same.
"""

import asyncio
import time
from collections.abc import Callable

PATIENCE_SECONDS = 120.0


def wait_for(
    condition: Callable[..., object],
    what: str = "condition",
    log: Callable[[], object] = str,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Poll until the condition holds. Raises AssertionError with `log()` at the limit.

    `seconds` is for runs that wait for much work, as benchmarks do.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} in {seconds:.0f} s: {log()}"
        time.sleep(0.02)


async def until(condition: Callable[[], object]) -> None:
    """Poll until the condition holds. Raises TimeoutError at the common limit."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)
