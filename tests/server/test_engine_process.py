"""The engine's process: started with the service, again after its end, and ended with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.storage.engine import SOCKET
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import Service, tracked_urls

HTML = '<a href="https://shop.example/">Shop</a>'


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data") as running:
        running.ready()
        yield running


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_without_the_engine_recipients_are_served_and_pages_say_why(service: Service) -> None:
    links = tracked_urls(service.rewrite("n", HTML)["html"])
    pid = service.engine()
    os.kill(pid, signal.SIGSTOP)  # neither dead nor alive: the worst
    for url in links:
        answer = service.client.get(url)
        assert answer.status_code in (200, 302), answer
    assert service.client.get("/readyz").status_code == 200
    os.kill(pid, signal.SIGKILL)
    for url in links:
        assert service.client.get(url).status_code in (200, 302)
    service.wait_for(lambda: service.engine() != pid, "another engine")
    service.ready()
    service.settled()
    stats = service.client.get("/v1/newsletters/n").json()
    assert stats["messages"] == 1
    state = service.client.get("/healthz/full").json()
    assert "engine" in [task["name"] for task in state["tasks"]]
    assert "has ended with status -9" in service.log.read_text()


def test_a_query_that_is_cut_off_is_a_503(service: Service) -> None:
    pid = service.engine()
    os.kill(pid, signal.SIGSTOP)
    asking = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys, httpx2; print(httpx2.get(sys.argv[1], headers={'authorization':"
            " sys.argv[2]}, timeout=None, trust_env=False).status_code)",
            f"{service.url}/v1/newsletters",
            service.client.headers["authorization"],
        ],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        asking.wait(1)
    os.kill(pid, signal.SIGKILL)
    assert asking.communicate(timeout=PATIENCE_SECONDS)[0].strip() in (b"503", b"200")


IMPATIENT = """
from app.server import engine_process
engine_process.PING_SECONDS, engine_process.SILENCE_SECONDS = 0.1, 2.0
"""


def test_an_engine_that_does_not_answer_is_replaced(tmp_path: Path) -> None:
    with Service(tmp_path / "data", IMPATIENT) as service:
        service.ready()
        pid = service.engine()
        os.kill(pid, signal.SIGSTOP)
        service.wait_for(lambda: gone(pid), "its end")
        service.wait_for(lambda: service.engine() != pid, "another engine")
        service.ready()
        assert "has not answered for 2 s" in service.log.read_text()


def test_it_ends_with_the_service(service: Service) -> None:
    pid = service.engine()
    service.stop()
    wait_for(lambda: gone(pid), "its end")
    assert not (service.data_dir / SOCKET).exists()
    service.start()
    service.ready()
    pid = service.engine()
    service.kill()
    wait_for(lambda: gone(pid), "its end")


def test_a_database_that_another_process_has_open(tmp_path: Path) -> None:
    holding = (
        "import sys\nfrom app.settings.load import load\n"
        "from app.storage.clickhouse import Storage\n"
        "storage = Storage(load())\nstorage.query('SELECT 1', {})\n"
        "print(flush=True)\nsys.stdin.read()"
    )
    with Service(tmp_path / "data") as service:
        service.ready()
        service.stop()
        holder = subprocess.Popen(
            [sys.executable, "-c", holding],
            env=service.env,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout and holder.stdin
        holder.stdout.readline()
        service.start()
        assert service.client.get("/readyz").status_code == 200
        service.wait_for(lambda: "has ended with status 1" in service.log.read_text(), "the log")
        assert service.client.get("/healthz/full").status_code == 503
        holder.stdin.close()
        holder.wait(PATIENCE_SECONDS)
        service.ready()
        holder.stdout.close()


NEEDED = """
from app.server import engine_process
from app.settings.load import load
assert all(engine_process.needed(load()) for _ in range(200))
"""


def test_processes_that_start_at_once_all_find_unix_sockets(tmp_path: Path) -> None:
    """As workers do: one that found none would open the engine itself, and fail for ever."""
    env = {**os.environ, "MAILWAKE_DATA_DIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", NEEDED], env=env, cwd=ROOT) for _ in range(4)
    ]
    assert [process.wait(PATIENCE_SECONDS) for process in started] == [0] * 4
    assert not [*tmp_path.iterdir()]
