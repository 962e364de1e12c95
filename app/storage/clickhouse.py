"""The ClickHouse client: queries, inserts and mutations, the same for chDB and for a server.

chDB is opened in this process, as by commands, or is reached in that of a service's engine.
"""

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from queue import LifoQueue
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.settings.settings import PREFIX, Settings
from app.storage import engine_client

READERS = 4  # clients for queries; one client serialises its calls, several run in parallel
STREAM_BYTES = 256 * 1024
EXPORT_PREFIX = "export-"
INSERTS = "inserts"  # folder in DATA_DIR of the rows that chDB is reading in this process
TIMEOUT_SECONDS = 20  # without an answer; an insert that is repeated then changes nothing
MIGRATION_SECONDS = 86_400  # a migration may copy a large table
ENGINE_START_SECONDS = 10  # of its process
ENGINE_END_SECONDS, ENGINE_POLL_SECONDS = 2.0, 0.05
NOT_OPENED = "chdb engine"  # in the error where, mostly, another process has the folder open
_INSERT: dict[str, int | str] = {
    # Asynchronous inserts would acknowledge rows before they are stored, and would regroup them.
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "parallel_view_processing": 1,
    "optimize_on_insert": 0,  # takes a third of an insert's time; views group their rows already
    "input_format_parallel_parsing": 0,  # one journal segment must stay one block
    "max_insert_block_size": 10_000_000,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
}

