"""Measures how long hits take next to the most expensive requests that a key allows.

Hits come at a fixed rate, whether earlier ones are answered or not, so one that stalls delays those
after it as it would recipients. `make bench` prints their 99th percentile for each request and for
all; it should be below 50 ms.
"""

import asyncio
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import httpx2

from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import Service
from tests.support.worst_inputs import Input, mail_inputs, other_inputs

HITS_PER_SECOND = 100
LEAST_SECONDS = 0.5  # for which hits are measured beside a request; short ones are repeated


class Hits:
    """Sends hits at a fixed rate in a thread of its own; `seconds` has how long each took."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seconds: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()))

    def __enter__(self) -> "Hits":
        self._thread.start()
        wait_for(lambda: self.seconds, "hit")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _send(self) -> None:
        limits = httpx2.Limits(max_connections=200, keepalive_expiry=2)
        async with (
            httpx2.AsyncClient(
                base_url=self._url, trust_env=False, timeout=PATIENCE_SECONDS, limits=limits
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            due = time.perf_counter()
            while not self._stop.is_set():
                group.create_task(self._hit(client, due))
                due += 1 / HITS_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def _hit(self, client: httpx2.AsyncClient, due: float) -> None:
        answer = await client.get("/o/x.gif")
        assert answer.status_code == 200
        self.seconds.append(time.perf_counter() - due)


def percentile(seconds: Sequence[float]) -> float:
    """Returns the 99th percentile in milliseconds."""
    return 1_000 * sorted(seconds)[int(len(seconds) * 0.99)]


def beside(service: Service, requests: Sequence[Input]) -> list[float]:
    """Returns how long hits took while requests were sent, one after the other."""
    with Hits(service.url) as hits:
        end = time.perf_counter() + LEAST_SECONDS
        while True:
            for request in requests:
                answer = service.client.request(
                    request.method,
                    request.path,
                    content=request.body,
                    headers={"content-type": request.media_type},
                )
                assert answer.status_code < 500, answer.text
            if time.perf_counter() > end:
                break
    return hits.seconds


def run() -> None:
    """Print the 99th percentiles."""
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "data") as service:
        service.ready()
        alone = Hits(service.url)
        with alone:
            time.sleep(5)
        print(f"hits alone: p99 {percentile(alone.seconds):.0f} ms")
        every: list[float] = []
        for path, requests in groupby(other_inputs(), lambda one: one.path.split("/")[2]):
            every += (seconds := beside(service, [*requests]))
            print(f"/v1/{path.partition('?')[0]}: p99 {percentile(seconds):.0f} ms")
        for request in mail_inputs():
            every += (seconds := beside(service, [request]))
            path = request.path.partition("?")[0]
            print(f"{path}, {request.name}: p99 {percentile(seconds):.0f} ms")
        print(f"all: p99 {percentile(every):.0f} ms of {len(every):,} hits")


if __name__ == "__main__":
    run()
