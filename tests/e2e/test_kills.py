"""kill -9 at random under load: what was answered is counted once, whatever was going on."""

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.clickhouse_server import ClickHouseServer
from tests.support.hit_load import Load, assert_exact, counted
from tests.support.service import Service

KILLS = 20
TORTURE_KILLS = 1000


def _kill(folder: Path, times: int, sync_ms: str) -> None:
    """The database is a process of its own, so that kills hit inserts that are under way."""
    with ClickHouseServer(folder / "clickhouse") as database:
        env = {"MAILWAKE_CLICKHOUSE_DSN": database.dsn, "MAILWAKE_JOURNAL_SYNC_MS": sync_ms}
        with Service(folder / "data", **env) as service:
            load = Load(service, "killed")
            for number in range(times):
                with load.running():
                    load.more(10)
                    time.sleep(random.uniform(0, 0.6))
                    service.kill()
                if number % 10 == 9:  # most of the time there are orphans from several lives
                    service.start()
                    service.drained()
                else:
                    service.start()
            service.drained()
            assert_exact(counted(database.dsn, folder, load), load)


@pytest.mark.parametrize("sync_ms", ["0", "100"])
def test_twenty_kills(tmp_path: Path, sync_ms: str) -> None:
    _kill(tmp_path, KILLS // 2, sync_ms)


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
def test_a_thousand_kills(tmp_path: Path) -> None:
    _kill(tmp_path, TORTURE_KILLS, "100")