# Hits take priority over chDB's queries and keep half the cores.
# (chDB does not change its niceness where it may not restore it: without CAP_SYS_NICE.)
_LOW_PRIORITY = {
    "max_threads": max(1, (os.cpu_count() or 1) // 2),
    "os_threads_nice_value_query": 10,
}

_UNFINISHED_MUTATIONS = """
SELECT latest_fail_reason FROM {system.mutations}
WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done AND NOT is_killed
"""
_REPLACED_PARTS = """
SELECT count() AS parts FROM {system.parts}
WHERE database = currentDatabase() AND table IN {tables:Array(String)} AND NOT active
    AND toUnixTimestamp(modification_time) <= {until:UInt32}
"""


Row = dict[str, Any]


class StorageError(Exception):
    """ClickHouse could not be reached or refused the request; the message is safe to show."""


class StartingError(StorageError):
    """The tables are not there yet: the service has just started, and creates or migrates them."""


def engine_missing(settings: Settings) -> str:
    """Returns what to do if chDB is set but not installed (requirements-server.lock), or ""."""
    if settings.clickhouse_dsn != "chdb" or find_spec("chdb"):
        return ""
    return (
        f"{PREFIX}CLICKHOUSE_DSN: the embedded engine (chDB) is not installed. Set it to a"
        " ClickHouse server, such as clickhouse://user:password@host:8123/db, or install"
        " requirements.lock"
    )


def open_storage(settings: Settings) -> "Storage":
    """Returns the database for a command: through the engine's process while there is one."""
    embedded = settings.clickhouse_dsn == "chdb"
    return Storage(settings, engine_apart=embedded and engine_client.listens(settings.data_dir))


class Storage:
    """Reads from and writes to ClickHouse.

    Blocking: call it from threads, never on the event loop. While `starting`, errors of queries are
    StartingErrors. `engine_apart` says that a process of its own (`app.storage.engine`) has chDB
    open.
    """

    def __init__(
        self, settings: Settings, starting: bool = False, engine_apart: bool = False
    ) -> None:
        self.settings = settings
        self.starting = starting
        self._engine_apart = engine_apart
        self._writer: Client | None = None
        self._writing = threading.Lock()
        self._readers: LifoQueue[Client | None] = LifoQueue()
        for _ in range(READERS):
            self._readers.put(None)  # connects on first use

    @property
    def embedded(self) -> bool:
        """Returns whether this is chDB, which only one process may open."""
        return self.settings.clickhouse_dsn == "chdb"

    @property
    def _opens_engine(self) -> bool:
        """Returns whether chDB is opened in this process."""
        return self.embedded and not self._engine_apart

    def query(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Return the rows of a SELECT with {name:Type} parameters as dicts. Raises StorageError."""
        with self.reader() as client:
            result = client.query(sql, parameters=dict(parameters))
            return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def stream(self, sql: str, parameters: Mapping[str, Any], form: str) -> Iterator[bytes]:
        """Yield the result of a SELECT in a ClickHouse format, in pieces. Raises StorageError."""
        if self.embedded:
            yield from self._stream_file(sql, parameters, form)
            return
        with _translate_errors():
            client = self._connect()  # its own, so that a slow download does not delay the pages
            try:
                response: Any = client.raw_stream(sql, parameters=dict(parameters), fmt=form)
                while chunk := response.read(STREAM_BYTES):
                    yield chunk
                response.close()
            finally:
                client.close()

    def _stream_file(self, sql: str, parameters: Mapping[str, Any], form: str) -> Iterator[bytes]:
        """Yield a result by way of a file: chDB would hold all of it in memory."""
        with TemporaryDirectory(dir=self.settings.data_dir, prefix=EXPORT_PREFIX) as folder:
            path = Path(folder).resolve() / "answer"
            quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
            with self.reader() as client:
                client.command(
                    f"{sql}\nINTO OUTFILE '{quoted}' FORMAT {form}", parameters=dict(parameters)
                )
            file = path.open("rb")
        with file:  # already unlinked, so an export in progress is in no folder
            while chunk := file.read(STREAM_BYTES):
                yield chunk

    def insert(self, table: str, lines: bytes, token: str) -> None:
        """Insert JSON lines; a second call with the same token and lines changes nothing.

        Raises StorageError. The rows may have been stored all the same: repeat the call with the
        same arguments.
        """
        with self._writing, _translate_errors():
            if self._writer is None:
                self._writer = self._connect()
                self._sweep_inserts()
            settings = {**_INSERT, "insert_deduplication_token": f"{table} {token}"}
            if self.settings.clickhouse_cluster:
                settings["insert_quorum"] = "auto"  # losing one replica then loses no rows
            try:
                with self._insert_files():
                    self._writer.raw_insert(
                        table, insert_block=lines, fmt="JSONEachRow", settings=settings
                    )
            except Exception:
                self._writer = None  # the connection may be in any state
                raise

    @contextmanager
    def _insert_files(self) -> Iterator[None]:
        """Keep temporary files in DATA_DIR: chDB's client writes the rows of an insert to one.

        They contain email addresses, and a killed process leaves its last one behind.
        """
        if not self._opens_engine:
            yield
            return
        folder = self.settings.data_dir / INSERTS
        folder.mkdir(mode=0o700, exist_ok=True)
        former, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = former

    def _sweep_inserts(self) -> None:
        """Delete what killed processes have left; only one process has chDB open."""
        for path in (self.settings.data_dir / INSERTS).glob("*") if self.embedded else ():
            path.unlink(missing_ok=True)

    def change(self, table: str, sql: str, parameters: Mapping[str, Any]) -> None:
        """Run an ALTER TABLE ... UPDATE and wait until every row is rewritten. Raises StorageError.

        Rows that are inserted meanwhile are not rewritten. ClickHouse completes the mutation even
        if this process is killed.
        """
        cluster = self.settings.clickhouse_cluster
        on = f"ON CLUSTER `{cluster}`" if cluster else ""
        with self.reader() as client:
            client.command(
                sql.replace("{cluster}", on),
                parameters=dict(parameters),
                settings={"mutations_sync": 0},
            )
        pause_seconds = 0.01
        unfinished = self._on_all_hosts(_UNFINISHED_MUTATIONS)
        while mutations := self.query(unfinished, {"table": table}):
            errors = [row["latest_fail_reason"] for row in mutations if row["latest_fail_reason"]]
            if errors:
                raise StorageError(f"{table} cannot be rewritten: {errors[0][:300]}")
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 1.0)

    def replaced(self, tables: Sequence[str], until: float) -> int:
        """Count the parts replaced up to a time (as `clock` returns it) that are still on disk.

        chDB removes them on request; a server does so by itself, after old_parts_lifetime.
        """
        # Dropping a partition without rows makes the engine look for files it no longer needs.
        for table in () if self.settings.clickhouse_cluster else tables:
            with suppress(StorageError), self.reader() as client:
                client.command(f"ALTER TABLE {table} DROP PARTITION ID 'none'")
        rows = self.query(
            self._on_all_hosts(_REPLACED_PARTS), {"tables": list(tables), "until": int(until) + 1}
        )
        return int(rows[0]["parts"])

    def let_expire(self, allowed: bool) -> None:
        """Start or stop merges that empty columns and drop rows by their age."""
        with self.reader() as client:
            client.command(f"SYSTEM {'START' if allowed else 'STOP'} TTL MERGES")

    def _on_all_hosts(self, sql: str) -> str:
        """Returns a query with its {system.*} tables read from all hosts of a cluster."""
        cluster = self.settings.clickhouse_cluster
        table = rf"clusterAllReplicas(`{cluster}`, \1)" if cluster else r"\1"
        return re.sub(r"\{(system\.\w+)\}", table, sql)

    def clock(self) -> float:
        """Returns ClickHouse's own time, in seconds since 1970 UTC."""
        return float(self.query("SELECT toFloat64(now64(3)) AS now", {})[0]["now"])

    @contextmanager
    def own_client(self, timeout: int) -> Iterator[Client]:
        """Yield a client for long work while no other thread of this process writes.

        `timeout` is in seconds. Raises StorageError.
        """
        with self._writing, _translate_errors():
            client = self._connect(timeout)
            try:
                yield client
            finally:
                if self._opens_engine and not self._writer:
                    self._writer = client  # chDB's engine and its lock last while a client is open
                else:
                    client.close()

    def close(self) -> None:
        """Close every client; a chDB folder may then be opened by another process."""
        for client in [self._writer, *(self._readers.get() for _ in range(READERS))]:
            if client is not None:
                client.close()

    @contextmanager
    def reader(self) -> Iterator[Client]:
        """Yield one of the clients for queries. Raises StorageError."""
        client = self._readers.get()
        try:
            with _translate_errors():
                client = client or self._connect(embedded_settings=_LOW_PRIORITY)
                yield client
        except StorageError as error:
            client = None
            if self.starting:
                raise StartingError(str(error)) from error
            raise
        finally:
            self._readers.put(client)

    def _connect(
        self, timeout: int = TIMEOUT_SECONDS, embedded_settings: dict[str, int] | None = None
    ) -> Client:
        if self._engine_apart:
            if self.starting:
                engine_client.wait_until_listening(self.settings.data_dir, ENGINE_START_SECONDS)
            return engine_client.connect(self.settings.data_dir, timeout, embedded_settings)
        if self.embedded:
            if problem := engine_missing(self.settings):
                raise StorageError(problem)
            return _open_engine(self.settings.data_dir / "chdb", embedded_settings)
        dsn = urlsplit(self.settings.clickhouse_dsn)
        secure = dsn.scheme == "clickhouses"
        return clickhouse_connect.get_client(
            interface="https" if secure else "http",
            host=dsn.hostname or "",
            port=dsn.port or (8443 if secure else 8123),
            username=unquote(dsn.username or "default"),
            password=unquote(dsn.password or "") or self.settings.clickhouse_password,
            database=dsn.path.strip("/") or "default",
            connect_timeout=5,
            send_receive_timeout=timeout,
            autogenerate_session_id=False,
        )


def _open_engine(folder: Path, settings: dict[str, int] | None) -> Client:
    """Open chDB in this process. The process of a service that was killed may just be ending."""
    end = time.monotonic() + ENGINE_END_SECONDS
    while True:
        try:
            return clickhouse_connect.get_client(
                interface="chdb", path=str(folder), settings=settings
            )
        except ClickHouseError as error:
            if NOT_OPENED not in str(error) or time.monotonic() > end:
                raise
        time.sleep(ENGINE_POLL_SECONDS)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (ClickHouseError, OSError) as error:
        raise StorageError(_describe_error(error)) from error


def _describe_error(error: Exception) -> str:
    """Returns an error's first line; the HTTP client's connection errors are cut to the reason."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "HTTPConnectionPool" in text or "HTTPSConnectionPool" in text:
        reason = re.search(r"\[Errno \d+\] [\w ]+|[Rr]ead timed out|reset by peer", text)
        text = f"no connection: {reason[0] if reason else 'the server did not respond'}"
    return text[:500]
