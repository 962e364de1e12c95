"""A database of 0001 with events in it, migrated: a process of its own, as chDB opens one path."""

import json
import sys
from pathlib import Path

from app.queries import Queries
from app.settings import load, resource
from app.storage import Storage, StorageError, statements

storage = Storage(load(data_dir=Path(sys.argv[1])))
first, second = sorted((resource("clickhouse") / "migrations").glob("*.sql"))[:2]
with storage._reader() as client:
    client.command("CREATE TABLE migrations (name String, at DateTime DEFAULT now())"
                   " ENGINE = MergeTree ORDER BY name")  # fmt: skip
    for statement in statements(first):
        client.command(statement)
    client.insert("migrations", [[first.stem]], column_names=["name"])
    client.command("""
        INSERT INTO events (workspace, newsletter, kind, at, message, verdict, segment, line)
        SELECT 'default', 5, 'open', now64(3), toUUID(concat('01980000-0000-7000-8000-00000000000',
            toString(intDiv(number, 2)))), 'human', generateUUIDv4(), number FROM numbers(3)
    """)
    for statement in statements(second):  # the whole of 0002, but nobody noted that it was done
        client.command(statement)
applied = storage.migrate()
rows = storage.query("SELECT sum(sign) AS n FROM hits", {})
stats = Queries(storage).run("newsletter_stats", newsletter=5)
try:
    storage.query("SELECT count() FROM events", {})
    gone = False
except StorageError:
    gone = True
print(json.dumps({
    "applied": applied, "hits": rows[0]["n"], "opened": stats[0]["human_unique"], "tables": gone,
}))  # fmt: skip
