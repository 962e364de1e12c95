"""ClickHouse: connections, migrations and inserts, the same for chDB and for a server."""

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import LifoQueue
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.files import locked
from app.settings.settings import PREFIX, Settings
from app.storage import retention
from app.storage.clickhouse_migrations import Migrations, SchemaError

READERS = 4  # clients for queries; a client serialises its calls, several run side by side
STREAM_BYTES = 256 * 1024
EXPORT = "export-"
TIMEOUT_SECONDS = 20  # seconds without an answer; an insert that is repeated then changes nothing
MIGRATION_SECONDS = 86_400  # seconds; a migration may copy a large table
_INSERT: dict[str, int | str] = {
    # Asynchronous inserts would acknowledge before the rows are kept and regroup them.
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "parallel_view_processing": 1,
    "optimize_on_insert": 0,  # a third of an insert's time; views have grouped their rows already
    "input_format_parallel_parsing": 0,  # one segment must stay one block
    "max_insert_block_size": 10_000_000,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
}

# chDB's queries run beside the hits that are answered: those go first, and keep half the cores.
# (It leaves niceness alone where it may not undo it: without CAP_SYS_NICE.)
_BESIDE_HITS = {
    "max_threads": max(1, (os.cpu_count() or 1) // 2),
    "os_threads_nice_value_query": 10,
}
# From a hundred replaced parts on chDB would remove them with 128 threads, and never end those. A
# server keeps its own setting.
_ONE_REMOVES = "MODIFY SETTING concurrent_part_removal_threshold = 1000000"
_MANY_REMOVE = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
    AND engine_full NOT LIKE '%concurrent_part_removal_threshold%'
"""

_CHANGING = """
SELECT latest_fail_reason FROM {system.mutations}
WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done AND NOT is_killed
"""
_REPLACED = """
SELECT count() AS parts FROM {system.parts}
WHERE database = currentDatabase() AND table IN {tables:Array(String)} AND NOT active
    AND toUnixTimestamp(modification_time) <= {until:UInt32}
"""

_MIGRATED = "SELECT toUInt32(max(at)) + 1 AS at FROM migrations"

Row = dict[str, Any]


class StorageError(Exception):
    """ClickHouse could not be reached or refused; the message is safe to show."""


class Storage:
    """Blocking: call it from threads, never on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._writer: Client | None = None
        self._writing = threading.Lock()
        self._readers: LifoQueue[Client | None] = LifoQueue()
        for _ in range(READERS):
            self._readers.put(None)  # made when first needed

    @property
    def embedded(self) -> bool:
        """Whether this is chDB, which one process only may open."""
        return self._settings.clickhouse_dsn == "chdb"

    def query(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Rows of a SELECT with {name:Type} parameters, as dicts. Raises StorageError."""
        with self._reader() as client:
            result = client.query(sql, parameters=dict(parameters))
            return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def stream(self, sql: str, parameters: Mapping[str, Any], form: str) -> Iterator[bytes]:
        """The bytes of a SELECT in a format, as they come. Raises StorageError."""
        if self.embedded:
            yield from self._stream_file(sql, parameters, form)
            return
        with _translated():
            client = self._connect()  # its own: who reads slowly must not hold up the pages
            try:
                answer: Any = client.raw_stream(sql, parameters=dict(parameters), fmt=form)
                while part := answer.read(STREAM_BYTES):
                    yield part
                answer.close()
            finally:
                client.close()

    def _stream_file(self, sql: str, parameters: Mapping[str, Any], form: str) -> Iterator[bytes]:
        """By way of a file: chDB's answers stand in memory whole."""
        with TemporaryDirectory(dir=self._settings.data_dir, prefix=EXPORT) as folder:
            path = Path(folder).resolve() / "answer"
            quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
            with self._reader() as client:
                client.command(
                    f"{sql}\nINTO OUTFILE '{quoted}' FORMAT {form}", parameters=dict(parameters)
                )
            file = path.open("rb")
        with file:  # its name is gone: what is on its way to somebody lies about in no folder
            while part := file.read(STREAM_BYTES):
                yield part

    def insert(self, table: str, lines: bytes, token: str) -> None:
        """Insert JSON lines; a second call with the same token and lines changes nothing.

        Raises StorageError; it may then have been kept all the same: call again with the same.
        """
        with self._writing, _translated():
            if self._writer is None:
                self._writer = self._connect()
            settings = {**_INSERT, "insert_deduplication_token": f"{table} {token}"}
            if self._settings.clickhouse_cluster:
                settings["insert_quorum"] = "auto"  # a replica that is lost takes nothing with it
            try:
                self._writer.raw_insert(
                    table, insert_block=lines, fmt="JSONEachRow", settings=settings
                )
            except Exception:
                self._writer = None  # the connection may be in any state
                raise

    def change(self, table: str, sql: str, parameters: Mapping[str, Any]) -> None:
        """Run an ALTER TABLE ... UPDATE and wait until every row is rewritten. Raises StorageError.

        Rows that are inserted meanwhile are not. What has begun ends by itself, whoever is killed.
        """
        cluster = self._settings.clickhouse_cluster
        on = f"ON CLUSTER `{cluster}`" if cluster else ""
        with self._reader() as client:
            client.command(
                sql.replace("{cluster}", on),
                parameters=dict(parameters),
                settings={"mutations_sync": 0},
            )
        pause = 0.01
        while found := self.query(self._everywhere(_CHANGING), {"table": table}):
            if failed := [row["latest_fail_reason"] for row in found if row["latest_fail_reason"]]:
                raise StorageError(f"{table} cannot be rewritten: {failed[0][:300]}")
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def replaced(self, tables: Sequence[str], until: float) -> int:
        """How many files of rows that were replaced until a moment (`clock`) are still there.

        chDB drops them when told to; a server does so by itself, after old_parts_lifetime.
        """
        # Dropping no rows at all makes the engine look for files that it no longer needs.
        for table in () if self._settings.clickhouse_cluster else tables:
            with suppress(StorageError), self._reader() as client:
                client.command(f"ALTER TABLE {table} DROP PARTITION ID 'none'")
        found = self.query(
            self._everywhere(_REPLACED), {"tables": list(tables), "until": int(until) + 1}
        )
        return int(found[0]["parts"])

    def _everywhere(self, sql: str) -> str:
        """A query of {system} tables, of all of a cluster's hosts."""
        cluster = self._settings.clickhouse_cluster
        table = rf"clusterAllReplicas(`{cluster}`, \1)" if cluster else r"\1"
        return re.sub(r"\{(system\.\w+)\}", table, sql)

    def clock(self) -> float:
        """ClickHouse's own, in seconds since 1970 UTC."""
        return float(self.query("SELECT toFloat64(now64(3)) AS now", {})[0]["now"])

    def missing(self) -> list[str]:
        """The migrations that the database lacks. Raises StorageError, also when it is newer."""
        with self._migrations() as migrations:
            return [path.stem for path in migrations.missing()]

    def migrate(self, until: str = "") -> list[str]:
        """Apply the migrations that are missing, in order, up to `until`; returns their names.

        Without `until` the TTLs of the settings are set too, where they have changed.
        Raises StorageError, also when the database is newer or another host is at it.
        """
        for left in self._settings.data_dir.glob(f"{EXPORT}*"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
        with self._migrations() as migrations:
            applied = migrations.apply(until)
            if self.embedded:
                for (table,) in migrations.client.query(_MANY_REMOVE).result_rows:
                    migrations.client.command(f"ALTER TABLE {table} {_ONE_REMOVES}")
            if not until:
                retention.apply(migrations.client, self._settings)
            return applied

    def migrated_at(self) -> float:
        """When the last migration was applied, in seconds since 1970 UTC. Raises StorageError."""
        return float(self.query(_MIGRATED, {})[0]["at"])

    def distribute(self) -> list[str]:
        """Make the cluster's tables over all shards; returns their names. Raises StorageError."""
        with self._migrations() as migrations:
            return migrations.distribute()

    def prepare(self) -> None:
        """Make sure that the tables are there, by migrating them where AUTO_MIGRATE allows it.

        Raises StorageError.
        """
        if self._settings.auto_migrate:
            self.migrate()
        elif missing := self.missing():
            raise StorageError(
                f"tables or columns are missing in ClickHouse ({', '.join(missing)}): run"
                " `mailwake migrate`"
                f" ({PREFIX}AUTO_MIGRATE is off)"
            )

    def freeze(self, folder: Path) -> None:
        """The parts of chDB's tables as they are now: hard links in `folder`, by table.

        Raises StorageError. Needs no room, but for parts that merges replace meanwhile.
        """
        name = secrets.token_hex(8)
        shadow = self._settings.data_dir / "chdb" / "shadow" / name
        folder.mkdir(mode=0o700)
        try:
            with self._reader() as client:
                for table, store, rows in self._stores(client):
                    client.command(f"ALTER TABLE {table} FREEZE WITH NAME '{name}'")
                    if (shadow / store).is_dir():
                        (shadow / store).rename(folder / table)
                    elif rows:
                        raise StorageError(f"chDB froze no parts of {table}")
        finally:
            shutil.rmtree(shadow, ignore_errors=True)

    def thaw(self, folder: Path) -> None:
        """Move what `freeze` gave into chDB's tables, which are there. Raises StorageError."""
        with self._reader() as client:
            for table, store, _ in self._stores(client):
                detached = self._settings.data_dir / "chdb" / store / "detached"
                for part in sorted((folder / table).glob("*")):
                    part.rename(detached / part.name)
                    client.command(f"ALTER TABLE {table} ATTACH PART '{part.name}'")

    @staticmethod
    def _stores(client: Client) -> list[tuple[str, Path, int]]:
        """What a backup takes: tables, their folder in chDB's own, and how many rows they have.

        Not which migrations were applied: they are applied anew.
        """
        found = client.query(
            "SELECT name, data_paths[1], total_rows FROM system.tables"
            " WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
            " AND name != 'migrations' ORDER BY name"
        )
        return [
            (name, Path(*Path(path).parts[-3:]), rows) for name, path, rows in found.result_rows
        ]

    def back_up(self, destination: str) -> None:
        """Let the server back its database up, to such as Disk('backups', 'name').

        Raises StorageError where the server does not allow it.
        """
        with _translated():
            client = self._connect(MIGRATION_SECONDS)
            try:
                client.command(f"BACKUP DATABASE `{client.database}` TO {destination}")
            finally:
                client.close()

    def close(self) -> None:
        """Close every client; a chDB folder may then be opened by another process."""
        for client in [self._writer, *(self._readers.get() for _ in range(READERS))]:
            if client is not None:
                client.close()

    @contextmanager
    def _migrations(self) -> Iterator[Migrations]:
        """For one of the processes that share DATA_DIR at a time."""
        lock = self._settings.data_dir / "migrating.lock"
        with self._writing, locked(lock) as file, _translated():
            owner = os.read(file, 100).decode().strip()
            if not owner:  # it also holds the name by which other hosts know this folder
                owner = secrets.token_hex(6)
                os.write(file, owner.encode())
            client = self._connect(MIGRATION_SECONDS)
            try:
                yield Migrations(client, owner, self._settings.clickhouse_cluster)
            except SchemaError as error:
                raise StorageError(str(error)) from error
            finally:
                if self.embedded and not self._writer:
                    self._writer = client  # chDB's engine, and its lock, live while one is open
                else:
                    client.close()

    @contextmanager
    def _reader(self) -> Iterator[Client]:
        client = self._readers.get()
        try:
            with _translated():
                client = client or self._connect(embedded_settings=_BESIDE_HITS)
                yield client
        except StorageError:
            client = None
            raise
        finally:
            self._readers.put(client)

    def _connect(
        self, timeout: int = TIMEOUT_SECONDS, embedded_settings: dict[str, int] | None = None
    ) -> Client:
        if self.embedded:
            folder = self._settings.data_dir / "chdb"
            return clickhouse_connect.get_client(
                interface="chdb", path=str(folder), settings=embedded_settings
            )
        parts = urlsplit(self._settings.clickhouse_dsn)
        secure = parts.scheme == "clickhouses"
        return clickhouse_connect.get_client(
            interface="https" if secure else "http",
            host=parts.hostname or "",
            port=parts.port or (8443 if secure else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or "") or self._settings.clickhouse_password,
            database=parts.path.strip("/") or "default",
            connect_timeout=5,
            send_receive_timeout=timeout,
            autogenerate_session_id=False,
        )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (ClickHouseError, OSError) as error:
        raise StorageError(_told(error)) from error


def _told(error: Exception) -> str:
    """The first line; what the HTTP client says of a connection is cut to its reason."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "HTTPConnectionPool" in text or "HTTPSConnectionPool" in text:
        reason = re.search(r"\[Errno \d+\] [\w ]+|[Rr]ead timed out|reset by peer", text)
        text = f"no connection: {reason[0] if reason else 'the server did not respond'}"
    return text[:500]
