"""Measures the CPU time of commands, and until `serve` answers /healthz on an existing folder."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from tests.bench import size
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import free_port

ROUNDS = size("ROUNDS", 5, 1)
POLL_SECONDS = 0.005
COMMANDS = ("version", "--help", "keys list", "users list", "set-aside list", "doctor")
PROGRAM = (sys.executable, "-m", "app")


def main() -> None:
    """Print the least of some rounds. Python's compiled modules are there from the second on."""
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env["MAILWAKE_DATA_DIR"] = folder
        print(f"bare python: {min(command(env, '-c', 'pass') for _ in range(ROUNDS)):.3f} s of CPU")
        for words in COMMANDS:
            seconds = min(command(env, "-m", "app", *words.split()) for _ in range(ROUNDS))
            print(f"mailwake {words}: {seconds:.3f} s of CPU")
        wall, cpu = min(serve(env) for _ in range(ROUNDS))
        print(
            f"mailwake serve, to /healthz: {cpu:.2f} s of CPU without the engine's process,"
            f" {wall:.2f} s by the clock"
        )


def command(env: dict[str, str], *words: str) -> float:
    """Returns the CPU seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=env, cwd=ROOT, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def serve(env: dict[str, str]) -> tuple[float, float]:
    """Returns the seconds by the clock and of CPU until /healthz answers."""
    port = free_port()
    start = time.monotonic()
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", str(port)],
        env=env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answers(port) and time.monotonic() < start + PATIENCE_SECONDS:
            time.sleep(POLL_SECONDS)
        wall = time.monotonic() - start
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return wall, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    """Returns whether the service answers."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx2.HTTPError:
        return False


if __name__ == "__main__":
    main()
