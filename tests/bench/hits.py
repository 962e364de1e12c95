"""Measures hits a second at 64 connections: Mailwake, uvicorn alone, PostgreSQL and nginx.

PostgreSQL inserts a row per hit. Needs wrk, and nginx and PostgreSQL for their parts (all
Debian's). Every round runs each in turn; medians and ratios are printed. `ROUNDS` and `SECONDS` are
variables of the environment.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx2

from tests.bench import size
from tests.bench.handlers import AGENT, MESSAGES, paths
from tests.support.service import free_port

ROUNDS = size("ROUNDS", 5, 1)
SECONDS = size("SECONDS", 3, 1)
CONNECTIONS = size("CONNECTIONS", 64, 2)
LOAD = """
local paths = {%s}
local n = 0
request = function()
  n = n %% #paths + 1
  return wrk.format("GET", paths[n], {["User-Agent"] = "%s"})
end
"""
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ empty_gif; }} }} }}
"""
TABLE = (
    "CREATE TABLE opens (id bigserial PRIMARY KEY, at timestamptz, message text,"
    " newsletter numeric, recipient numeric, address text, agent text)"
)


class Taken(NamedTuple):
    """Requests a second, and the 99th percentile of their times in milliseconds."""

    rate: float
    p99: float


class Subject(NamedTuple):
    """A server whose `port` answers the paths of `load`; `cores` is what the server has."""

    name: str
    pid: int
    port: int
    load: Path
    cores: str


def run() -> None:
    """Print everything in one run."""
    if not shutil.which("wrk"):
        print("wrk is not installed (apt-get install wrk nginx-light postgresql): left out")
        return
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        loads = {kind: load_script(folder, kind) for kind in ("open", "click")}
        subjects = list(_subjects(folder, loads, stack))
        taken: dict[str, list[Taken]] = {subject.name: [] for subject in subjects}
        memory: list[int] = []
        for _ in range(ROUNDS):
            for subject in subjects:
                taken[subject.name].append(wrk(subject))
                _forget(folder)
                if subject.name == "opens, sync 100 ms":
                    memory.append(_resident(subject.pid))
        _print({name: Taken(*map(median, zip(*runs))) for name, runs in taken.items()})  # noqa: B905
        print(f"memory of the handler after each round, MB: {', '.join(map(str, memory))}")


def _subjects(folder: Path, loads: dict[str, Path], stack: ExitStack) -> Iterator[Subject]:
    opens, clicks = loads["open"], loads["click"]
    yield Subject("bare ASGI", *stack.enter_context(handler("bare ASGI", folder, "0")), opens, "0")
    for sync in ("sync 100 ms", "sync 0"):
        served = stack.enter_context(handler(sync, folder, "0"))
        yield Subject(f"opens, {sync}", *served, opens, "0")
        yield Subject(f"clicks, {sync}", *served, clicks, "0")
    if shutil.which("nginx"):
        yield Subject("nginx empty_gif", *stack.enter_context(_nginx(folder)), opens, "0")
    if dsn := stack.enter_context(_postgresql("0")):
        os.environ["BENCH_POSTGRESQL"] = dsn
        served = stack.enter_context(handler("PostgreSQL", folder, "0"))
        yield Subject("PostgreSQL, one core", *served, opens, "0")
    if dsn := stack.enter_context(_postgresql("0,1")):
        os.environ["BENCH_POSTGRESQL"] = dsn
        served = stack.enter_context(handler("PostgreSQL", folder, "0,1"))
        yield Subject("PostgreSQL, both cores", *served, opens, "0,1")
        served = stack.enter_context(handler("sync 0", folder / "both", "0,1"))
        yield Subject("opens, sync 0, both cores", *served, opens, "0,1")


def load_script(folder: Path, kind: str, messages: int = MESSAGES) -> Path:
    """Write what wrk is to request; returns the file."""
    script = folder / f"{kind}.lua"
    script.write_text(LOAD % (",".join(map(json.dumps, paths(kind == "click", messages))), AGENT))
    return script


def wrk(subject: Subject, seconds: int = SECONDS) -> Taken:
    """Run the load on the second core, or on both with the server."""
    pinned = ["taskset", "-c", "1"] if subject.cores == "0" else []
    out = subprocess.run(
        [
            *pinned,
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "--latency",
            "-s",
            str(subject.load),
            f"http://127.0.0.1:{subject.port}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    errors = re.search(r"Socket errors.*|Non-2xx or 3xx.*", out)
    assert rate and p99 and not errors, f"{subject.name}: {out}"
    return Taken(float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]])


@contextmanager
def _process(command: Sequence[str], cores: str) -> Iterator[int]:
    process = subprocess.Popen(["taskset", "-c", cores, *command], stderr=subprocess.DEVNULL)
    try:
        yield process.pid  # taskset becomes the command
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()


@contextmanager
def handler(name: str, folder: Path, cores: str) -> Iterator[tuple[int, int]]:
    """Run a server of `handlers` on some cores; yields its process id and port."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.handlers", name, str(port), str(folder)]
    with _process(command, cores) as pid:
        _wait(port)
        yield pid, port


@contextmanager
def _nginx(folder: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    with _process(["nginx", "-c", str(config), "-e", str(folder / "nginx.log")], "0") as pid:
        _wait(port)
        yield pid, port


@contextmanager
def _postgresql(cores: str) -> Iterator[str]:
    """Yields a new server's DSN with the table in it, or an empty one without PostgreSQL."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not homes:
        yield ""
        return
    # It refuses to run as root; Debian's package creates the user postgres.
    switch = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        if switch:
            shutil.chown(name, "postgres")
        data, port = f"{name}/data", free_port()
        initdb = [*switch, str(homes[-1] / "initdb"), "-A", "trust", "-U", "bench", "-D", data]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL)
        server = [*switch, str(homes[-1] / "postgres"), "-D", data, "-p", str(port), "-k", name]
        with _process([*server, "-c", "listen_addresses=127.0.0.1"], cores):
            dsn = f"postgresql://bench@127.0.0.1:{port}/postgres"
            for _ in range(100):
                created = subprocess.run(
                    ["psql", dsn, "-qc", TABLE], capture_output=True, check=False
                )
                if created.returncode == 0:
                    break
                time.sleep(0.1)
            yield dsn


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            httpx2.get(f"http://127.0.0.1:{port}/o/x.gif", trust_env=False)
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing answers on port {port}")


def _resident(pid: int) -> int:
    """Returns resident memory in megabytes."""
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) // 1024 if match else 0


def _forget(folder: Path) -> None:
    """Delete sealed journal segments, as loading would."""
    for path in folder.rglob("*.seg"):
        path.unlink()


def _print(taken: dict[str, Taken]) -> None:
    print(f"{'':28}{'a second':>10}{'of bare':>9}{'p99 ms':>8}{'of bare':>9}")
    bare = taken["bare ASGI"]
    for name, (rate, p99) in taken.items():
        of_bare = f"{rate / bare.rate:9.2f}{p99:8.2f}{p99 / bare.p99:9.2f}"
        print(f"{name:28}{rate:10,.0f}{of_bare}")
    for ours, theirs in (
        ("opens, sync 0", "PostgreSQL, one core"),
        ("opens, sync 100 ms", "PostgreSQL, one core"),
        ("opens, sync 0, both cores", "PostgreSQL, both cores"),
    ):
        if theirs in taken:
            print(f"{ours} / {theirs}: {taken[ours].rate / taken[theirs].rate:.1f} times")


if __name__ == "__main__":
    run()
