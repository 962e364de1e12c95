"""The engine by itself: what a statement sets ends with it, and an insert is one part."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.storage.clickhouse import _INSERT, Storage
from app.storage.engine.chdb_engine import Engine, Outcome
from app.storage.engine.statements import ServerError, Statement


@pytest.fixture(scope="module")
def engine(storage: Storage) -> Iterator[Engine]:
    """Another handle of the folder that this process has open: it can have no other."""
    storage.query("SELECT 1", {})
    opened = Engine(storage.settings.data_dir / "chdb")
    yield opened
    opened.close()


def execute(engine: Engine, sql: str, data: bytes = b"", **params: Any) -> Outcome:
    read_only = bool(params.pop("read_only", ""))
    return engine.execute(Statement(sql.encode() + data, params, read_only=read_only))


def test_a_setting_ends_with_its_statement(engine: Engine) -> None:
    asked = "SELECT getSetting('max_threads') FORMAT TSV"
    assert execute(engine, asked, max_threads="3").body == b"3\n"
    assert execute(engine, asked).body != b"3\n"


def test_a_setting_is_no_sql(engine: Engine) -> None:
    value = "x' , readonly = '2\\"
    asked = "SELECT getSetting('log_comment') FORMAT TSVRaw"
    assert execute(engine, asked, log_comment=value).body.decode() == f"{value}\n"
    with pytest.raises(ServerError, match="Unknown setting") as caught:
        engine.execute(Statement(b"SELECT 1", {"max_threads = 1, readonly": "2"}, read_only=False))
    assert (caught.value.code, caught.value.status) == (115, 404)


def test_parameters_are_values(engine: Engine) -> None:
    asked = "SELECT {name:String} AS name FORMAT TSVRaw"
    assert execute(engine, asked, param_name="' OR 1 --").body == b"' OR 1 --\n"


@pytest.mark.parametrize("settings", ["", " SETTINGS async_insert = 0"])
def test_an_insert_is_one_part_and_is_repeated_without_effect(
    engine: Engine, settings: str
) -> None:
    """The journal's segments are deduplicated as wholes, however large."""
    rows = 300_000
    execute(engine, "DROP TABLE IF EXISTS numbers")
    execute(
        engine,
        "CREATE TABLE numbers (n UInt64, text String) ENGINE = MergeTree ORDER BY n"
        " SETTINGS non_replicated_deduplication_window = 100",
    )
    lines = b"".join(b'{"n":%d,"text":"%s"}\n' % (n, b"t" * 100) for n in range(rows))
    given = {name: str(value) for name, value in _INSERT.items()}
    for _ in range(2):
        outcome = execute(
            engine,
            f"INSERT INTO numbers{settings} FORMAT JSONEachRow\n",
            lines,
            insert_deduplication_token="numbers one",
            **given,
        )
        assert outcome.format is None and outcome.body == b""
    parts = "SELECT count(), sum(rows) FROM system.parts WHERE table = 'numbers' FORMAT TSV"
    assert execute(engine, parts).body == b"1\t%d\n" % rows


def test_what_is_asked_read_only_writes_nothing(engine: Engine) -> None:
    with pytest.raises(ServerError, match="readonly"):
        execute(engine, "CREATE TABLE never (n UInt64) ENGINE = Memory", read_only="1")
    with pytest.raises(ServerError, match="UNKNOWN_TABLE") as caught:
        execute(engine, "SELECT * FROM never")
    assert (caught.value.code, caught.value.status) == (60, 404)


def test_a_folder_that_another_path_has(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        Engine(tmp_path / "other")
