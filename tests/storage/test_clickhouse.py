import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count as counter
from pathlib import Path
from typing import Any, TypeVar

import clickhouse_connect
import httpx2
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from typer.testing import CliRunner

from app.cli.main import cli
from app.settings.load import load
from app.storage.clickhouse import Storage, StorageError
from app.storage.clickhouse_schema import migrate
from app.storage.engine.statements import Statement
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.standin.endpoint import CODECS
from tests.support.standin.faults import FaultKind

T = TypeVar("T")
USER, PASSWORD = "mail@wake", "p:ss/word@of the server"
TABLE = (
    "(id UInt64, name LowCardinality(String), tags Array(LowCardinality(String)),"
    " at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY id"
    " SETTINGS non_replicated_deduplication_window = 100"
)
NUMBERS = counter(1)
LINES = b"".join(
    b'{"id":%d,"name":"n","tags":["x"],"at":"2026-01-02 03:04:05"}\n' % n for n in range(3)
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path_factory.mktemp("clickhouse"), USER, PASSWORD) as server:
        yield server


@pytest.fixture
def server(running: ClickHouseServer) -> Iterator[ClickHouseServer]:
    yield running
    running.clear()


def connect(server: ClickHouseServer, **more: Any) -> Client:
    return clickhouse_connect.get_client(
        interface="http",
        host="127.0.0.1",
        port=server.port,
        **{
            "username": server.user,
            "password": server.password,
            "autogenerate_session_id": False,
            "send_receive_timeout": int(PATIENCE_SECONDS),
            "dedicated_pool": True,
            **more,
        },
    )


@pytest.fixture
def client(server: ClickHouseServer) -> Iterator[Client]:
    client = connect(server)
    yield client
    client.close()


@pytest.fixture
def table(client: Client) -> str:
    name = f"t{next(NUMBERS)}"
    client.command(f"CREATE TABLE {name} {TABLE}")
    return name


def count(client: Client, table: str) -> int:
    found = client.command(f"SELECT count() FROM {table}")
    assert isinstance(found, int)
    return found


def insert(client: Client, table: str, token: str = "a", lines: bytes = LINES) -> dict[str, Any]:
    settings = {"insert_deduplication_token": token, "async_insert": 0}
    result = client.raw_insert(table, insert_block=lines, fmt="JSONEachRow", settings=settings)
    return dict(result.summary)


def get(server: ClickHouseServer, path: str, **more: Any) -> httpx2.Response:
    return httpx2.get(
        f"http://127.0.0.1:{server.port}{path}", trust_env=False, **more, timeout=PATIENCE_SECONDS
    )


# --- what the client calls ---


def test_handshake(client: Client) -> None:
    assert str(client.server_version).startswith("26.")
    assert client.ping()
    assert client.server_settings["max_threads"].readonly == 0


def test_session_ids_are_accepted(server: ClickHouseServer) -> None:
    client = connect(server, autogenerate_session_id=True)
    assert client.command("SELECT 1") == 1
    client.close()


@pytest.mark.parametrize("compress", [False, True, "lz4", "zstd", "gzip"])
def test_rows_come_back_as_inserted(server: ClickHouseServer, compress: bool | str) -> None:
    client = connect(server, compress=compress, tz_mode="aware")
    name = f"native_{compress}"
    client.command(f"CREATE TABLE {name} {TABLE}")
    # Nine columns make the block begin with a byte that is a tab where it is taken for text.
    client.command(f"ALTER TABLE {name} " + ", ".join(f"ADD COLUMN c{n} Int8" for n in range(5)))
    start = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    rows = [
        (n, f"näme {n % 3}", ["a", "b"][: n % 3], start + timedelta(seconds=n), *[n % 7] * 5)
        for n in range(20_000)
    ]
    assert client.insert(name, rows).written_rows == 20_000
    found = client.query(f"SELECT * FROM {name} ORDER BY id")
    assert found.column_names == ("id", "name", "tags", "at", "c0", "c1", "c2", "c3", "c4")
    assert found.result_rows == rows
    assert int(found.summary["read_rows"]) == 20_000
    client.close()


def test_compressed_answers(server: ClickHouseServer) -> None:
    params = {"query": "SELECT number FROM numbers(1000)", "enable_http_compression": "1"}
    answer = get(
        server, "/", params=params, auth=(USER, PASSWORD), headers={"accept-encoding": "br, gzip"}
    )
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text.split() == [str(n) for n in range(1000)]
    del params["enable_http_compression"]
    plain = get(server, "/", params=params, auth=(USER, PASSWORD))
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text


