"""kill -9 at random under load: what was answered is counted once, whatever was going on."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from app.tracking.tokens import LinkToken, MessageToken
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.hit_load import Load, assert_exact, counted
from tests.support.programs import assert_verified, hits_by_message, verified
from tests.support.service import Service

KILLS, EMBEDDED_KILLS = 10, 3
TORTURE_KILLS, TORTURE_EMBEDDED_KILLS = 1000, 200


class SeveralHits(Load):
    """An open and two clicks of each message, so that corrections run.

    `hits` counts the answered ones by message; `answered` has the messages of which all were.
    """

    def __init__(self, service: Service, newsletter: str, pause: float = 0) -> None:
        super().__init__(service, newsletter, pause=pause)
        self.hits: Counter[str] = Counter()

    def _hit(self, client: httpx2.Client, message: bytes) -> None:
        token = self.tokens.message(MessageToken(message, self.newsletter, 1))
        urls = [f"/o/{token}.gif"]
        for position in range(2):
            target = f"https://example.com/{position}"
            urls.append(
                f"/c/{token}/{self.tokens.link(LinkToken(self.newsletter, position, target))}"
            )
        for url in urls:
            if client.get(url).status_code not in (200, 302):
                self.wrong.append(url)
            self.hits[message.hex()] += 1
        self.answered.append(message.hex())


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
def test_ten_kills(tmp_path: Path, sync_ms: str) -> None:
    _kill(tmp_path, KILLS // 2, sync_ms)


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
def test_a_thousand_kills(tmp_path: Path) -> None:
    _kill(tmp_path, TORTURE_KILLS, "100")


def _kill_embedded(folder: Path, times: int) -> None:
    """Kill the service, whose engine then ends wherever it is."""
    with Service(folder / "data") as service:
        load = SeveralHits(service, "killed")
        for number in range(times):
            with load.running():
                load.more(5)
                time.sleep(random.uniform(0, 1.2))
                service.kill()
            service.start()
            if number % 3 == 2:
                service.settled()
        _assert_all_counted(service, load)


def _assert_all_counted(service: Service, load: SeveralHits) -> None:
    verified(service)
    service.stop()
    counts = hits_by_message(service)
    lost = {hit: n for hit, n in load.hits.items() if counts.get(hit, 0) < n}
    assert not lost, "hits were lost"
    # The last request of a thread may have been kept and not answered.
    more = {hit: n for hit, n in counts.items() if n > load.hits[hit]}
    assert set(more) <= set(load.cut) and all(n == load.hits[hit] + 1 for hit, n in more.items())
    assert_verified(service)


def _kill_engine(folder: Path, times: int) -> None:
    """Kill the engine alone: recipients get their answers meanwhile, and nothing is lost."""
    with Service(folder / "data") as service:
        service.ready()
        load = SeveralHits(service, "killed", pause=0.01)
        for number in range(times):
            with load.running():
                load.more(5)
                time.sleep(random.uniform(0, 1.2))
                os.kill(service.engine(), signal.SIGKILL)
                load.more(5)
            if number % 3 == 2:
                service.settled()
        assert not load.cut
        _assert_all_counted(service, load)
        assert not load.wrong


def test_kills_of_the_embedded_engine(tmp_path: Path) -> None:
    _kill_embedded(tmp_path, EMBEDDED_KILLS)


def test_kills_of_the_engine_alone(tmp_path: Path) -> None:
    _kill_engine(tmp_path, EMBEDDED_KILLS)


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
def test_hundreds_of_kills_of_the_embedded_engine(tmp_path: Path) -> None:
    _kill_embedded(tmp_path, TORTURE_EMBEDDED_KILLS)


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
def test_hundreds_of_kills_of_the_engine_alone(tmp_path: Path) -> None:
    _kill_engine(tmp_path, TORTURE_EMBEDDED_KILLS)
