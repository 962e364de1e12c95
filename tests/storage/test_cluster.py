"""What a cluster is given, as far as one engine without Keeper can tell.

The engine parses every statement as it is for a cluster, and runs what needs no Keeper: replicated
tables and ON CLUSTER do.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings.load import load
from app.settings.settings import SettingsError
from app.storage.clickhouse import Storage, StorageError
from app.storage.clickhouse_migrations import DISTRIBUTED, distributed, files, statements
from app.storage.clickhouse_schema import migrate
from tests.integration.test_backup import mailwake
from tests.support.clickhouse_server import ClickHouseServer

EVERY = [
    (path.stem, number, statement)
    for path in [*files(), DISTRIBUTED]
    for number, statement in enumerate(statements(path, "main"))
    if not statement.startswith("{python:")  # test_clickhouse_migrations.py runs those
]
CONFIG = """<clickhouse>
<tcp_port>9000</tcp_port>
<remote_servers><main><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></main></remote_servers>
</clickhouse>"""


@pytest.mark.parametrize(("name", "number", "statement"), EVERY)
def test_the_engine_parses_it(storage: Storage, name: str, number: int, statement: str) -> None:
    statement = re.sub(r"\{(name|database|table)\}", "x", statement)
    assert "{" not in statement, "a placeholder was not filled in"
    rows = storage.query("SELECT formatQuery({sql:String}) AS told", {"sql": statement})
    told = rows[0]["told"]
    if re.match(r"(CREATE|DROP|TRUNCATE|RENAME)\b", statement):
        assert "ON CLUSTER main" in told, f"{name} leaves replicas out"
    if re.match(r"CREATE TABLE", told) and "Distributed" not in told:
        assert re.search(r"^ENGINE = Replicated\w*MergeTree", told, re.MULTILINE)
        # Both, or repetitions are forgotten after an hour whatever their number.
        assert re.search(r"\breplicated_deduplication_window = \d{4,}", told)
        assert re.search(r"\breplicated_deduplication_window_seconds = \d{6,}", told)


def test_a_mistake_would_be_found(storage: Storage) -> None:
    with pytest.raises(StorageError, match="Syntax error"):
        storage.query("SELECT formatQuery({sql:String})", {"sql": "CREATE TABLE x ON CLUSTER"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """One that knows a cluster of itself."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "config.xml").write_text(CONFIG)
    with ClickHouseServer(folder / f"clickhouse?config-file={folder / 'config.xml'}") as running:
        yield running


def test_tables_over_all_shards_read_and_refuse_what_is_written(
    server: ClickHouseServer, tmp_path: Path
) -> None:
    storage = Storage(load(data_dir=tmp_path, clickhouse_dsn=server.dsn))
    migrate(storage)
    row = b'{"workspace":"default","newsletter":1,"id":"n","name":"N"}\n'
    storage.insert("newsletters", row, "token")
    with storage.reader() as client:
        for (table,) in client.query(
            "SELECT name FROM system.tables WHERE database = 'default'"
            " AND engine LIKE '%MergeTree' AND name != 'migrations'"
        ).result_rows:
            for statement in distributed("main", "default", table):
                client.command(statement.replace("ON CLUSTER `main`", ""))
    read = "SELECT id, count() AS n FROM default_all.newsletters GROUP BY id"
    assert storage.query(read, {}) == [{"id": "n", "n": 1}]
    assert storage.query("SELECT count() AS n FROM default_all.hits", {}) == [{"n": 0}]
    storage.close()


def test_a_cluster_is_asked_for_as_a_whole(server: ClickHouseServer, tmp_path: Path) -> None:
    """This engine refuses it, for want of Keeper; what it was asked is what matters."""
    env = {"MAILWAKE_CLICKHOUSE_DSN": server.dsn, "MAILWAKE_CLICKHOUSE_CLUSTER": "main"}
    dsn = server.dsn.removesuffix("default") + "elsewhere"
    plain = Storage(load(data_dir=tmp_path, clickhouse_dsn=server.dsn))
    migrate(plain)
    with plain.reader() as client:
        client.command("CREATE DATABASE IF NOT EXISTS elsewhere")
    code, said = mailwake(
        "migrate", "--data-dir", str(tmp_path), **{**env, "MAILWAKE_CLICKHOUSE_DSN": dsn}
    )
    assert code == 2
    assert "DDL queries are disabled" in said, said
    assert any("CREATE TABLE migrating ON CLUSTER `main`" in one.sql for one in server.log())
    storage = Storage(load(data_dir=tmp_path, clickhouse_dsn=server.dsn, clickhouse_cluster="main"))
    storage.insert("newsletters", b'{"workspace":"default","newsletter":2,"id":"q"}\n', "quorum")
    storage.close()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"clickhouse_cluster": "main"}, "CLICKHOUSE_CLUSTER: MAILWAKE_CLICKHOUSE_DSN is required"),
        (
            {"clickhouse_cluster": "a'b", "clickhouse_dsn": "clickhouse://h/d"},
            "MAILWAKE_CLICKHOUSE_CLUSTER: must be a cluster name",
        ),
    ],
)
def test_a_wrong_cluster_is_refused(settings: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(**settings)


def test_distributed_needs_a_cluster(tmp_path: Path) -> None:
    code, said = mailwake("migrate", "--distributed", "--data-dir", str(tmp_path))
    assert code == 2 and "MAILWAKE_CLICKHOUSE_CLUSTER" in said
