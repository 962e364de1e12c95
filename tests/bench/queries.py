"""The dashboard's questions at 1 and 10 million hits (SCALE=100 for 100), and bytes a hit on disk.

The hits are made inside ClickHouse: a thousand newsletters, the largest with a tenth of all.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from app import overview, people
from app.filters import Filters
from app.queries import Queries
from app.settings import load
from app.storage import Storage

MILLION = 1_000_000
SCALES = (1, int(os.environ.get("SCALE", "10")))
ROUNDS = 7
NEWSLETTERS = 1000
FIRST = 1_780_000_000_000  # milliseconds

_KEY = "cityHash64(rank)"
_MESSAGE = f"""toUUID(concat(
    substring(leftPad(hex(toUInt64({FIRST} + rank * 100000)), 16, '0'), 5, 8), '-',
    substring(leftPad(hex(toUInt64({FIRST} + rank * 100000)), 16, '0'), 13, 4), '-7',
    substring(mh, 1, 3), '-8', substring(mh, 4, 3), '-', substring(mh, 7, 12)))"""
_NEWSLETTERS = f"""INSERT INTO newsletters SELECT 'default', {_KEY}, concat('n', toString(rank)),
    concat('Newsletter ', toString(rank)), '', ['tag'], fromUnixTimestamp64Milli(toInt64({FIRST}))
    FROM (SELECT number + 1 AS rank FROM numbers({NEWSLETTERS}))"""
_LINKS = f"""INSERT INTO links SELECT 'default', {_KEY}, link,
    concat('https://example.com/', toString(link)), 'Label', [],
    fromUnixTimestamp64Milli(toInt64({FIRST}))
    FROM (SELECT 1 + number % {NEWSLETTERS} AS rank, toInt32(intDiv(number, {NEWSLETTERS})) AS link
          FROM numbers({NEWSLETTERS * 30}))"""
_MH = "concat(leftPad(hex(sipHash64(m)), 16, '0'), leftPad(hex(m), 16, '0')) AS mh"


def _hits(start: int, count: int, total: int) -> str:
    """Opens and clicks that come soon after the sending, machines among them."""
    largest = total * 45 // 1000
    return f"""INSERT INTO hits (workspace, newsletter, message, at, kind, recipient, link, variant,
        method, address, user_agent, fetch_mode, verdict, reasons, rules, client, os, device,
        country, segment, line, origin)
    SELECT 'default', {_KEY}, {_MESSAGE},
        fromUnixTimestamp64Milli(toInt64({FIRST} + rank * 100000 + 1000 * least(2000000, exp(6 + 2.5
            * sqrt(-2 * log((rand(4) + 1) / 4294967297.)) * cos(6.2831 * rand(5) / 4294967295.))))),
        if(rand(6) % 10 < 8, 'open', 'click') AS kind, m,
        if(kind = 'open', -1, toInt32(floor(exp(rand(7) / 4294967295. * log(30)))) - 1), m % 2,
        'GET',
        concat('198.51.', toString(m % 250), '.', toString(bitShiftRight(m, 8) % 250)),
        concat('Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)',
            ' Chrome/1', toString(m % 37), '.0.0.', toString(m % 11), ' Safari/537.36'),
        if(kind = 'click', 'navigate', 'no-cors'),
        transform(m % 10, [0, 1, 2], ['prefetch', 'scanner', 'privacy_proxy'], 'human') AS judged,
        if(judged = 'human', [], ['apple_prefetch']), 2,
        transform(m % 8, [0, 1, 2, 3], ['Gmail', 'Outlook', 'Chrome', 'Apple Mail'], 'Firefox'),
        transform(m % 5, [0, 1, 2], ['Windows', 'iOS', 'Android'], 'Mac OS X'),
        transform(m % 3, [0, 1], ['desktop', 'phone'], 'tablet'),
        transform(m % 4, [0, 1], ['DE', 'US'], ''),
        toUUID(concat('01980000-0000-7000-8000-', leftPad(hex(intDiv(number, 50000)), 12, '0'))),
        number % 50000, 1
    FROM (SELECT number, toUInt64(exp(rand(1) / 4294967295. * log({NEWSLETTERS}))) AS rank,
              cityHash64(rank, rand(2) % greatest(10, toUInt64({largest} / rank))) AS m, {_MH}
          FROM numbers({start}, {count}))"""


_MESSAGES = """INSERT INTO messages SELECT 'default', newsletter, message, any(recipient),
    concat('reader', toString(any(recipient) % 1000000), '@example.com'), any(variant), min(at)
    FROM hits WHERE newsletter = {key:UInt64} GROUP BY newsletter, message"""


def run() -> None:
    """Print times and growth; each scale in a process of its own, since chDB opens one path."""
    found = {}
    for scale in sorted(set(SCALES)):
        command = [sys.executable, "-m", "tests.bench.queries", str(scale)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        size, times = json.loads(told.splitlines()[-1])
        print(f"{scale} million hits: {size:.1f} bytes each on disk, roll-ups included")
        found[scale] = times
    small, large = found[min(found)], found[max(found)]
    print(f"{'median ms at':28} {min(found):>4} M {max(found):>6} M   growth")
    for name, one in small.items():
        print(f"{name:28} {one:6.1f} {large[name]:8.1f}   {large[name] / max(one, 0.1):5.1f}x")


def _measured(scale: int) -> tuple[float, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        storage = Storage(load(data_dir=Path(name)))
        storage.migrate()
        total = scale * MILLION
        with storage._reader() as client:
            for sql in (_NEWSLETTERS, _LINKS):
                client.command(sql)
            for start in range(0, total, MILLION):
                client.command(_hits(start, MILLION, total))
            client.command(_MESSAGES.replace("WHERE newsletter = {key:UInt64} ", ""))
            for table in TABLES:
                client.command(f"OPTIMIZE TABLE {table} FINAL")
            size = client.query(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table LIKE 'hits%'"
            ).result_rows[0][0]
        times = {label: _median(ask) for label, ask in _questions(Queries(storage)).items()}
        storage.close()
        return size / total, times


TABLES = ("hits", "hits_by_minute", "hits_by_message", "hits_by_link", "hits_by_agent", "messages")


def _questions(queries: Queries) -> dict[str, Callable[[], Any]]:
    rows = queries.newsletters(Filters(sort="opened"), 50)
    one = rows[0]["id"]
    key = queries.key
    queries.key = lambda newsletter_id: next(  # type: ignore[method-assign]
        (row["newsletter"] for row in rows if row["id"] == newsletter_id), key(newsletter_id)
    )
    sent = queries.sent(one)
    start, end = sent["first_at"].replace(second=0, microsecond=0), sent["last_at"]
    end = end.replace(second=0, microsecond=0)
    day = start + timedelta(days=1)
    who = people.recipients(queries, Filters(), one)["rows"][0]["recipient"]
    parts = {"device": "phone"}
    return {
        "newsletter": lambda: queries.newsletter(one),
        "sent": lambda: queries.sent(one),
        "figures": lambda: queries.run("newsletter_stats", newsletter=key_of(rows)),
        "last hit": lambda: queries.run("newsletter_last", newsletter=key_of(rows)),
        "links": lambda: queries.run("newsletter_links", newsletter=key_of(rows)),
        "clients, devices, countries": lambda: queries.agents(one),
        "variants": lambda: queries.variants(one, "human"),
        "timeline by hour": lambda: queries.timeline(one, start, end, 3600),
        "a day's timeline by minute": lambda: queries.timeline(one, start, day, 60),
        "last five minutes": lambda: queries.lately(one, end),
        "ranking of 1,000": lambda: queries.newsletters(Filters(sort="opened"), 50),
        "sparklines of 50": lambda: queries.sparklines(rows),
        "recipients of one": lambda: people.recipients(queries, Filters(), one),
        "one recipient": lambda: people.recipient(queries, who, Filters()),
        "figures, one device": lambda: queries.stats(one, parts),
        "links, one device": lambda: queries.links(one, parts),
        "timeline, one device": lambda: queries.timeline(one, start, end, 3600, parts),
        "the whole page": lambda: overview.newsletter(queries, one, Filters()),
    }


def key_of(rows: list[dict[str, Any]]) -> int:
    return int(rows[0]["newsletter"])


def _median(ask: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ask()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measured(int(sys.argv[1]))))
    else:
        run()
