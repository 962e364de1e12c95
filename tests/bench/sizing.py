"""Measures the cost of a hit: bytes on disk by table, in the journal and in state.db, CPU, memory.

HITS generated hits, spread over two days after each of 20 mailings, go through the journal's
format, the loader, the corrections, verification and embedded chDB. Then a real service gets clicks
and opens for SECONDS, and the CPU seconds of its processes are counted, loading included. These
hardly depend on other load of the machine, but wall-clock times do, so they are shown separately.
docs/sizing.md has results.

    HITS=2000000 python -m tests.bench.sizing
"""

import random
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from app.demo import agents
from app.ingest.pipeline import assemble
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, Kind, Message, Newsletter, PlacedLink, encode
from app.settings.load import load, with_secrets
from app.storage.clickhouse import Storage
from app.storage.clickhouse_schema import migrate
from app.storage.state_db import open_state
from app.storage.tables import feed, segments
from tests.bench import SMALL, size
from tests.support.hit_load import PERSON, Load
from tests.support.service import FirstStart, Service, paths, tracked_urls

HITS = size("HITS", 2_000_000, 400)
SECONDS = size("SECONDS", 20, 1)
PAUSE_SECONDS = size("PAUSE_SECONDS", 4, 1)
COUNTED = size("COUNTED", 10, 1)
NEWSLETTERS, LINKS, SEGMENT = size("NEWSLETTERS", 20, 2), 25, 50_000
EACH = HITS // 2 // NEWSLETTERS  # messages of one newsletter: two hits each on average
SENT = 1_750_000_000_000
AGENTS = [value for value in vars(agents).values() if isinstance(value, str)]


def run() -> None:
    """Print everything in one run."""
    with tempfile.TemporaryDirectory() as name:
        _tables(Path(name))
        _service(Path(name) / "service")


