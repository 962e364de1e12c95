"""ClickHouse: connections, migrations and inserts, the same for chDB and for a server."""

import fcntl
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from app.settings import Settings, resource

READERS = 4  # clients for queries; a client serialises its calls, several run side by side
STREAM_BYTES = 256 * 1024
EXPORT = "export-"
TIMEOUT = 20  # seconds without an answer; an insert that is repeated then changes nothing
_INSERT = {
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
            with path.open("rb") as file:
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
            try:
                self._writer.raw_insert(
                    table, insert_block=lines, fmt="JSONEachRow", settings=settings
                )
            except Exception:
                self._writer = None  # the connection may be in any state
                raise

    def migrate(self) -> list[str]:
        """Apply the migrations that are missing, in order; returns their names."""
        applied = []
        with self._writing, self._alone(), _translated():
            client = self._connect()
            for left in self._settings.data_dir.glob(f"{EXPORT}*"):
                shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
            client.command(
                "CREATE TABLE IF NOT EXISTS migrations (name String, at DateTime DEFAULT now())"
                " ENGINE = MergeTree ORDER BY name"
            )
            done = {row[0] for row in client.query("SELECT name FROM migrations").result_rows}
            for path in sorted((resource("clickhouse") / "migrations").glob("*.sql")):
                if path.stem in done:
                    continue
                for statement in statements(path):
                    client.command(statement)
                client.insert("migrations", [[path.stem]], column_names=["name"])
                applied.append(path.stem)
            self._writer = client
        return applied

    def close(self) -> None:
        """Close every client; a chDB folder may then be opened by another process."""
        for client in [self._writer, *(self._readers.get() for _ in range(READERS))]:
            if client is not None:
                client.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One of the processes that share DATA_DIR at a time."""
        with (self._settings.data_dir / "migrating.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _reader(self) -> Iterator[Client]:
        client = self._readers.get()
        try:
            with _translated():
                client = client or self._connect()
                yield client
        except StorageError:
            client = None
            raise
        finally:
            self._readers.put(client)

    def _connect(self) -> Client:
        if self.embedded:
            folder = self._settings.data_dir / "chdb"
            return clickhouse_connect.get_client(interface="chdb", path=str(folder))
        parts = urlsplit(self._settings.clickhouse_dsn)
        secure = parts.scheme == "clickhouses"
        return clickhouse_connect.get_client(
            interface="https" if secure else "http",
            host=parts.hostname or "",
            port=parts.port or (8443 if secure else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=parts.path.strip("/") or "default",
            connect_timeout=5,
            send_receive_timeout=TIMEOUT,
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
        text = f"no connection: {reason[0] if reason else 'the server did not answer'}"
    return text[:500]


def statements(path: Path, engine: str = "", cluster: str = "") -> Sequence[str]:
    """The statements of a migration with engine, cluster and window filled in.

    `engine` is a prefix such as `Replicated`; `cluster` is `ON CLUSTER name` or empty.
    """
    window = "replicated_deduplication_window" if engine else "non_replicated_deduplication_window"
    text = re.sub(r"--[^\n]*", "", path.read_text())
    text = re.sub(r"\{engine:([^}]*)\}", lambda match: engine + match[1], text)
    text = text.replace("{cluster}", cluster).replace("{window}", window)
    return [part.strip() for part in text.split(";") if part.strip()]