@pytest.mark.parametrize("form", [False, True])
def test_parameters(server: ClickHouseServer, form: bool) -> None:
    client = connect(server, form_encode_query_params=form)
    text = "tab\t line\n quote ' back\\slash \\t näme {x:String} %s"
    given = {"text": text, "number": 2**64 - 1, "list": ["a'b", "c\\d"], "none": None}
    sql = "SELECT {text:String}, {number:UInt64}, {list:Array(String)}, {none:Nullable(String)}"
    assert client.query(sql, parameters=given).first_row == (text, 2**64 - 1, given["list"], None)
    client.close()


def test_commands(client: Client, table: str) -> None:
    assert client.command("SELECT 42") == 42
    assert client.command("SELECT {x:String}", parameters={"x": "y"}) == "y"
    assert client.command(f"SELECT name FROM {table}") == ""  # a result without rows
    assert client.command(f"INSERT INTO {table} (id) VALUES (1), (2)").written_rows == 2  # type: ignore[union-attr]
    client.command(f"INSERT INTO {table} (id) FORMAT TSV", data="3\n4\n")
    assert client.command(f"SELECT sum(id) FROM {table}") == 10
    client.command(f"DROP TABLE {table}")
    assert client.command(f"EXISTS TABLE {table}") == 0


def test_raw_query_and_stream(client: Client) -> None:
    sql = "SELECT number AS n FROM numbers({n:UInt8})"
    assert client.raw_query(sql, parameters={"n": 2}) == b"0\n1\n"
    assert client.raw_query(sql, parameters={"n": 1}, fmt="JSONEachRow") == b'{"n":0}\n'
    with client.raw_stream("SELECT number FROM numbers(100000)", fmt="CSV") as stream:
        assert stream.read().count(b"\n") == 100_000
    with client.query_row_block_stream("SELECT number FROM numbers(100000)") as blocks:
        assert sum(len(block) for block in blocks) == 100_000


def test_columns_only(client: Client) -> None:
    found = client.query("SELECT 1 AS a, 'x' AS b LIMIT 0")
    assert (found.column_names, found.result_rows) == (("a", "b"), [])
    assert client.query("SELECT number FROM numbers(0)").result_rows == []


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
def test_raw_insert(client: Client, table: str, compression: str | None) -> None:
    # A generator is sent in chunks.
    block = (
        CODECS[compression][0](LINES)
        if compression
        else (part + b"\n" for part in LINES.splitlines())
    )
    summary = client.raw_insert(
        table, insert_block=block, fmt="JSONEachRow", compression=compression
    )
    assert summary.written_rows == 3
    assert client.query(f"SELECT id, tags FROM {table} ORDER BY id").result_rows == [
        (n, ["x"]) for n in range(3)
    ]


def test_settings_last_for_one_request(client: Client) -> None:
    sql = "SELECT getSetting('max_block_size')"
    assert client.query(sql, settings={"max_block_size": 123}).first_row == (123,)
    assert client.query(sql).first_row != (123,)


def test_database(server: ClickHouseServer, client: Client) -> None:
    client.command("CREATE DATABASE IF NOT EXISTS `other-one`")
    client.command("CREATE OR REPLACE TABLE `other-one`.here (a Int8) ENGINE = Memory")
    other = connect(server, database="other-one")
    assert other.command("SELECT currentDatabase()") == "other-one"
    other.insert("here", [[7]], column_names=["a"])
    assert client.command("SELECT a FROM `other-one`.here") == 7
    with pytest.raises(DatabaseError, match="UNKNOWN_DATABASE") as error:
        connect(server, database="nowhere")
    assert error.value.code == 81
    other.close()


def test_headers(server: ClickHouseServer) -> None:
    params = {"query": "SELECT 1 AS a FORMAT JSON", "query_id": "my-id"}
    answer = get(server, "/", params=params, auth=(USER, PASSWORD))
    assert answer.json()["data"] == [{"a": 1}]
    assert answer.headers["x-clickhouse-query-id"] == "my-id"
    assert answer.headers["x-clickhouse-format"] == "JSON"
    assert answer.headers["content-type"].startswith("application/json")
    assert json.loads(answer.headers["x-clickhouse-summary"])["result_rows"] == "1"
    assert "x-clickhouse-exception-code" not in answer.headers


def test_ping_needs_no_password(server: ClickHouseServer) -> None:
    answer = get(server, "/ping")
    assert (answer.status_code, answer.text) == (200, "Ok.\n")


