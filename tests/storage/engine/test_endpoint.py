"""The engine's process, as clickhouse-connect and others ask it."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from app.storage import engine_client
from app.storage.engine import LOCK, SOCKET, STOP
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for


@contextmanager
def engine_of(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.storage.engine", str(folder)], cwd=ROOT, stdin=subprocess.PIPE
    )
    assert process.stdin
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("data")
    with engine_of(path):
        wait_for((path / SOCKET).exists, "the socket")
        yield path


@pytest.fixture
def http(folder: Path) -> Iterator[httpx2.Client]:
    transport = httpx2.HTTPTransport(uds=str(folder / SOCKET))
    with httpx2.Client(
        base_url="http://localhost", transport=transport, timeout=PATIENCE_SECONDS
    ) as client:
        yield client


def test_only_the_user_of_the_service_can_connect(folder: Path) -> None:
    assert (folder / SOCKET).stat().st_mode & 0o777 == 0o600


def test_the_client_of_the_service(folder: Path) -> None:
    client = engine_client.connect(folder, 1, {"max_threads": 1})
    assert client.query("SELECT {a:String}, getSetting('max_threads')", {"a": "b"}).result_rows == [
        ("b", 1)
    ]
    client.command("CREATE TABLE rows (n UInt8) ENGINE = MergeTree ORDER BY n")
    client.raw_insert("rows", insert_block=b'{"n":1}\n{"n":2}\n', fmt="JSONEachRow")
    assert client.query("SELECT sum(n) FROM rows").result_rows == [(3,)]
    assert client.raw_query("SELECT n FROM rows ORDER BY n", fmt="CSV") == b"1\n2\n"
    client.close()


def test_ping_and_errors(http: httpx2.Client) -> None:
    assert http.get("/ping").text == "Ok.\n"
    for request, status, code, text in (
        ({"query": "SELECT"}, 400, "62", "Syntax error"),
        ({"query": ""}, 400, "62", "Syntax error"),
        ({"query": "SELECT * FROM none"}, 404, "60", "UNKNOWN_TABLE"),
        ({"query": "SELECT 1", "no_such_setting": "1"}, 404, "115", "no_such_setting"),
        ({"query": "SELECT 1", "compress": "1"}, 501, "48", "compression"),
    ):
        answer = http.post("/", params=request)
        assert answer.status_code == status, answer.text
        assert answer.headers["x-clickhouse-exception-code"] == code and text in answer.text
    answer = http.get("/", params={"query": "CREATE TABLE never (n UInt8) ENGINE = Memory"})
    assert answer.status_code == 500 and "READONLY" in answer.text
    answer = http.post("/", content=b"x", headers={"content-encoding": "br"})
    assert answer.status_code == 500 and "Unknown compression method" in answer.text
    answer = http.post("/", files={"rows": b"1"}, data={"query": "SELECT 1"})
    assert answer.status_code == 501 and "External data (rows)" in answer.text
    answer = http.post("/", files={"query": (None, "SELECT 7 FORMAT TSV")})
    assert answer.text == "7\n"


def test_signals_to_all_processes_do_not_end_it(folder: Path, http: httpx2.Client) -> None:
    (pid,) = (
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(folder).encode() in path.read_bytes()
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, number)
        assert http.get("/ping").status_code == 200


def test_it_waits_for_the_one_before_and_ends_with_the_service(tmp_path: Path) -> None:
    lock = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with engine_of(tmp_path) as process:
        assert process.stdin
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert not (tmp_path / SOCKET).exists()
        os.close(lock)
        wait_for((tmp_path / SOCKET).exists, "the socket")
        process.stdin.write(STOP)
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not (tmp_path / SOCKET).exists()
    with engine_of(tmp_path) as process:  # and without a word, it was killed
        assert process.stdin
        wait_for((tmp_path / SOCKET).exists, "the socket")
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 1
