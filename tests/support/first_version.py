"""Creates a database of an earlier version and migrates it, in processes of their own.

    python tests/support/first_version.py make DIR NAME
    python tests/support/first_version.py finish DIR [K]

`make` creates the tables up to migration NAME, with hits, `finish` migrates the rest (and kills
itself before the Kth statement). Both print figures.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from clickhouse_connect.driver._backendclient import SyncBackendClient

from app.settings.load import load
from app.storage.clickhouse import Storage
from app.storage.clickhouse_schema import migrate

HITS = """
    INSERT INTO {table}
        (workspace, newsletter, kind, at, message, {place}, verdict, client, segment, line)
    SELECT
        'default', 5, if(number % 3 = 0, 'click', 'open'), toDateTime64(1780000000 + number, 3),
        toUUID(concat('01980000-0000-7000-8000-', leftPad(toString(intDiv(number, 2)), 12, '0'))),
        number % 7,
        multiIf(number % 5 = 0, 'scanner', number % 3 = 0, 'human', number % 11 = 1, 'unknown',
            number % 13 = 1, 'prefetch', 'human'),
        'Thunderbird',
        toUUID('01980000-0000-7000-8000-000000000009'), number
    FROM numbers(1000)
"""
LEDGER = """
    INSERT INTO messages (workspace, newsletter, message, recipient, address, at)
    SELECT
        'default', 5,
        toUUID(concat('01980000-0000-7000-8000-', leftPad(toString(number), 12, '0'))),
        number, concat(toString(number), '@example.com'), toDateTime64(1780000000, 3)
    FROM numbers(600)
"""
NEWSLETTERS = """
    INSERT INTO newsletters (workspace, newsletter, id, name, subject, tags, at)
    SELECT
        'default', number, toString(number), if(number % 3, 'Name', ''), 'Subject',
        if(number % 2, ['a', 'b'], []), toDateTime64(1780000000 + number, 3)
    FROM numbers(10)
"""
# Seven positions with five links: the third has the target of the first, the last is not recorded.
URLS = (
    "https://example.com/shoes",
    "https://example.com/hats",
    "https://example.com/shoes?utm_term=x",
    "https://example.com/parcel/1?key=Qx7Tz9",
    "https://example.com/parcel/2?key=Lm3Wv8",
    "https://example.com/help",
)
LINKS = "INSERT INTO links (workspace, newsletter, link, url, label, tags, at) VALUES " + ", ".join(
    f"('default', 5, {place}, '{url}', '{url if 'key' in url else f'Label {place}'}', ['topic'],"
    " 1780000000)"
    for place, url in enumerate(URLS)
)
FIGURES = {
    "totals": """
        SELECT kind, verdict, toInt64(sum({sign})) AS n, uniqExact(message) AS messages
        FROM {table} GROUP BY kind, verdict ORDER BY kind, verdict
    """,
    "links": """
        SELECT {place} AS place, toInt64(sum({sign})) AS n FROM {table} WHERE kind = 'click'
        GROUP BY place ORDER BY place
    """,
    "ledger": "SELECT count() AS n, uniqExact(address) AS addresses FROM messages",
    "newsletters": """
        SELECT newsletter, id, name, subject, tags, toString(at) AS at
        FROM newsletters FINAL ORDER BY newsletter
    """,
}
ROLL_UPS = {
    "minutes": "SELECT toInt64(sum(hits)) AS n FROM hits_by_minute",
    "agents": "SELECT toInt64(sum(hits)) AS n FROM hits_by_agent WHERE client = 'Thunderbird'",
    "messages": """
        SELECT kind, toInt64(sum(human)) AS human, toInt64(sum(machine)) AS machine,
            toInt64(sum(unknowable)) AS unknowable, uniqExact(message) AS messages
        FROM hits_by_message GROUP BY kind ORDER BY kind
    """,
    "newsletters": """
        SELECT toInt64(sum(hits)) AS n, sum(checksum) = (
            SELECT sum(sign * toInt64(cityHash64(kind, message)) * multiIf(
                verdict IN ('human', 'privacy_proxy'), toInt64(1),
                kind = 'open' AND verdict IN ('unknown', 'prefetch'),
                -7046029254386353131 + -4417276706812531889,
                -7046029254386353131)) FROM hits) AS is_equal,
            toUnixTimestamp(max(last_at)) AS last_at
        FROM hits_by_newsletter
    """,
    "sent": """
        SELECT toInt64(sum(messages)) AS n, toUnixTimestamp(min(first_at)) AS first_at
        FROM messages_by_newsletter
    """,
    "places": """
        SELECT position AS place, toInt64(sum(human) + sum(machine)) AS n FROM clicks_by_place
        WHERE link_key IN (SELECT link_key FROM hits)
        GROUP BY place ORDER BY place
    """,
    "links": """
        SELECT link_key, toInt64(sum(human) + sum(machine)) AS n, uniqExact(message) AS messages
        FROM clicks_by_link GROUP BY link_key ORDER BY link_key
    """,
    "recorded": """
        SELECT link_key, family, is_family, url, label, tags
        FROM newsletter_links FINAL ORDER BY url, label
    """,
    "at": """
        SELECT DISTINCT link_key, position FROM link_places ORDER BY link_key, position
    """,
    "carried": "SELECT link_key, sum(carried) AS n FROM link_carried GROUP BY link_key ORDER BY n",
}


def figures(storage: Storage) -> dict[str, Any]:
    tables = {row["name"] for row in storage.query("SHOW TABLES", {})}
    first = {"table": "events", "sign": "1"} if "hits" not in tables else {}
    names = first or {"table": "hits", "sign": "sign"}
    names["place"] = "link" if "links" in tables else "position"
    return {name: storage.query(sql.format(**names), {}) for name, sql in FIGURES.items()}


def run(what: str, folder: Path, *more: str) -> None:
    storage = Storage(load(data_dir=folder))
    result: dict[str, Any] = {}
    if what == "make":
        result["applied"] = migrate(storage, until=more[0])
        with storage.reader() as client:
            client.command(LEDGER)
            if more[0] < "0007":
                client.command(NEWSLETTERS)
            if placed := more[0] < "0006":  # links were positions
                client.command(LINKS)
            table = "events" if more[0] == "0001_start" else "hits"
            client.command(HITS.format(table=table, place="link" if placed else "position"))
    else:
        if more:
            kill_before(int(more[0]))
        result["applied"] = migrate(storage)
        result["roll_ups"] = {name: storage.query(sql, {}) for name, sql in ROLL_UPS.items()}
        result["tables"] = sorted(row["name"] for row in storage.query("SHOW TABLES", {}))
    print(json.dumps({**result, "figures": figures(storage)}))
    storage.close()


def kill_before(number: int) -> None:
    """Kill this process before the client's statement of that number."""
    command, statements = SyncBackendClient.command, iter(range(number))

    def counted(self: SyncBackendClient, *args: Any, **kwargs: Any) -> Any:
        if next(statements, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return command(self, *args, **kwargs)

    SyncBackendClient.command = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
