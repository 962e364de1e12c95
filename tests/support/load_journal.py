"""Loads the journal of DATA_DIR once, with corrections, in a process that a test may kill.

`python -m tests.support.load_journal [doubtful | all]` also verifies and repairs what is doubtful,
as the service does at once, or all of it, as the service does at night. Then it prints everything
that is counted as JSON.
"""

import json
import sys
from typing import Any

from app.events.feed import Cursor, Feed
from app.ingest.pipeline import assemble
from app.settings.load import load, with_secrets
from app.storage.clickhouse import Storage
from app.storage.clickhouse_schema import migrate, migrated_at
from app.storage.rollups import ROLL_UPS
from app.storage.state_db import open_state

OTHERS = ("newsletters", "newsletter_links", "link_places", "messages", "outcomes")


def figures(storage: Storage, feed: Feed) -> dict[str, Any]:
    """Returns everything that is counted, the same however rows are merged."""
    result: dict[str, Any] = {}
    for roll_up in ROLL_UPS:
        keys = ", ".join(("newsletter", *roll_up.keys))
        sums = ", ".join(f"sum({value}) AS {value}_sum" for value in roll_up.values)
        some = " OR ".join(f"{value}_sum != 0" for value in roll_up.values)
        result[roll_up.table] = storage.query(
            f"SELECT {keys}, {sums} FROM {roll_up.table} GROUP BY {keys} HAVING {some}"
            f" ORDER BY {keys}",
            {},
        )
    result["hits"] = storage.query(
        "SELECT segment, line, revision, message, verdict, sum(sign) AS n FROM hits"
        " GROUP BY ALL HAVING n != 0 ORDER BY ALL",
        {},
    )
    for table in OTHERS:
        final = "" if table == "messages" else "FINAL"
        result[table] = storage.query(f"SELECT count() AS n FROM {table} {final}", {})
    result["outcomes_by_message"] = storage.query(
        "SELECT * FROM outcomes_by_message FINAL ORDER BY ALL", {}
    )
    events, _ = feed.after(Cursor(), "default", 10_000, settled=True)
    result["events"] = {
        f"{event.row.segment} {event.row.line}": event.row.verdict for event in events
    }
    return result


def main(verify: str) -> None:
    settings = with_secrets(load())
    (settings.data_dir / "journal").mkdir(mode=0o700, parents=True, exist_ok=True)
    storage, state = Storage(settings), open_state(settings.data_dir)
    migrate(storage)
    feed, loader, corrections, verifier = assemble(settings, storage, state)
    loader._migrated_at = migrated_at(storage)
    loader.load_all()
    if verify == "doubtful":
        verifier.verify_loaded(doubtful=True)
    corrections.reclassify_recent(0)
    if verify == "all":
        verifier.verify(repair=True)
        corrections.reclassify_recent(0)
    print(json.dumps(figures(storage, feed), default=str))
    storage.close()


if __name__ == "__main__":
    main(*sys.argv[1:2] or [""])
