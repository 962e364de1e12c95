"""Every benchmark runs, at its smallest size: what it measures is printed and not judged here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.bench.__main__ import BENCHES
from tests.bench.compare import compared
from tests.bench.figures import Run, figures
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS

# Their parts are tested elsewhere, or they take minutes at any size.
LONGER = {"costs": "tests/security/test_costs.py", "hits": "chain", "rewrite": "make bench's lock"}


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_runs(name: str) -> None:
    if name in LONGER:
        pytest.skip(f"{name}: {LONGER[name]}")
    run = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{name}"],
        env={**os.environ, "BENCH_SMALL": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    if name != "chain" or shutil.which("wrk"):
        assert any(character.isdigit() for character in run.stdout), run.stdout


def test_runs_are_compared(tmp_path: Path) -> None:
    env, old, new = {**os.environ, "BENCH_SMALL": "1"}, tmp_path / "1.json", tmp_path / "2.json"
    for path in (old, new):
        command = [sys.executable, "-m", "tests.bench", str(path), "verdicts"]
        subprocess.run(command, env=env, cwd=ROOT, check=True, timeout=PATIENCE_SECONDS)
    run = msgspec.json.decode(old.read_bytes(), type=Run)
    assert list(run.figures) == ["verdicts"]
    assert run.figures["verdicts"]["recall of people #, of machines # [1]"] > 0
    command = [sys.executable, "-m", "tests.bench.compare", str(old), str(new)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "\nverdicts\n" in done.stdout and "recall" not in done.stdout


def test_a_figure_is_a_number_of_a_line() -> None:
    lines = [
        "open            14,647     0.67     p99 2.5",
        "compile, 50 KB with 30 links: 1.25 ms",
        "k6 at 2 a second, 1.2.3",
        "k6 at 3 a second, 1.2.3",
        "nothing",
    ]
    found = figures(lines)
    assert list(found.items()) == [
        ("open # # p99 # [1]", 14647),
        ("open # # p99 # [2]", 0.67),
        ("open # # p99 # [3]", 2.5),
        ("compile, # KB with # links: # ms [1]", 50),
        ("compile, # KB with # links: # ms [2]", 30),
        ("compile, # KB with # links: # ms [3]", 1.25),
        ("k6 at # a second, 1.2.3", 2),
        ("k6 at # a second, 1.2.3 (2)", 3),
    ]


def test_what_differs_is_printed_with_its_ratio() -> None:
    old = Run("a", "1", {"queries": {"same": 1.0, "slower": 2.0, "from nothing": 0.0, "gone": 5.0}})
    new = Run("b", "2", {"queries": {"same": 1.0, "slower": 5.0, "from nothing": 3.0, "more": 7.0}})
    text = "\n".join(compared(old, new))
    rows = [line.split() for line in text.splitlines()]
    assert ["2", "5", "2.50", "slower"] in rows and ["7", "more"] in rows
    assert ["0", "3", "from", "nothing"] in rows
    assert "same" not in text and "1 figures of the old run" in text
