"""Backups of ClickHouse's tables: hard links of chDB's parts, or a server's own BACKUP."""

import secrets
import shutil
from pathlib import Path

from clickhouse_connect.driver.client import Client

from app.storage.clickhouse import MIGRATION_SECONDS, Storage, StorageError


def freeze(storage: Storage, folder: Path) -> None:
    """The parts of chDB's tables as they are now: hard links in `folder`, by table.

    Raises StorageError. Needs no room, but for parts that merges replace meanwhile.
    """
    name = secrets.token_hex(8)
    shadow = storage.settings.data_dir / "chdb" / "shadow" / name
    folder.mkdir(mode=0o700)
    try:
        with storage.reader() as client:
            for table, store, rows in _stores(client):
                client.command(f"ALTER TABLE {table} FREEZE WITH NAME '{name}'")
                if (shadow / store).is_dir():
                    (shadow / store).rename(folder / table)
                elif rows:
                    raise StorageError(f"chDB froze no parts of {table}")
    finally:
        shutil.rmtree(shadow, ignore_errors=True)


def thaw(storage: Storage, folder: Path) -> None:
    """Move what `freeze` gave into chDB's tables, which are there. Raises StorageError."""
    with storage.reader() as client:
        for table, store, _ in _stores(client):
            detached = storage.settings.data_dir / "chdb" / store / "detached"
            for part in sorted((folder / table).glob("*")):
                part.rename(detached / part.name)
                client.command(f"ALTER TABLE {table} ATTACH PART '{part.name}'")


def back_up(storage: Storage, destination: str) -> None:
    """Let the server back its database up, to such as Disk('backups', 'name').

    Raises StorageError where the server does not allow it.
    """
    with storage.own_client(MIGRATION_SECONDS) as client:
        client.command(f"BACKUP DATABASE `{client.database}` TO {destination}")


def _stores(client: Client) -> list[tuple[str, Path, int]]:
    """What a backup takes: tables, their folder in chDB's own, and how many rows they have.

    Not which migrations were applied: they are applied anew.
    """
    found = client.query(
        "SELECT name, data_paths[1], total_rows FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND name != 'migrations' ORDER BY name"
    )
    return [(name, Path(*Path(path).parts[-3:]), rows) for name, path, rows in found.result_rows]