def _tables(folder: Path) -> None:
    journal = folder / "journal"
    journal.mkdir()
    settings = with_secrets(load(data_dir=folder))
    storage, state = Storage(settings), open_state(folder)
    migrate(storage)
    _, loader, corrections, verifier = assemble(settings, storage, state)
    steps: dict[str, Callable[[], object]] = {
        "loading": loader.load_all,
        "correcting": partial(corrections.reclassify_recent, 0),
        "verifying": verifier.verify_loaded,
    }
    size = lines = 0
    taken = {name: [0.0, 0.0] for name in steps}
    chance = random.Random(7)
    for number in range(NEWSLETTERS):
        for segment in _segments(chance, number):
            size, lines = size + len(segment), lines + segment.count(b"\n")
            (journal / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(segment)
            for name, work in steps.items():
                clock, cpu = time.perf_counter(), time.process_time()
                work()
                taken[name][0] += time.perf_counter() - clock
                taken[name][1] += time.process_time() - cpu
    print(f"journal: {size / lines:,.0f} bytes a line, {lines:,} lines ({HITS:,} of them hits)")
    for name, (clock, cpu) in taken.items():
        print(f"{name}: {cpu / lines * 1e6:,.0f} CPU seconds a million lines ({clock:,.0f} s here)")
    _merged(storage)
    print("table                 rows        bytes   bytes a row   bytes a hit")
    total = 0
    for row in storage.query(
        "SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes FROM system.parts"
        " WHERE active AND database = currentDatabase() GROUP BY table ORDER BY bytes DESC",
        {},
    ):
        total += row["bytes"]
        print(
            f"{row['table']:<16} {row['rows']:>9,} {row['bytes']:>12,}"
            f" {row['bytes'] / max(1, row['rows']):>13.1f} {row['bytes'] / HITS:>13.1f}"
        )
    print(f"all tables: {total / HITS:.1f} bytes a hit, with a ledger of half as many messages")
    kept = {
        "the feed, kept for seven days": feed,
        "the register of journal segments, kept for a day": segments,
    }
    with state.connect() as connection:
        for name, its_table in kept.items():
            query = select(func.sum(func.length(its_table.c.rows)))
            size = connection.execute(query).scalar_one()
            print(f"state.db, {name}: {size / HITS:.1f} bytes a hit")
    size = sum(path.stat().st_size for path in folder.glob("state.db*"))
    print(f"state.db as a file: {size / HITS:.1f} bytes a hit")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory at most, with chDB and this bench: {peak:,.0f} MB", flush=True)
    storage.close()


def _segments(chance: random.Random, number: int) -> Iterator[bytes]:
    """Yields one mailing: its messages, then its hits in the order of time."""
    name, sent = f"newsletter-{number}", SENT + number * 86_400_000
    key = newsletter_key("default", name)
    ids = [new_id(sent + n // 50).hex() for n in range(EACH)]
    people = [chance.getrandbits(64) for _ in range(EACH)]
    lines = [encode(Newsletter(sent, "default", key, name, name.title()))]
    lines += [
        encode(PlacedLink(sent, "default", key, n, f"https://example.com/{name}/{n}"))
        for n in range(LINKS)
    ]
    for n in range(EACH):
        address = f"{chance.choice(('anna', 'bert', 'carla', 'dirk'))}.{people[n]:x}@example.com"
        lines.append(encode(Message(sent + n // 50, "default", key, ids[n], people[n], address)))
    yield b"".join(lines)
    hits = sorted(_hits(chance, sent, key, ids, people), key=lambda hit: hit.at)
    for start in range(0, len(hits), SEGMENT):
        yield b"".join(map(encode, hits[start : start + SEGMENT]))


def _hits(
    chance: random.Random, sent: int, key: int, ids: list[str], people: list[int]
) -> Iterator[Hit]:
    for _ in range(HITS // NEWSLETTERS):
        who = chance.randrange(EACH)
        kind: Kind = "click" if chance.random() < 0.2 else "open"
        link = min(int(chance.expovariate(0.3)), LINKS - 1) if kind == "click" else -1
        yield Hit(
            kind,
            sent + min(int(chance.expovariate(1 / 2e7)), 172_800_000),
            "default",
            key,
            ids[who],
            people[who],
            link,
            address=f"{chance.randrange(1, 223)}.{chance.randrange(256)}.{chance.randrange(256)}.0",
            user_agent=chance.choice(AGENTS),
        )


def _merged(storage: Storage) -> None:
    """Wait until the engine ends its own merges; nothing is forced."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if not storage.query("SELECT count() AS n FROM system.merges", {})[0]["n"]:
            time.sleep(2)
            if not storage.query("SELECT count() AS n FROM system.merges", {})[0]["n"]:
                return
        time.sleep(1)


def _service(folder: Path) -> None:
    """Measure two rates, to separate the costs of a second with hits from those of a hit."""
    with FirstStart(folder) as service:
        assert service.process
        hits = Load(service, "sizing", clicks=0.2, pause=0.005 if SMALL else 0)
        with hits.running(2):  # warm
            time.sleep(1)
        service.drained(300)
        time.sleep(PAUSE_SECONDS)
        took = max(_until_counted(service, f"counted {n}") for n in range(COUNTED))
        print(f"a hit is in the statistics after {took:.2f} s at most (promised: 2)")
        before = service.cpu_seconds()
        time.sleep(SECONDS / 2)
        idle = (service.cpu_seconds() - before) / SECONDS * 2
        print(f"idle: {idle:.3f} CPU seconds a second")
        slow = Load(service, "sizing", clicks=0.2, pause=0.02)
        points = [_point(service, slow, 1), _point(service, hits, 2)]
        (few, low), (many, high) = points
        each = (high - low) / (many - few)
        for rate, cpu in points:
            print(f"at {rate:,.0f} hits a second: {cpu:.3f} CPU seconds a second")
        print(
            f"so {each * 1e6:,.0f} CPU seconds a million hits,"
            f" and {low - each * few:.3f} a second while any come"
        )
        peaks = [_peak(pid) for pid in (service.process.pid, *service.children())]
        print(f"memory of the service's processes at most: {sum(peaks):,.0f} MB")


def _until_counted(service: Service, newsletter: str) -> float:
    """Returns seconds from a click to its place in the statistics."""
    html = service.rewrite(newsletter, '<a href="https://example.com/">x</a>')["html"]
    service.wait_for(
        lambda: service.client.get(f"/v1/newsletters/{newsletter}/stats").is_success, newsletter
    )
    link = next(path for path in paths(tracked_urls(html)) if path.startswith("/c/"))
    start = time.perf_counter()
    service.client.get(link, headers={"user-agent": PERSON})
    while not service.stats(newsletter)["clicks"]["all"]["total"]:
        time.sleep(0.01)
    return time.perf_counter() - start


def _point(service: Service, hits: Load, threads: int) -> tuple[float, float]:
    """Returns hits and the service's CPU seconds, both per second, once both are steady."""
    assert service.process
    with hits.running(threads):
        time.sleep(PAUSE_SECONDS)
        before, known, start = service.cpu_seconds(), len(hits.answered), time.perf_counter()
        time.sleep(SECONDS)
        clock = time.perf_counter() - start
        cpu, count = service.cpu_seconds() - before, len(hits.answered) - known
    service.drained(300)
    return count / clock, cpu / clock


def _peak(pid: int) -> float:
    """Returns the most memory that a process has had, in megabytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    peak = next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))
    return int(peak) / 1024


if __name__ == "__main__":
    run()
