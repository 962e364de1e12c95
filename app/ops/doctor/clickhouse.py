"""ClickHouse: reachable, of this version, and set up so that nothing counts twice."""

import re
import time
from collections.abc import Iterator

from app.ops.doctor.finding import Finding
from app.ops.doctor.service import answer
from app.settings.settings import PREFIX, Settings
from app.storage.clickhouse import NOT_OPENED, Storage, StorageError, open_storage
from app.storage.clickhouse_schema import missing

OLDEST = (25, 3)  # older servers know not all of the settings that inserts need
SKEW_SECONDS = 5.0  # seconds between our clock and the server's
WINDOW = 1_000  # inserts that a table remembers


def clickhouse(settings: Settings) -> Iterator[Finding]:
    """Check ClickHouse, unless a service holds chDB: /healthz/full reports on it."""
    embedded = settings.clickhouse_dsn == "chdb"
    if embedded and (answer(settings) or not (settings.data_dir / "chdb").is_dir()):
        return
    storage = open_storage(settings)
    try:
        yield from _examined(storage, embedded)
    except StorageError as error:
        if embedded and NOT_OPENED in str(error):
            fix = f"if it is the service, set {PREFIX}PORT to its port"
            yield Finding("ClickHouse", "warning", "chDB is open in another process", fix)
            return
        yield Finding(
            "ClickHouse",
            "error",
            str(error),
            f"check {PREFIX}CLICKHOUSE_DSN and the server. Hits are kept in the journal meanwhile.",
        )
    finally:
        storage.close()


def _examined(storage: Storage, embedded: bool) -> Iterator[Finding]:
    before = time.time()
    row = storage.query("SELECT version() AS version, toFloat64(now64(3)) AS now", {})[0]
    version, skew = row["version"], row["now"] - (before + time.time()) / 2
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        yield Finding(
            "ClickHouse",
            "error",
            f"version {version} is too old",
            f"install {OLDEST[0]}.{OLDEST[1]} or later",
        )
    if abs(skew) > SKEW_SECONDS:
        yield Finding(
            "clock",
            "warning",
            f"ClickHouse's clock differs by {abs(skew):,.0f} seconds from this machine's",
            "synchronise both by NTP",
        )
    if names := missing(storage):
        yield Finding(
            "ClickHouse",
            "error",
            f"tables are of an older version: {', '.join(names)} missing",
            "run `mailwake migrate`",
        )
        return
    kinds = "chDB" if embedded else "ClickHouse"
    if forgetful := list(_forgetful(storage)):
        yield Finding(
            "ClickHouse",
            "error",
            f"{', '.join(forgetful)}: repeated inserts would count twice (deduplication window too"
            " small)",
            "ALTER TABLE ... MODIFY SETTING non_replicated_deduplication_window = 10000"
            " (on a cluster replicated_deduplication_window)",
        )
    else:
        yield Finding("ClickHouse", "ok", f"{kinds} {version} has all tables")


def _forgetful(storage: Storage) -> Iterator[str]:
    """Yields the tables that remember too few inserts."""
    for row in storage.query(
        "SELECT name, engine, create_table_query AS made FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'migrations'"
        " ORDER BY name",
        {},
    ):
        replicated = row["engine"].startswith("Replicated")
        name = f"{'' if replicated else 'non_'}replicated_deduplication_window"
        setting = re.search(rf"\b{name} = (\d+)", row["made"])
        if int(setting[1] if setting else 0) < WINDOW:
            yield row["name"]


CHECKS = (clickhouse,)
