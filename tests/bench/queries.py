"""Measures the dashboard's queries at 1 and 10 million hits, and bytes per hit on disk.

SCALE=100 is for 100 million. The hits are created inside ClickHouse: a thousand newsletters, the
largest with a tenth of all.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ingest.newsletter_counts import NewsletterCounts
from app.model.ids import newsletter_key
from app.settings.load import load
from app.stats import clickers, home, message_list, recipients, search
from app.stats.filters import Filters
from app.stats.message_list import Criteria
from app.stats.queries import Queries
from app.storage.clickhouse import Storage
from app.storage.clickhouse_schema import migrate
from app.web.views import newsletters
from tests.bench import size

MILLION = size("MILLION", 1_000_000, 2_000)
SCALES = (1, size("SCALE", 10, 2))
ROUNDS = size("ROUNDS", 7, 1)
NEWSLETTERS = size("NEWSLETTERS", 1000, 50)
FIRST = 1_780_000_000_000  # milliseconds

_KEY = "cityHash64(rank)"
_MESSAGE = f"""toUUID(concat(
    substring(leftPad(hex(toUInt64({FIRST} + rank * 100000)), 16, '0'), 5, 8), '-',
    substring(leftPad(hex(toUInt64({FIRST} + rank * 100000)), 16, '0'), 13, 4), '-7',
    substring(mh, 1, 3), '-8', substring(mh, 4, 3), '-', substring(mh, 7, 12)))"""
_NEWSLETTERS = f"""INSERT INTO newsletters
    (workspace, newsletter, id, name_stated, subject_stated, tags_stated, at)
    SELECT 'default', {_KEY}, concat('n', toString(rank)),
    (at, concat('Newsletter ', toString(rank))), (at, ''), (at, ['tag']),
    fromUnixTimestamp64Milli(toInt64({FIRST})) AS at
    FROM (SELECT number + 1 AS rank FROM numbers({NEWSLETTERS}))"""
_LINKS = f"""INSERT INTO newsletter_links
    (workspace, newsletter, link_key, family, url, label, at)
    SELECT 'default', {_KEY}, toUInt64(link + 1), toUInt64(link + 1),
    concat('https://example.com/', toString(link)), 'Label',
    fromUnixTimestamp64Milli(toInt64({FIRST}))
    FROM (SELECT 1 + number % {NEWSLETTERS} AS rank, toInt32(intDiv(number, {NEWSLETTERS})) AS link
          FROM numbers({NEWSLETTERS * 30}))"""
_PLACES = """INSERT INTO link_places
    SELECT workspace, newsletter, link_key, toInt32(link_key) - 1, at FROM newsletter_links"""
_CARRIED = """INSERT INTO link_carried
    SELECT workspace, newsletter, link_key, variant, hour, n
    FROM (SELECT workspace, newsletter, variant, toStartOfHour(at) AS hour, count() AS n
          FROM messages GROUP BY workspace, newsletter, variant, hour) AS sent
    INNER JOIN (SELECT workspace, newsletter, link_key FROM newsletter_links) AS links
        USING (workspace, newsletter)"""
_MH = "concat(leftPad(hex(sipHash64(m)), 16, '0'), leftPad(hex(m), 16, '0')) AS mh"


PERSONAL = "parcels"


def _personal(total: int) -> list[str]:
    """Returns statements for a stream in which each message has a link of its own.

    It has as many hits as all other newsletters, a quarter of them clicks; the first thousand links
    are recorded one by one.
    """
    stream = newsletter_key("default", PERSONAL)
    message = """toUUID(concat('0198a000-0000-7000-8',
        lower(substring(hex(sipHash64(number)), 1, 3)), '-',
        leftPad(lower(hex(number)), 12, '0')))"""
    at = f"fromUnixTimestamp64Milli(toInt64({FIRST}))"
    return [
        f"""INSERT INTO newsletters (workspace, newsletter, id, at)
            VALUES ('default', {stream}, '{PERSONAL}', 1780000000)""",
        f"""INSERT INTO newsletter_links
            (workspace, newsletter, link_key, detail, family, is_family, url, label, at)
            SELECT 'default', {stream}, link_key, 1, 1, n = 1024,
                if(n = 1024, 'https://t.example/parcel/...?key=...',
                    concat('https://t.example/parcel/', toString(n), '?key=***')),
                'Follow your parcel', {at}
            FROM (SELECT number AS n, if(n = 1024, 1, toUInt64(n + 10)) AS link_key
                  FROM numbers(1025))""",
        f"""INSERT INTO link_places SELECT 'default', {stream}, link_key, 0, {at}
            FROM (SELECT if(number = 1024, 1, toUInt64(number + 10)) AS link_key
                  FROM numbers(1025))""",
        f"""INSERT INTO link_carried (workspace, newsletter, link_key, hour, carried)
            SELECT 'default', {stream}, if(number = 1024, 1, number + 10), {at},
                if(number = 1024, {total}, 1) FROM numbers(1025)""",
        *(
            f"""INSERT INTO hits (workspace, newsletter, message, at, kind, recipient, position,
                    method, user_agent, verdict, segment, line, link_key, family, url)
                SELECT 'default', {stream}, {message}, {at}, 'click', number, 0, 'GET', 'x',
                    'human', generateUUIDv4(), number,
                    if(number < 1024, number + 10, cityHash64(number)), 1,
                    concat('https://t.example/parcel/', toString(number), '?key=***')
                FROM numbers({start}, {min(MILLION, total // 4 - start)})"""
            for start in range(0, total // 4, MILLION)
        ),
    ]


def _hits(start: int, count: int, total: int) -> str:
    """Returns a statement for opens and clicks soon after the sending, machines' among them."""
    largest = total * 45 // 1000
    return f"""INSERT INTO hits (workspace, newsletter, message, at, kind, recipient, position,
        variant, method, address, user_agent, fetch_mode, verdict, reasons, rules, client, os,
        device, country, segment, line, origin, link_key, family, url)
    SELECT 'default', {_KEY}, {_MESSAGE},
        fromUnixTimestamp64Milli(toInt64({FIRST} + rank * 100000 + 1000 * least(2000000, exp(6 + 2.5
            * sqrt(-2 * log((rand(4) + 1) / 4294967297.)) * cos(6.2831 * rand(5) / 4294967295.))))),
        if(rand(6) % 10 < 8, 'open', 'click') AS kind, m,
        if(kind = 'open', -1, toInt32(floor(exp(rand(7) / 4294967295. * log(30)))) - 1) AS place,
        m % 2, 'GET',
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
        number % 50000, 1, toUInt64(place + 1), toUInt64(place + 1),
        if(kind = 'open', '', concat('https://example.com/', toString(place)))
    FROM (SELECT number, toUInt64(exp(rand(1) / 4294967295. * log({NEWSLETTERS}))) AS rank,
              cityHash64(rank, rand(2) % greatest(10, toUInt64({largest} / rank))) AS m, {_MH}
          FROM numbers({start}, {count}))"""


_MESSAGES = """INSERT INTO messages
    (workspace, newsletter, message, recipient, address, variant, at)
    SELECT 'default', newsletter, message, any(recipient),
    concat('reader', toString(any(recipient) % 1000000), '@example.com'), any(variant), min(at)
    FROM hits WHERE newsletter = {key:UInt64} GROUP BY newsletter, message"""


def run() -> None:
    """Print times and growth; each scale in a process of its own, since chDB opens one path."""
    times_at = {}
    for scale in sorted(set(SCALES)):
        command = [sys.executable, "-m", "tests.bench.queries", str(scale)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        size, times = json.loads(output.splitlines()[-1])
        print(f"{scale} million hits: {size:.1f} bytes each on disk, roll-ups included")
        times_at[scale] = times
    small, large = times_at[min(times_at)], times_at[max(times_at)]
    print(f"{'median ms at':28} {min(times_at):>4} M {max(times_at):>6} M   growth")
    for name, time_small in small.items():
        growth = large[name] / max(time_small, 0.1)
        print(f"{name:28} {time_small:6.1f} {large[name]:8.1f}   {growth:5.1f}x")


def _measured(scale: int) -> tuple[float, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        storage = Storage(load(data_dir=Path(name)))
        migrate(storage)
        total = scale * MILLION
        with storage.reader() as client:
            for sql in (_NEWSLETTERS, _LINKS):
                client.command(sql)
            for start in range(0, total, MILLION):
                client.command(_hits(start, MILLION, total))
            client.command(_MESSAGES.replace("WHERE newsletter = {key:UInt64} ", ""))
            for sql in (_PLACES, _CARRIED):
                client.command(sql)
            _optimize(client)
            size = client.query(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active"
                " AND (table LIKE 'hits%' OR table LIKE 'clicks%')"
            ).result_rows[0][0]
            for sql in _personal(total):
                client.command(sql)
            _optimize(client)
        counts = NewsletterCounts(
            storage, Loader(Path(name), storage), Corrections(Path(name), storage)
        )
        counts.count_changed()
        times = {label: _median(ask) for label, ask in _questions(Queries(storage)).items()}
        storage.close()
        return size / total, times


def _optimize(client: Any) -> None:
    for table in TABLES:
        client.command(f"OPTIMIZE TABLE {table} FINAL")


TABLES = (
    "hits",
    "hits_by_minute",
    "hits_by_message",
    "clicks_by_link",
    "clicks_by_place",
    "hits_by_agent",
    "hits_by_newsletter",
    "messages_by_newsletter",
    "messages",
    "link_carried",
)


def _questions(queries: Queries) -> dict[str, Callable[[], Any]]:
    rows = queries.newsletters(Filters(sort="opened"), 50)
    newsletter_id = rows[0]["id"]
    key = queries.key
    queries.key = lambda newsletter_id: next(  # type: ignore[method-assign]
        (row["newsletter"] for row in rows if row["id"] == newsletter_id), key(newsletter_id)
    )
    queries.remembered = lambda _, read, __=0: read()  # type: ignore[method-assign,assignment]
    check_personal(queries)
    sent = queries.sent(newsletter_id)
    start, end = sent["first_at"].replace(second=0, microsecond=0), sent["last_at"]
    end = end.replace(second=0, microsecond=0)
    day = start + timedelta(days=1)
    who = recipients.recipients(queries, Filters(), newsletter_id)["rows"][0]["recipient"]
    parts = {"device": "phone"}
    year = Filters(period="365d", sort="opened")
    now = datetime.now(UTC)
    span, before = year.span(now).until(now), year.previous(now)
    link = Filters(link=queries.links(newsletter_id)[0].id)
    url = Filters(period="365d", url="https://example.com/3")
    return {
        "newsletter": lambda: queries.newsletter(newsletter_id),
        "sent": lambda: queries.sent(newsletter_id),
        "figures": lambda: queries.stats(newsletter_id),
        "counts": lambda: queries.counts(key_of(rows)),
        "counts, counted anew": lambda: queries.run(
            "newsletter_counted", newsletters=[key_of(rows)]
        ),
        "links": lambda: queries.links(newsletter_id),
        "links of a personal stream": lambda: queries.links(PERSONAL),
        "clients, devices, countries": lambda: queries.agents(newsletter_id),
        "variants": lambda: queries.variants(newsletter_id, "human"),
        "timeline by hour": lambda: queries.timeline(newsletter_id, start, end, 3600),
        "a day's timeline by minute": lambda: queries.timeline(newsletter_id, start, day, 60),
        "last five minutes": lambda: queries.lately(newsletter_id, end),
        "ranking of 1,000": lambda: queries.newsletters(Filters(sort="opened"), 50),
        "sparklines of 50": lambda: queries.sparklines(rows),
        "recipients of one": lambda: recipients.recipients(queries, Filters(), newsletter_id),
        "one recipient": lambda: recipients.recipient(queries, who),
        "figures, one device": lambda: queries.stats(newsletter_id, parts),
        "links, one device": lambda: queries.links(newsletter_id, parts),
        "timeline, one device": lambda: queries.timeline(newsletter_id, start, end, 3600, parts),
        "ranking of 12 months": lambda: queries.newsletters(year, 50),
        "tags of 12 months": lambda: queries.tags(year, 50),
        "figures of 12 months": lambda: queries.stats(newsletter_id, year.hit_filters),
        "the home page's tiles": lambda: home.trend(queries, "human", span, before),
        "search of everything": lambda: search.search(queries, "reader5"),
        "messages of 12 months": lambda: message_list.listed(queries, year, Criteria()),
        "messages to a name": lambda: message_list.listed(queries, year, Criteria(text="r5@")),
        "people who clicked a link": lambda: clickers.clickers(queries, link, newsletter_id),
        "people who clicked a URL": lambda: clickers.clickers(queries, url),
        "the whole page": lambda: newsletters.newsletter(queries, newsletter_id, Filters()),
    }


def check_personal(queries: Queries) -> None:
    """Check exact figures at any size: the family counts every message that has clicked."""
    (family,) = queries.links(PERSONAL)
    assert family.family and family.all.unique == family.all.total == family.carried // 4


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
