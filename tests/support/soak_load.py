"""Sends hits for hours, in a process of its own: a steady stream with a burst each minute.

`python -m tests.support.soak_load PORT DATA_DIR MINUTES` sends RATE hits a second on average, each
for a message of its own: BURST a second for BURST_SECONDS of every minute, the rest evenly. A hit
is sent when it is due, whether earlier ones are answered or not, and its time counts from when it
was due: a service that falls behind cannot hide it. Prints a JSON line for each minute: times are
those of hits due before the burst, `burst_ms` is the longest in it, `peak` the most answers in a
second.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import uvloop

from app.model.ids import newsletter_key
from app.settings.load import load, with_secrets
from app.tracking.tokens import LinkToken, MessageToken, Tokens

NEWSLETTER = "soak"
TARGET = "https://example.com/landing"
RATE, BURST, BURST_SECONDS = 1_000, 10_000, 3
QUIET_SECONDS = 20.0  # seconds of a minute before its burst
CONNECTIONS = 64
TICK_SECONDS = 0.01  # seconds
CLICK_SHARE = 0.25  # of all hits
AGENTS = [
    f"Mozilla/5.0 (X11; Linux x86_64; rv:{v}.0) Gecko/20100101 Thunderbird/{v}.0"
    for v in range(60, 140)
]


class Connection(asyncio.Protocol):
    """Counts answers, which come in the order of their requests."""

    def __init__(self, load_: "Load") -> None:
        self.load, self.waiting = load_, deque[tuple[float, bytes]]()
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        answers = (self.buffer + data).split(b"\r\n\r\n")
        # Bodies follow their heads: bytes after the last blank line may be incomplete.
        self.buffer = answers.pop()
        now = time.perf_counter()
        for answer in answers:
            due, status = self.waiting.popleft()
            self.load.answered(due, now)
            self.load.wrong += status not in answer

    def connection_lost(self, _: Exception | None) -> None:
        self.load.lost += len(self.waiting)


class Load:
    """For the current minute `times` in seconds; for all minutes errors and totals."""

    def __init__(self, data_dir: Path) -> None:
        self.tokens = Tokens(with_secrets(load(data_dir=data_dir)).secret_keys)
        self.key = newsletter_key("default", NEWSLETTER)
        self.link = self.tokens.link(LinkToken(self.key, 0, TARGET))
        self.begun = 0.0
        self.times: list[float] = []
        self.burst = 0.0
        self.by_second: Counter[int] = Counter()
        self.wrong = self.lost = self.opens = self.clicks = 0

    def answered(self, due: float, now: float) -> None:
        self.by_second[int(now)] += 1
        if (due - self.begun) % 60 < QUIET_SECONDS:
            self.times.append(now - due)
        else:
            self.burst = max(self.burst, now - due)

    def request(self) -> tuple[bytes, bytes]:
        """Returns a request and the status of its answer."""
        message = self.tokens.message(
            MessageToken(os.urandom(16), self.key, random.getrandbits(64))
        )
        click = random.random() < CLICK_SHARE
        self.clicks += click
        self.opens += not click
        path = f"/c/{message}/{self.link}" if click else f"/o/{message}.gif"
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {random.choice(AGENTS)}\r\n\r\n"
        return head.encode(), b"HTTP/1.1 302" if click else b"HTTP/1.1 200"

    async def run(self, port: int, minutes: int) -> None:
        loop = asyncio.get_running_loop()
        pool = [
            (await loop.create_connection(lambda: Connection(self), "127.0.0.1", port))[1]
            for _ in range(CONNECTIONS)
        ]
        steady = (RATE * 60 - BURST * BURST_SECONDS) / (60 - BURST_SECONDS)
        self.begun = time.perf_counter()
        for minute in range(minutes):
            sent = 0.5  # rounds
            for tick in range(round(60 / TICK_SECONDS)):
                due = self.begun + minute * 60 + tick * TICK_SECONDS
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                burst = QUIET_SECONDS <= tick * TICK_SECONDS < QUIET_SECONDS + BURST_SECONDS
                before, sent = int(sent), sent + (BURST if burst else steady) * TICK_SECONDS
                for number in range(before, int(sent)):
                    request, status = self.request()
                    connection = pool[number % CONNECTIONS]
                    connection.waiting.append((due, status))
                    connection.transport.write(request)
            self.tell(minute, int(sent), sum(len(connection.waiting) for connection in pool))
        end = time.perf_counter() + 300
        while any(connection.waiting for connection in pool) and time.perf_counter() < end:
            await asyncio.sleep(0.1)
        self.tell(minutes, 0, sum(len(connection.waiting) for connection in pool))

    def tell(self, minute: int, sent: int, waiting: int) -> None:
        times = sorted(self.times) or [0.0]
        line = {
            "minute": minute,
            "sent": sent,
            "answered": self.by_second.total(),
            "waiting": waiting,
            "median_ms": times[len(times) // 2] * 1000,
            "p99_ms": times[len(times) * 99 // 100] * 1000,
            "burst_ms": self.burst * 1000,
            "peak": max(self.by_second.values(), default=0),
            "wrong": self.wrong,
            "lost": self.lost,
            "opens": self.opens,
            "clicks": self.clicks,
        }
        self.times, self.burst, self.by_second = [], 0.0, Counter()
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    uvloop.run(Load(Path(sys.argv[2])).run(int(sys.argv[1]), int(sys.argv[3])))
