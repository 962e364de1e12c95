"""One limit for everything a test waits for. It ends a test that hangs and decides nothing else.

A test waits for a condition, never for a length of time: on a busy machine the condition comes
later, and the test passes all the same.
"""

import asyncio
import time
from collections.abc import Callable

PATIENCE_SECONDS = 120.0
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.25


def wait_for(
    condition: Callable[..., object],
    what: str = "condition",
    log: Callable[[], object] = str,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Poll until the condition holds. Raises AssertionError with `log()` at the limit.

    `seconds` is for runs that wait for much work, as benchmarks do.
    """
    start = time.monotonic()
    while not condition():
        waited = time.monotonic() - start
        assert waited < seconds, f"no {what} in {seconds:.0f} s: {log()}"
        time.sleep(_pause(waited))


async def until(condition: Callable[[], object]) -> None:
    """Poll until the condition holds. Raises TimeoutError at the common limit."""
    start = time.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(_pause(time.monotonic() - start))


def _pause(waited: float) -> float:
    """Returns how long to pause, in seconds: conditions are often queries, which take CPU time."""
    return min(max(FIRST_PAUSE_SECONDS, waited / 4), LONGEST_PAUSE_SECONDS)
