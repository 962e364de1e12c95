"""Half an hour under load: nothing is lost, and memory, files and latency stay where they were."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import FirstStart, Service
from tests.support.soak_load import NEWSLETTER, RATE

MINUTES = int(os.environ.get("MAILWAKE_SOAK_MINUTES", "30"))
WARM = min(5, MINUTES // 4)  # minutes that are not looked at
EVERY = 5.0  # seconds between samples


def sample(service: Service) -> dict[str, float]:
    """What must not grow, and what grows with what is kept (`state_mb`, `data_mb`)."""
    assert service.process
    of = Path(f"/proc/{service.process.pid}")
    told = dict(line.split(":", 1) for line in (of / "status").read_text().splitlines())
    sizes: list[int] = []
    for path in (service.data_dir / "journal").iterdir():
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return {
        "at": time.monotonic(),
        "memory_mb": int(told["VmRSS"].split()[0]) / 1024,
        "threads": int(told["Threads"]),
        "open_files": len(list((of / "fd").iterdir())),
        "journal_files": len(sizes),
        "journal_mb": sum(sizes) / 2**20,
        "files": sum(len(files) for _, _, files in os.walk(service.data_dir)),
        "state_mb": sum(p.stat().st_size for p in service.data_dir.glob("state.db*")) / 2**20,
        "data_mb": size(service.data_dir) / 2**20,
    }


def size(folder: Path) -> int:
    found = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                found += (Path(root) / name).stat().st_size
    return found


@contextmanager
def visitors(service: Service) -> Iterator[None]:
    """People who look at the live page for a while and leave, and programs that read events."""
    stop = threading.Event()

    def come_and_go() -> None:
        with httpx2.Client(
            base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS
        ) as browser:
            service.login(browser)
            while not stop.is_set():
                with browser.stream("GET", f"/newsletters/{NEWSLETTER}/live") as live:
                    until = time.monotonic() + 3
                    for _ in live.iter_bytes():
                        if time.monotonic() > until or stop.is_set():
                            break
                browser.get(f"/newsletters/{NEWSLETTER}")
                service.stats(NEWSLETTER)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
def test_under_load_everything_stays_flat(tmp_path: Path) -> None:
    with FirstStart(tmp_path / "data") as service:
        service.rewrite(NEWSLETTER, '<a href="https://example.com/landing">x</a>')
        service.drained()
        command = [
            sys.executable,
            "-m",
            "tests.support.soak_load",
            str(service.port),
            str(service.data_dir),
        ]
        told: list[dict[str, Any]] = []
        taken: list[dict[str, float]] = []
        with (
            visitors(service),
            subprocess.Popen([*command, str(MINUTES)], stdout=subprocess.PIPE, text=True) as load,
        ):
            assert load.stdout
            output = load.stdout
            reading = threading.Thread(target=lambda: told.extend(map(json.loads, output)))
            reading.start()
            while load.poll() is None:
                taken.append(sample(service))
                print(json.dumps(taken[-1]), json.dumps(told[-1:]), flush=True)
                time.sleep(EVERY)
            reading.join()
        assert load.returncode == 0
        service.drained(300)
        end = told.pop()
        assert (end["waiting"], end["wrong"], end["lost"]) == (0, 0, 0), end
        stats = service.stats(NEWSLETTER)
        counted = {kind: stats[kind]["all"]["total"] for kind in ("opens", "clicks")}
        assert counted == {"opens": end["opens"], "clicks": end["clicks"]}
        assert sum(minute["sent"] for minute in told) == MINUTES * RATE * 60
        for line in flatness(told, taken):
            print(line)
        assert_flat(told, taken)


def thirds(values: Sequence[float], of: Callable[[Sequence[float]], float]) -> tuple[float, float]:
    """The first and the last third of what follows the warm-up."""
    part = max(1, len(values) // 3)
    return of(values[:part]), of(values[-part:])


def series(told: list[dict[str, Any]], taken: list[dict[str, float]]) -> dict[str, Any]:
    warm = [one for one in taken if one["at"] - taken[0]["at"] >= WARM * 60]
    found: dict[str, Any] = {
        name: thirds([one[name] for one in warm], median) for name in warm[0] if name != "at"
    }
    for name in ("median_ms", "p99_ms", "burst_ms", "peak"):
        found[name] = thirds([minute[name] for minute in told[WARM:]], median)
    return found


def flatness(told: list[dict[str, Any]], taken: list[dict[str, float]]) -> Iterator[str]:
    for name, (first, last) in series(told, taken).items():
        yield f"{name:14}{first:12.2f}{last:12.2f}"


def assert_flat(told: list[dict[str, Any]], taken: list[dict[str, float]]) -> None:
    of = series(told, taken)
    for name, ratio, more in (
        ("memory_mb", 1.1, 30),
        ("threads", 1, 4),
        ("open_files", 1.3, 20),
        ("journal_files", 1.5, 10),
        ("journal_mb", 1.5, 8),
        ("files", 1.5, 200),
        ("median_ms", 2, 5),
        ("p99_ms", 2, 50),
        ("burst_ms", 2, 500),
    ):
        first, last = of[name]
        assert last <= first * ratio + more, (name, first, last)
