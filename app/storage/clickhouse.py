"""ClickHouse: connections, migrations and inserts, the same for chDB and for a server."""

import os
import re
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

from app.settings.settings import Settings

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

_CHANGING = """
SELECT latest_fail_reason FROM {system.mutations}
WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done AND NOT is_killed
"""
_REPLACED = """
SELECT count() AS parts FROM {system.parts}
WHERE database = currentDatabase() AND table IN {tables:Array(String)} AND NOT active
    AND toUnixTimestamp(modification_time) <= {until:UInt32}
"""


Row = dict[str, Any]


class StorageError(Exception):
    """ClickHouse could not be reached or refused; the message is safe to show."""


class Storage:
    """Blocking: call it from threads, never on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._writer: Client | None = None
        self._writing = threading.Lock()
        self._readers: LifoQueue[Client | None] = LifoQueue()
        for _ in range(READERS):
            self._readers.put(None)  # made when first needed

    @property
    def embedded(self) -> bool:
        """Whether this is chDB, which one process only may open."""
        return self.settings.clickhouse_dsn == "chdb"

    def query(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Rows of a SELECT with {name:Type} parameters, as dicts. Raises StorageError."""
        with self.reader() as client:
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
        with TemporaryDirectory(dir=self.settings.data_dir, prefix=EXPORT) as folder:
            path = Path(folder).resolve() / "answer"
            quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
            with self.reader() as client:
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
            if self.settings.clickhouse_cluster:
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
        cluster = self.settings.clickhouse_cluster
        on = f"ON CLUSTER `{cluster}`" if cluster else ""
        with self.reader() as client:
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
        for table in () if self.settings.clickhouse_cluster else tables:
            with suppress(StorageError), self.reader() as client:
                client.command(f"ALTER TABLE {table} DROP PARTITION ID 'none'")
        found = self.query(
            self._everywhere(_REPLACED), {"tables": list(tables), "until": int(until) + 1}
        )
        return int(found[0]["parts"])

    def _everywhere(self, sql: str) -> str:
        """A query of {system} tables, of all of a cluster's hosts."""
        cluster = self.settings.clickhouse_cluster
        table = rf"clusterAllReplicas(`{cluster}`, \1)" if cluster else r"\1"
        return re.sub(r"\{(system\.\w+)\}", table, sql)

    def clock(self) -> float:
        """ClickHouse's own, in seconds since 1970 UTC."""
        return float(self.query("SELECT toFloat64(now64(3)) AS now", {})[0]["now"])

    @contextmanager
    def own_client(self, timeout: int) -> Iterator[Client]:
        """A client for long work, alone among the writers of this process. Raises StorageError."""
        with self._writing, _translated():
            client = self._connect(timeout)
            try:
                yield client
            finally:
                if self.embedded and not self._writer:
                    self._writer = client  # chDB's engine, and its lock, live while one is open
                else:
                    client.close()

    def close(self) -> None:
        """Close every client; a chDB folder may then be opened by another process."""
        for client in [self._writer, *(self._readers.get() for _ in range(READERS))]:
            if client is not None:
                client.close()

    @contextmanager
    def reader(self) -> Iterator[Client]:
        """One of the clients for queries. Raises StorageError."""
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
            folder = self.settings.data_dir / "chdb"
            return clickhouse_connect.get_client(
                interface="chdb", path=str(folder), settings=embedded_settings
            )
        parts = urlsplit(self.settings.clickhouse_dsn)
        secure = parts.scheme == "clickhouses"
        return clickhouse_connect.get_client(
            interface="https" if secure else "http",
            host=parts.hostname or "",
            port=parts.port or (8443 if secure else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or "") or self.settings.clickhouse_password,
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
