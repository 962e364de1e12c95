"""Backs up ClickHouse's tables: by hard links to chDB's parts, or by a server's own BACKUP."""

import secrets
import shutil
from pathlib import Path

from clickhouse_connect.driver.client import Client

from app.storage.clickhouse import MIGRATION_SECONDS, Storage, StorageError


def freeze(storage: Storage, folder: Path) -> None:
    """Link the current parts of chDB's tables into `folder`, one folder for each table.

    Needs no disk space, except for parts that merges replace meanwhile. Raises StorageError.
    """
    name = secrets.token_hex(8)
    shadow = storage.settings.data_dir / "chdb" / "shadow" / name
    folder.mkdir(mode=0o700)
    try:
        with storage.reader() as client:
            for table, store, rows in _list_tables(client):
                client.command(f"ALTER TABLE {table} FREEZE WITH NAME '{name}'")
                if (shadow / store).is_dir():
                    (shadow / store).rename(folder / table)
                elif rows:
                    raise StorageError(f"chDB froze no parts of {table}")
    finally:
        shutil.rmtree(shadow, ignore_errors=True)


def thaw(storage: Storage, folder: Path) -> None:
    """Move the parts that `freeze` linked into chDB's tables, which must exist.

    Raises StorageError.
    """
    with storage.reader() as client:
        for table, store, _ in _list_tables(client):
            detached = storage.settings.data_dir / "chdb" / store / "detached"
            for part in sorted((folder / table).glob("*")):
                part.rename(detached / part.name)
                client.command(f"ALTER TABLE {table} ATTACH PART '{part.name}'")


def back_up(storage: Storage, destination: str) -> None:
    """Run the server's own BACKUP to a destination such as Disk('backups', 'name').

    Raises StorageError, also where the server does not allow it.
    """
    with storage.own_client(MIGRATION_SECONDS) as client:
        client.command(f"BACKUP DATABASE `{client.database}` TO {destination}")


def _list_tables(client: Client) -> list[tuple[str, Path, int]]:
    """Returns the tables to back up, each with its folder below chDB's and its number of rows.

    The table `migrations` is left out: a restore applies the migrations again.
    """
    tables = client.query(
        "SELECT name, data_paths[1], total_rows FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND name != 'migrations' ORDER BY name"
    )
    return [(name, Path(*Path(path).parts[-3:]), rows) for name, path, rows in tables.result_rows]
