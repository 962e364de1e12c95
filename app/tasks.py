"""Runs background tasks, restarts those that fail, and shows the state of each."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 30.0  # doubled at each failure, with jitter
HEALTHY_SECONDS = 10.0  # without an exception, after which a task no longer counts as failing


class TaskState(NamedTuple):
    """The state of one task. Times are seconds since 1970 UTC.

    `failing_since` is when it began to fail, `reason` the class of the last exception, whose text
    may name people and is in the log only. `ok_at` is when it last ran without one: now, unless it
    is failing.
    """

    name: str
    state: Literal["running", "failing", "ended"]
    failures: int
    failing_since: float | None
    reason: str
    ok_at: float


@dataclass(eq=False)
class _Supervised:
    task: asyncio.Task[None] | None = None
    begun: float = 0.0  # monotonic
    failures: int = 0
    failing_since: float | None = None
    reason: str = ""


class Tasks:
    """Supervises tasks: `start()` them on a running loop, `cancel()` and `ended()` at the end."""

    def __init__(self) -> None:
        self._all: dict[str, _Supervised] = {}
        self._stopping = asyncio.Event()

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run `run()` until it returns; after an exception it is called again, later each time."""
        supervised = self._all[name] = _Supervised()
        supervised.task = asyncio.create_task(self._run(name, run, supervised), name=name)
        return supervised.task

    def stop(self) -> None:
        """Let tasks that fail end instead of beginning again."""
        self._stopping.set()

    def cancel(self, but: Iterable[str] = ()) -> None:
        """Cancel all tasks but some, which end by themselves."""
        self.stop()
        for name, supervised in self._all.items():
            if supervised.task and name not in but:
                supervised.task.cancel()

    async def ended(self, but: Iterable[str] = ()) -> None:
        """Wait until all tasks but some have ended."""
        tasks = [one.task for name, one in self._all.items() if one.task and name not in but]
        await asyncio.gather(*tasks, return_exceptions=True)

    def states(self) -> list[TaskState]:
        """Returns the state of each task, in the order in which they were started."""
        now, states = time.time(), []
        for name, supervised in self._all.items():
            _forgive(supervised)
            since = supervised.failing_since
            ended = supervised.task is None or supervised.task.done()
            states.append(
                TaskState(
                    name=name,
                    state="ended" if ended else "running" if since is None else "failing",
                    failures=supervised.failures,
                    failing_since=since,
                    reason=supervised.reason,
                    ok_at=now if since is None else since,
                )
            )
        return states

    async def _run(
        self, name: str, run: Callable[[], Awaitable[None]], supervised: _Supervised
    ) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            supervised.begun = time.monotonic()
            try:
                await run()
                return
            except Exception as error:
                if _forgive(supervised):
                    pause = FIRST_PAUSE_SECONDS
                supervised.failures += 1
                supervised.failing_since = supervised.failing_since or time.time()
                supervised.reason = type(error).__name__
                log.exception("task %s failed and begins again in about %g s", name, pause)
            supervised.begun = float("inf")  # not running
            with suppress(TimeoutError):
                seconds = pause * random.uniform(0.5, 1)  # noqa: S311
                await asyncio.wait_for(self._stopping.wait(), seconds)
            if self._stopping.is_set():
                return
            pause = min(pause * 2, LAST_PAUSE_SECONDS)


def _forgive(supervised: _Supervised) -> bool:
    """Returns whether a task has run long enough to count as healthy, and notes it."""
    healthy = time.monotonic() - supervised.begun >= HEALTHY_SECONDS
    if healthy:
        supervised.failing_since, supervised.reason = None, ""
    return healthy
