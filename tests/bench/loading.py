"""The loader into embedded chDB: events a second, and how long the event loop waits meanwhile."""

import asyncio
import os
import random
import tempfile
import time
import uuid
from pathlib import Path

from app.demo import agents
from app.events.feed import Feed
from app.ingest.loader import Loader
from app.model.ids import new_id
from app.model.records import Hit, Kind, encode, now_ms
from app.settings.load import load
from app.storage.clickhouse import Storage
from app.storage.clickhouse_schema import migrate
from app.storage.state_db import open_state

SEGMENTS, HITS = 20, 50_000
KINDS: tuple[Kind, ...] = ("open", "click")


def run() -> None:
    """Print everything in one run."""
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_run(Path(name)))


async def _run(folder: Path) -> None:
    storage = Storage(load(data_dir=folder))
    migrate(storage)
    journal = folder / "journal"
    journal.mkdir()
    work = Loader(journal, storage, feed=Feed(open_state(folder)))
    _seal(journal, 2)
    work.load_all()  # the first insert is cold
    _seal(journal, SEGMENTS)
    delays: list[float] = []
    watching = asyncio.create_task(_watch(delays))
    start = time.perf_counter()
    count = await asyncio.to_thread(work.load_all)
    taken = time.perf_counter() - start
    watching.cancel()
    delays.sort()
    print(f"{count:,} events in {taken:.1f} s: {count / taken:,.0f} a second")
    p99 = delays[int(len(delays) * 0.99)] * 1000
    print(f"the loop's delay: median {delays[len(delays) // 2] * 1000:.1f} ms, p99 {p99:.1f} ms")
    storage.close()


def _seal(folder: Path, count: int) -> None:
    chance = random.Random(7)
    strings = [value for value in vars(agents).values() if isinstance(value, str)]
    for _ in range(count):
        lines = b"".join(
            encode(
                Hit(
                    chance.choice(KINDS),
                    now_ms(),
                    "default",
                    chance.randrange(9),
                    os.urandom(16).hex(),
                    chance.getrandbits(64),
                    chance.randrange(30),
                    user_agent=chance.choice(strings),
                    address="192.0.2.7",
                )
            )
            for _ in range(HITS)
        )
        (folder / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(lines)


async def _watch(delays: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        delays.append(time.perf_counter() - before - 0.005)


if __name__ == "__main__":
    run()