def test_clients_in_parallel(server: ClickHouseServer, client: Client, table: str) -> None:
    def work(number: int) -> int:
        own = connect(server)
        lines = b'{"id":%d}\n' % number * 500
        insert(own, table, f"p{number}", lines)
        found = count(own, f"{table} WHERE id = {number}")
        own.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [500] * 24
    assert count(client, table) == 24 * 500


def test_app_storage(server: ClickHouseServer, tmp_path: Path) -> None:
    storage = Storage(load(clickhouse_dsn=server.dsn, data_dir=tmp_path))
    assert migrate(storage)
    assert migrate(storage) == []
    line = b'{"workspace":"default","newsletter":1,"id":"n","name":"N"}\n'
    for _ in range(2):
        storage.insert("newsletters", line, "token")
    sql = "SELECT id, count() AS n FROM newsletters WHERE newsletter = {n:UInt64} GROUP BY id"
    assert storage.query(sql, {"n": 1}) == [{"id": "n", "n": 1}]
    storage.close()


# --- errors ---


@pytest.mark.parametrize(
    ("sql", "code", "status", "name"),
    [
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("SELECT 1 FROM nowhere", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT nothing", 47, 404, "UNKNOWN_IDENTIFIER"),
        ("SELECT throwIf(1)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("INSERT INTO nowhere FORMAT TSV\n1\n", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT {missing:String}", 456, 500, "UNKNOWN_QUERY_PARAMETER"),
        ("", 62, 400, "SYNTAX_ERROR"),
    ],
)
def test_errors(server: ClickHouseServer, sql: str, code: int, status: int, name: str) -> None:
    url = f"http://127.0.0.1:{server.port}/"
    answer = httpx2.post(
        url, content=sql, auth=(USER, PASSWORD), trust_env=False, timeout=PATIENCE_SECONDS
    )
    assert answer.status_code == status
    assert answer.headers["x-clickhouse-exception-code"] == str(code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name})" in answer.text
    assert "(version 26." in answer.text


def test_errors_through_the_client(client: Client, table: str) -> None:
    with pytest.raises(DatabaseError, match="Unknown table expression") as error:
        client.query("SELECT 1 FROM nowhere")
    assert error.value.code == 60
    with pytest.raises(DatabaseError, match="CANNOT_PARSE_INPUT_ASSERTION_FAILED") as error:
        insert(client, table, lines=b'{"id": "x"}\n')
    assert error.value.code == 27
    with pytest.raises(DatabaseError) as error:
        client.raw_query("SELECT 1", settings={"max_threads": "many"})
    assert error.value.code == 27
    assert count(client, table) == 0


def test_get_only_reads(server: ClickHouseServer) -> None:
    params = {"query": "CREATE TABLE never (a Int8) ENGINE = Memory"}
    answer = get(server, "/", params=params, auth=(USER, PASSWORD))
    assert answer.headers["x-clickhouse-exception-code"] == "164"


def test_unknown_setting(server: ClickHouseServer) -> None:
    for name in ("no_such_setting", "max_threads = 1, x"):
        answer = get(server, "/", params={"query": "SELECT 1", name: "1"}, auth=(USER, PASSWORD))
        assert answer.status_code == 404
        assert answer.headers["x-clickhouse-exception-code"] == "115"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"auth": (USER, PASSWORD)}, 200),
        ({"headers": {"x-clickhouse-user": USER, "x-clickhouse-key": PASSWORD}}, 200),
        ({"params": {"user": USER, "password": PASSWORD}}, 200),
        ({}, 403),
        ({"auth": (USER, "wrong")}, 403),
        ({"auth": ("nobody", PASSWORD)}, 403),
        ({"headers": {"x-clickhouse-user": USER}}, 403),
        ({"headers": {"authorization": "Bearer x"}}, 403),
        ({"auth": (USER, PASSWORD), "headers": {"x-clickhouse-user": USER}}, 403),
    ],
)
def test_passwords(server: ClickHouseServer, more: dict[str, Any], status: int) -> None:
    more["params"] = {"query": "SELECT 1", **more.get("params", {})}
    answer = get(server, "/", **more)
    assert answer.status_code == status
    expected = "516" if status == 403 else None
    assert answer.headers.get("x-clickhouse-exception-code") == expected


def test_wrong_password_through_the_client(server: ClickHouseServer) -> None:
    with pytest.raises(DatabaseError, match="Authentication failed") as error:
        connect(server, password="wrong")
    assert error.value.code == 516


