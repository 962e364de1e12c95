"""Brings ClickHouse's tables up to date, one process at a time."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from app.files import locked
from app.settings.settings import PREFIX
from app.storage import retention
from app.storage.clickhouse import EXPORT_PREFIX, MIGRATION_SECONDS, Storage, StorageError
from app.storage.clickhouse_migrations import Migrations, SchemaError

# From a hundred replaced parts on, chDB would remove them with 128 threads, which it never ends.
# A server keeps its own setting.
_REMOVE_PARTS_IN_ONE_THREAD = "MODIFY SETTING concurrent_part_removal_threshold = 1000000"
_TABLES_WITH_REMOVAL_THREADS = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
    AND engine_full NOT LIKE '%concurrent_part_removal_threshold%'
"""
_LAST_MIGRATION = "SELECT toUInt32(max(at)) + 1 AS at FROM migrations"


def missing(storage: Storage) -> list[str]:
    """Returns the names of the migrations that the database lacks.

    Raises StorageError, also when the database is newer.
    """
    with _migrations(storage) as migrations:
        return [path.stem for path in migrations.missing()]


def migrate(storage: Storage, until: str = "") -> list[str]:
    """Apply the missing migrations in order, up to `until`; returns their names.

    Without `until` the TTLs of the settings are set too, where they have changed.
    Raises StorageError, also when the database is newer or another host migrates it.
    """
    for export in storage.settings.data_dir.glob(f"{EXPORT_PREFIX}*"):
        shutil.rmtree(export, ignore_errors=True)  # left by a process that was killed
    with _migrations(storage) as migrations:
        applied = migrations.apply(until)
        if storage.embedded:
            for (table,) in migrations.client.query(_TABLES_WITH_REMOVAL_THREADS).result_rows:
                migrations.client.command(f"ALTER TABLE {table} {_REMOVE_PARTS_IN_ONE_THREAD}")
        if not until:
            retention.apply(migrations.client, storage.settings)
        return applied


def migrated_at(storage: Storage) -> float:
    """Returns when the last migration was applied, in seconds since 1970 UTC.

    Raises StorageError.
    """
    return float(storage.query(_LAST_MIGRATION, {})[0]["at"])


def distribute(storage: Storage) -> list[str]:
    """Create the cluster's tables over all shards; returns their names. Raises StorageError."""
    with _migrations(storage) as migrations:
        return migrations.distribute()


def prepare(storage: Storage) -> None:
    """Ensure that the tables exist and are current, by migrating them if AUTO_MIGRATE allows it.

    Raises StorageError.
    """
    if storage.settings.auto_migrate:
        migrate(storage)
    elif names := missing(storage):
        raise StorageError(
            f"ClickHouse lacks {', '.join(names)}: run `mailwake migrate`"
            f" ({PREFIX}AUTO_MIGRATE is off)"
        )


@contextmanager
def _migrations(storage: Storage) -> Iterator[Migrations]:
    """Yield the migrations to one process at a time of those that share DATA_DIR."""
    lock = storage.settings.data_dir / "migrating.lock"
    with locked(lock) as file:
        owner = os.read(file, 100).decode().strip()
        if (
            not owner
        ):  # the lock file also holds the name that identifies this folder to other hosts
            owner = secrets.token_hex(6)
            os.write(file, owner.encode())
        with storage.own_client(MIGRATION_SECONDS) as client:
            try:
                yield Migrations(client, owner, storage.settings.clickhouse_cluster)
            except SchemaError as error:
                raise StorageError(str(error)) from error
