"""Measures how long hits take next to the most expensive requests that a key allows.

Hits come at a fixed rate, whether earlier ones are answered or not, so one that stalls delays those
after it as it would recipients. They come from a process of their own, so that the requests' client
does not delay them. `make bench` prints their 99th percentile for each request and for all; it
should be below 50 ms.
"""

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import httpx2

from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import FirstStart, Service
from tests.support.worst_inputs import Input, mail_inputs, other_inputs

HITS_PER_SECOND = 100
LEAST_SECONDS = 0.5  # for which hits are measured beside a request; short ones are repeated
LARGE = b'{"newsletter": {"id": "n"}, "recipient": "r", "html": "x"%s}' % (b" " * 200_000)


async def send(url: str) -> None:
    """Send hits until standard input closes; prints when each was due and how long it took."""
    limits = httpx2.Limits(max_connections=200, keepalive_expiry=2)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    async with (
        httpx2.AsyncClient(
            base_url=url, trust_env=False, timeout=PATIENCE_SECONDS, limits=limits
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        due = time.monotonic()
        while not ended.done():
            group.create_task(_hit(client, due))
            due += 1 / HITS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _hit(client: httpx2.AsyncClient, due: float) -> None:
    answer = await client.get("/o/x.gif")
    assert answer.status_code == 200
    print(due, time.monotonic() - due, flush=True)


class Hits:
    """Hits of another process; `during` returns the seconds that those of a time took."""

    def __init__(self) -> None:
        self._hits: list[tuple[float, float]] = []

    @contextmanager
    def sent_to(self, url: str) -> Iterator[None]:
        """Send hits until the block ends."""
        command = [sys.executable, "-m", "tests.bench.costs", url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin and process.stdout
            lines = process.stdout
            reader = threading.Thread(target=lambda: self._hits.extend(map(_parsed, lines)))
            reader.start()
            wait_for(lambda: self._hits, "hit")
            yield
            process.stdin.close()
            reader.join()

    def during(self, begin: float, end: float) -> list[float]:
        return [seconds for due, seconds in self._hits if begin <= due < end]


def _parsed(line: bytes) -> tuple[float, float]:
    due, seconds = line.split()
    return float(due), float(seconds)


def percentile(seconds: Sequence[float]) -> float:
    """Returns the 99th percentile in milliseconds."""
    return 1_000 * sorted(seconds)[int(len(seconds) * 0.99)]


def ask(service: Service, requests: Sequence[Input]) -> None:
    """Send requests one after the other, for LEAST_SECONDS or more."""
    end = time.monotonic() + LEAST_SECONDS
    while True:
        for request in requests:
            answer = service.client.request(
                request.method,
                request.path,
                content=request.body,
                headers={"content-type": request.media_type},
            )
            assert answer.status_code < 500, answer.text
        if time.monotonic() > end:
            return


def run() -> None:
    """Print the 99th percentiles."""
    hits = Hits()
    times: list[tuple[str, float, float]] = []

    @contextmanager
    def measured(name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        times.append((name, begin, time.monotonic()))

    with tempfile.TemporaryDirectory() as folder, FirstStart(Path(folder) / "data") as service:
        service.ready()
        service.client.post("/v1/rewrite", content=LARGE)  # starts the process for large mails
        wait_for(lambda: [*(Path(folder) / "data").glob("rewriting-*.sock")], "its socket")
        with hits.sent_to(service.url):
            with measured("no other requests"):
                time.sleep(5)
            for path, requests in groupby(other_inputs(), lambda one: one.path.split("/")[2]):
                with measured(f"/v1/{path.partition('?')[0]}"):
                    ask(service, [*requests])
            for request in mail_inputs():
                with measured(f"{request.path.partition('?')[0]}, {request.name}"):
                    ask(service, [request])
    every: list[float] = []
    for name, begin, end in times:
        seconds = hits.during(begin, end)
        print(f"{name}: p99 {percentile(seconds):.0f} ms")
        every += seconds if name != times[0][0] else []
    print(f"all: p99 {percentile(every):.0f} ms of {len(every):,} hits")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(send(sys.argv[1]))
    else:
        run()