# --- the log and de-duplication ---


def test_repeated_token_changes_nothing(
    server: ClickHouseServer, client: Client, table: str
) -> None:
    assert insert(client, table, "first")["written_rows"] == "3"
    insert(client, table, "first")
    assert count(client, table) == 3
    insert(client, table, "second")  # the same rows under another token are other rows
    assert count(client, table) == 6
    inserts = [entry for entry in server.log() if entry.table == table and entry.kind == "insert"]
    assert [(entry.token, entry.rows, entry.code) for entry in inserts] == [
        ("first", 3, 0),
        ("first", 3, 0),
        ("second", 3, 0),
    ]


def test_large_insert_is_one_block(client: Client, table: str) -> None:
    lines = b"".join(b'{"id":%d}\n' % n for n in range(150_000))
    settings = {"max_insert_block_size": 10_000_000, "input_format_parallel_parsing": 0}
    client.command(f"SYSTEM STOP MERGES {table}")
    for _ in range(2):
        client.raw_insert(
            table,
            insert_block=lines,
            fmt="JSONEachRow",
            settings={**settings, "insert_deduplication_token": "large"},
        )
    assert count(client, table) == 150_000
    parts = f"SELECT count() FROM system.parts WHERE table = '{table}' AND active"
    assert client.command(parts) == 1


def test_log_tells_failures(server: ClickHouseServer, client: Client) -> None:
    with pytest.raises(DatabaseError):
        insert(client, "nowhere_at_all")
    (entry,) = [entry for entry in server.log() if entry.table == "nowhere_at_all"]
    assert (entry.kind, entry.code, entry.rows, entry.token) == ("insert", 60, 0, "a")


@pytest.mark.parametrize(
    ("sql", "kind", "table"),
    [
        ("INSERT INTO `a`.`b` VALUES (1)", "insert", "a.b"),
        ("-- why\n/* so */ insert into t select 1", "insert", "t"),
        ("WITH 1 AS x SELECT x", "select", None),
        ("(SELECT 1)", "select", None),
        ("ALTER TABLE t DELETE WHERE 1", "command", None),
    ],
)
def test_kinds(sql: str, kind: str, table: str | None) -> None:
    statement = Statement(sql.encode(), {}, read_only=False)
    assert (statement.kind, statement.table) == (kind, table)


# --- faults ---


def test_down_and_up_again(server: ClickHouseServer, client: Client) -> None:
    server.fault("down")
    with pytest.raises(OperationalError, match="refused"):
        client.query("SELECT 1")
    assert not client.ping()
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        pass
    assert server.log()  # the control port still answers
    server.clear()
    assert client.query("SELECT 1").first_row == (1,)
    server.fault("down")
    server.fault("slow")  # another fault ends it too
    assert client.ping()


