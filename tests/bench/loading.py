"""Measures the loader into embedded chDB: events a second, and delays of the event loop."""

import asyncio
import os
import random
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from app.demo import agents
from app.events.feed import Feed
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.model.ids import new_id
from app.model.records import Hit, Kind, encode, now_ms
from app.settings.load import load
from app.storage.clickhouse import Storage
from app.storage.clickhouse_schema import migrate
from app.storage.state_db import open_state
from tests.bench import size

SEGMENTS, HITS = size("SEGMENTS", 20, 1), size("HITS", 50_000, 1_000)
CORRECTED_SEGMENTS = size("CORRECTED_SEGMENTS", 60, 2)  # small ones, half a second apart
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
    work.load_all()  # the first insert is slower
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
    _correct(journal, storage)
    storage.close()


def _correct(journal: Path, storage: Storage) -> None:
    """Print the CPU time of corrections, with a scanner's sweep on every tenth message."""
    corrections = Corrections(journal, storage)
    corrections.reclassify_recent(after=0)  # what is loaded already
    loader, events, seconds = Loader(journal, storage), 0, 0.0
    messages: list[str] = []
    for turn in range(CORRECTED_SEGMENTS):
        lines = [line for n in range(200) for line in _read_or_scanned(messages, turn, n)]
        (journal / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(b"".join(lines))
        loader.load_all()
        start = time.process_time()
        corrections.reclassify_recent(after=0)
        seconds += time.process_time() - start
        events += len(lines)
    each = seconds / events * 1e6
    print(
        f"corrections: {each:.0f} us of CPU time an event, {corrections.changed:,} verdicts changed"
    )


def _read_or_scanned(messages: list[str], turn: int, n: int) -> Iterator[bytes]:
    """Yields the hits of one message: an open, some clicks, or ten links at a tenth of a second.

    One in four goes on with a message of an earlier turn.
    """
    begin = now_ms() - 600_000 + turn * 500
    if n % 4 or not messages:
        messages.append(new_id(begin - 5_000).hex())
    message = messages[-1] if n % 4 else messages[-1 - n % len(messages)]
    if n % 10 == 0:
        hits = [("click", link, 100 * link) for link in range(10)]
    else:
        hits = [("open", -1, 0), ("click", n % 7, 400)][: 1 + n % 2]
    for kind, link, after in hits:
        yield encode(
            Hit(
                kind,  # type: ignore[arg-type]
                begin + after,
                "default",
                77,
                message,
                n + 1,
                link,
                f"https://example.com/{link}",
                user_agent=agents.CHROME,
                address="192.0.2.7",
            )
        )


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
