"""Measures the whole chain of a hit: answered, journaled, classified, loaded, looked at once more.

A real service with the embedded engine gets opens and clicks, and its CPU time is counted until the
last of them is in ClickHouse and settled. A bare uvicorn application that answers 43 bytes is
measured in turn. CPU time hardly depends on what else the machine does, rates do. Needs wrk.
`ROUNDS` and `SECONDS` are variables of the environment.
"""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import size
from tests.bench.handlers import KEY
from tests.bench.hits import Subject, handler, load_script, wrk
from tests.support.service import TICKS, Service

ROUNDS = size("ROUNDS", 3, 1)
SECONDS = size("SECONDS", 5, 1)
MESSAGES = size("MESSAGES", 200_000, 20_000)


class Cost(NamedTuple):
    """Requests a second while loading, and CPU microseconds of each until all is settled."""

    rate: float
    microseconds: float


def run() -> None:
    """Print everything in one run."""
    if not shutil.which("wrk"):
        print("wrk is not installed (apt-get install wrk): left out")
        return
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        load = load_script(folder, "open", MESSAGES)
        pid, port = stack.enter_context(handler("bare ASGI", folder, "0,1"))
        service = stack.enter_context(Service(folder / "data", MAILWAKE_SECRET_KEYS=KEY))
        service.ready()
        costs: dict[str, list[Cost]] = {"bare ASGI": [], "open": [], "click": []}
        for _ in range(ROUNDS):
            before = _cpu(pid)
            taken = wrk(Subject("bare ASGI", pid, port, load, "0,1"), SECONDS)
            costs["bare ASGI"].append(_cost(taken.rate, _cpu(pid) - before))
            for kind in ("open", "click"):
                load = load_script(folder, kind, MESSAGES)  # of new messages: one hit each
                service.settled()
                used = service.cpu_seconds()
                taken = wrk(Subject(kind, 0, service.port, load, "0,1"), SECONDS)
                service.settled()
                costs[kind].append(_cost(taken.rate, service.cpu_seconds() - used))
    medians = {name: Cost(*map(median, zip(*each))) for name, each in costs.items()}  # noqa: B905
    bare = medians["bare ASGI"]
    print(f"{'':12}{'a second':>10}{'of bare':>9}{'CPU us':>9}{'of bare':>9}")
    for name, cost in medians.items():
        ratios = cost.rate / bare.rate, cost.microseconds / bare.microseconds
        print(
            f"{name:12}{cost.rate:10,.0f}{ratios[0]:9.2f}{cost.microseconds:9.1f}{ratios[1]:9.2f}"
        )


def _cost(rate: float, cpu_seconds: float) -> Cost:
    return Cost(rate, cpu_seconds / (rate * SECONDS) * 1e6)


def _cpu(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


if __name__ == "__main__":
    run()