def test_down_resets_open_connections(server: ClickHouseServer) -> None:
    server.fault("hang")
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as peer:
        peer.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        server.fault("down")
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def patiently(act: Callable[[], T]) -> T:
    """By a client that waits for a second: as often as a busy machine takes longer."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return act()
        except OperationalError as error:
            assert "timed out" in str(error) and time.monotonic() < end


def test_hang(server: ClickHouseServer, client: Client, table: str) -> None:
    impatient = patiently(lambda: connect(server, send_receive_timeout=1))
    server.fault("hang", match="insert")
    with pytest.raises(OperationalError, match="timed out"):
        insert(impatient, table)
    assert count(client, table) == 0  # not executed, and others are answered meanwhile
    server.clear()
    patiently(lambda: insert(impatient, table))
    assert count(client, table) == 3
    impatient.close()


def test_reset_before(server: ClickHouseServer, client: Client, table: str) -> None:
    server.fault("reset_before", match="insert")
    with pytest.raises(OperationalError, match="reset by peer"):
        insert(client, table)
    assert count(client, table) == 0


def test_reset_after_commit(server: ClickHouseServer, client: Client, table: str) -> None:
    server.fault("reset_after_commit", match="insert")
    with pytest.raises(OperationalError, match="reset by peer"):
        insert(client, table)
    assert count(client, table) == 3
    server.clear()
    insert(client, table)
    assert count(client, table) == 3


def test_client_repeats_an_insert_after_a_reset(
    server: ClickHouseServer, client: Client, table: str
) -> None:
    """clickhouse-connect does so by itself: only the token keeps the rows single."""
    server.fault("reset_after_commit", times=1, match="insert")
    insert(client, table)
    assert [entry.kind for entry in server.log() if entry.table == table] == ["insert"] * 2
    assert count(client, table) == 3


def test_status_503(server: ClickHouseServer, client: Client, table: str) -> None:
    server.fault("status_503", match="insert")
    with pytest.raises(OperationalError, match="HTTP status 503") as error:
        insert(client, table)
    assert error.value.code is None
    server.fault("status_503", times=2)
    query = f"SELECT count() FROM {table}"
    assert client.query(query).first_row == (0,)  # the client tries queries three times


@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        ("too_many_parts", 252, "TOO_MANY_PARTS"),
        ("read_only", 242, "TABLE_IS_READ_ONLY"),
        ("wrong_password", 516, "AUTHENTICATION_FAILED"),
    ],
)
def test_refused_inserts(
    server: ClickHouseServer, client: Client, table: str, kind: FaultKind, code: int, name: str
) -> None:
    server.fault(kind, times=2, match="insert")
    for _ in range(2):
        with pytest.raises(DatabaseError, match=name) as error:
            insert(client, table)
        assert error.value.code == code
    assert count(client, table) == 0
    insert(client, table)
    assert count(client, table) == 3


def test_read_only_lets_reads_through(server: ClickHouseServer, client: Client) -> None:
    server.fault("read_only")
    assert client.query("SELECT 1").first_row == (1,)
    with pytest.raises(DatabaseError, match="READONLY") as error:
        client.command("CREATE TABLE never (a Int8) ENGINE = Memory")
    assert error.value.code == 164


def test_slow_is_slow(server: ClickHouseServer, client: Client, table: str) -> None:
    """A patient client is answered, one that waits less than the delay is not."""
    impatient = patiently(lambda: connect(server, send_receive_timeout=1))
    server.fault("slow", match="select", ms=1_500)
    with pytest.raises(OperationalError, match="timed out"):
        impatient.query("SELECT 1")
    assert client.query("SELECT 1").first_row == (1,)
    patiently(lambda: insert(impatient, table))
    impatient.close()


def test_ping_meets_faults_of_the_connection_only(server: ClickHouseServer, client: Client) -> None:
    server.fault("wrong_password")
    assert client.ping()
    server.fault("status_503", times=1)
    assert not client.ping()
    server.fault("reset_after_commit", match="insert")
    assert client.ping()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "fire"}, "Invalid enum value 'fire'"),
        ({"kind": "hang", "match": "drop"}, "Invalid enum value 'drop'"),
        ({"kind": "hang", "times": 0}, "times must be at least 1"),
        ({"kind": "down", "times": 1}, "down has no times"),
        ({"kind": "too_many_parts", "match": "select"}, "never hits a select"),
    ],
)
def test_fault_that_makes_no_sense(
    server: ClickHouseServer, fault: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        server.fault(**fault)


# --- the process ---


def test_data_outlives_the_process(tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path) as server:
        assert server.dsn == f"clickhouse://default:@127.0.0.1:{server.port}/default"
        client = connect(server)
        client.command(f"CREATE TABLE kept {TABLE}")
        insert(client, "kept")
        port = server.port
        server.stop()
        with pytest.raises(OperationalError):
            client.query("SELECT 1")
        server.start()
        assert server.port == port
        assert server.log() == []
        insert(client, "kept")
        assert count(client, "kept") == 3  # the tokens outlive it too
        insert(client, "kept", "other")
        server.kill()
        server.start()
        assert count(client, "kept") == 6
        client.close()


def test_start_that_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match="did not start"):
        ClickHouseServer(tmp_path / "file").start()


def test_without_the_embedded_engine_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ClickHouseServer
) -> None:
    monkeypatch.setattr("app.storage.clickhouse.find_spec", lambda name: None)
    says = r"MAILWAKE_CLICKHOUSE_DSN: the embedded engine \(chDB\) is not installed"
    storage = Storage(load(data_dir=tmp_path))
    with pytest.raises(StorageError, match=says):
        storage.query("SELECT 1", {})
    with pytest.raises(StorageError, match=says):
        storage.insert("hits", b"", "a")
    for command in ("migrate", "serve", "demo"):
        done = CliRunner().invoke(cli, [command, "--data-dir", str(tmp_path)])
        assert done.exit_code == 2
        assert re.search(says, done.stderr.replace("\n", " ")), done.output
    storage = Storage(load(data_dir=tmp_path, clickhouse_dsn=server.dsn))
    assert storage.query("SELECT 1 AS one", {}) == [{"one": 1}]
    storage.close()
