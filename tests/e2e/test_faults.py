"""The database down, hanging, lying or refusing: redirects go on, and no count is wrong."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clickhouse_server import ClickHouseServer
from tests.support.hit_load import Load, assert_exact, counted
from tests.support.service import Service
from tests.support.standin.faults import FaultKind


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    folder = tmp_path_factory.mktemp("clickhouse")
    with ClickHouseServer(folder, "mailwake", "s3cret/@") as server:
        yield server


@pytest.fixture(scope="module")
def serving(
    database: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    data = tmp_path_factory.mktemp("faults") / "data"
    with Service(data, MAILWAKE_CLICKHOUSE_DSN=database.dsn) as service:
        service.drained()
        yield service


@pytest.mark.parametrize(
    "kind",
    [
        "down",
        "hang",
        "reset_before",
        "reset_after_commit",
        "status_503",
        "too_many_parts",
        "read_only",
        "wrong_password",
    ],
)
def test_a_fault_stops_no_redirect_and_spoils_no_count(
    database: ClickHouseServer, serving: Service, tmp_path: Path, kind: FaultKind
) -> None:
    load = Load(serving, kind)
    with load.running():
        load.more(40)
        database.fault(kind)
        load.more(40)
        time.sleep(1.5)  # the loader runs into it
        assert serving.client.get("/healthz").status_code == 200
        database.clear()
        load.more(40)
    serving.drained()
    assert not load.cut
    assert_exact(counted(database.dsn, tmp_path, load), load)


def test_a_database_that_is_killed_again_and_again(
    database: ClickHouseServer, serving: Service, tmp_path: Path
) -> None:
    load = Load(serving, "killed database")
    with load.running():
        for _ in range(4):
            time.sleep(random.uniform(0.2, 0.6))
            database.kill()
            database.start()
    serving.drained()
    assert not load.cut
    assert_exact(counted(database.dsn, tmp_path, load), load)


def test_health_and_metrics_tell_of_a_database_that_refuses(
    database: ClickHouseServer, serving: Service
) -> None:
    serving.drained()
    database.fault("status_503", match="insert")
    load = Load(serving, "told")
    with load.running(1):
        serving.wait_for(lambda: serving.client.get("/healthz/full").status_code == 503, "trouble")
        assert serving.client.get("/readyz").status_code == 200  # recipients are served
    text = serving.client.get("/metrics").text
    assert "mailwake_load_trouble 1.0" in text
    waiting = next(line for line in text.splitlines() if line.startswith("mailwake_journal_events"))
    assert float(waiting.split()[1]) > 0
    database.clear()
    serving.drained()
    assert "mailwake_load_trouble 0.0" in serving.client.get("/metrics").text
