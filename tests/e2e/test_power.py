"""A power failure: what was answered long enough before is counted, and once."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.hit_load import Load
from tests.support.power_failure import Disk
from tests.support.programs import assert_verified, hits_by_message, verified
from tests.support.service import FirstStart, Service

FAILURES = 3


class TimedLoad(Load):
    """Notes when each answer came."""

    def __init__(self, service: Service, newsletter: str) -> None:
        super().__init__(service, newsletter, pause=0.005)
        self.times: dict[str, float] = {}

    def _hit(self, client: object, message: bytes) -> None:
        super()._hit(client, message)  # type: ignore[arg-type]
        self.times[message.hex()] = time.monotonic()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.remove()


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
@pytest.mark.parametrize(("sync_ms", "may_lose_seconds"), [("0", 0.0), ("100", 0.2)])
def test_power_failures_take_nothing_that_was_promised(
    disk: Disk, tmp_path: Path, sync_ms: str, may_lose_seconds: float
) -> None:
    # Its database is synced as it is created; a copy of one would not be.
    service = FirstStart(disk.path / "data", MAILWAKE_JOURNAL_SYNC_MS=sync_ms)
    service.log = tmp_path / "log"  # of which a power failure takes nothing
    with ExitStack() as ended:
        ended.callback(service.client.close)
        ended.callback(service.kill)
        _cut_power(service, disk, may_lose_seconds)


def _cut_power(service: Service, disk: Disk, may_lose_seconds: float) -> None:
    ages: dict[str, float] = {}  # seconds from an answer to the power failure
    requested: set[str] = set()
    for number in range(FAILURES):
        service.start()
        service.ready()
        load = TimedLoad(service, f"power {number}")
        with load.running():
            load.more(500)
            time.sleep(1.5)  # hits are in every state: open, sealed, being inserted, merged
            now = time.monotonic()
            disk.cut_power()
            service.kill()
        assert not load.wrong[:1]
        ages |= {hit: now - at for hit, at in load.times.items() if at < now}
        requested |= {*load.answered, *load.cut}
        disk.boot()
    service.start()
    verified(service)
    service.stop()
    counts = hits_by_message(service)
    lost = sorted(age for hit, age in ages.items() if hit not in counts)
    assert not lost or lost[-1] < may_lose_seconds, f"{len(lost)} of {len(ages)} are lost: {lost}"
    assert set(counts) <= requested
    assert set(counts.values()) == {1}, "a hit was doubled"
    assert_verified(service)
