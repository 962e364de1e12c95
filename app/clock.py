"""Notices that the system's clock was set, so that nothing expires by a wrong time.

What is kept for days, and what is decided by the time alone, waits while the clock is doubtful:
from a step until the clock is right again or, if it stays, for DOUBT_SECONDS. Steps are measured
against the time since the system's start, which no one can set (CLOCK_BOOTTIME, clock_gettime(2)),
and across restarts against the time that was written to a file of DATA_DIR.
"""

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path

from app.files import write_private

log = logging.getLogger(__name__)

FILE = "clock"  # in DATA_DIR: the time when the service last ran, in seconds since 1970 UTC
POLL_SECONDS = 1.0
WRITE_SECONDS = 60.0
STEP_SECONDS = 120.0  # smaller steps are those of a time service
LONG_SECONDS = 2 * 86_400.0  # a service that was stopped for longer may as well have a wrong clock
DOUBT_SECONDS = 3_600.0  # in which an operator can notice


class Clock:
    """The clock of one system. `check()` compares; `run()` does so until cancelled."""

    def __init__(self) -> None:
        self._right = _offset()  # between wall clock and CLOCK_BOOTTIME, as last believed
        self._doubtful_since: float | None = None  # seconds of CLOCK_BOOTTIME
        self._step, self._since_start = 0.0, False

    @property
    def doubtful(self) -> bool:
        """Returns whether the clock was set lately."""
        return self._doubtful_since is not None

    @property
    def trouble(self) -> str:
        """Returns what is wrong; empty while nothing is."""
        if not self.doubtful or self._since_start:  # it may have been stopped for that long
            return ""
        return (
            f"the system's clock went {_described(self._step)}: nothing expires for an hour, or"
            " until it is right again"
        )

    async def run(self, data_dir: Path) -> None:
        """Watch the clock, and write the time to a file, until cancelled."""
        path = data_dir / FILE
        self.compare(await asyncio.to_thread(_read, path))
        written = -WRITE_SECONDS
        while True:
            self.check()
            if not self.doubtful and time.monotonic() - written >= WRITE_SECONDS:
                written = time.monotonic()
                with suppress(OSError):  # another process writes it, or the disk is full
                    await asyncio.to_thread(write_private, path, b"%d\n" % time.time())
            await asyncio.sleep(POLL_SECONDS)

    def compare(self, last: float) -> None:
        """Compare with the time of the last run, in seconds since 1970 UTC; 0 if it is unknown."""
        passed = time.time() - last
        if last and not -STEP_SECONDS < passed < LONG_SECONDS:
            self._right = _offset() - passed
            self._since_start = passed > 0

    def check(self) -> None:
        """Compare with the last check."""
        now, step = _booted(), _offset() - self._right
        if abs(step) < STEP_SECONDS:
            self._right += step  # a time service adjusts it slowly
            if self.doubtful:
                log.warning("the system's clock is right again")
            self._doubtful_since, self._since_start = None, False
        elif self._doubtful_since is None or abs(step - self._step) > STEP_SECONDS:
            if self._step:
                self._since_start = False
            self._doubtful_since, self._step = now, step
            log.warning("the system's clock went %s", _described(step))
        elif now - self._doubtful_since > DOUBT_SECONDS:
            log.warning("the system's clock is believed again")
            self._right, self._doubtful_since, self._step = _offset(), None, 0.0


def _booted() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _offset() -> float:
    return time.time() - _booted()


def _read(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


def _described(step: float) -> str:
    direction, size = "ahead" if step > 0 else "back", abs(step)
    if size >= 2 * 86_400:
        return f"{direction} by {size / 86_400:,.0f} days"
    return f"{direction} by {size / 3_600:.1f} hours"


CLOCK = Clock()  # of this process, as `time` is
