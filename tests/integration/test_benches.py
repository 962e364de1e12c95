"""Every benchmark runs, at its smallest size: what it measures is printed and not judged here."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.bench.__main__ import BENCHES
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
