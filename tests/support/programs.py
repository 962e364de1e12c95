"""Runs programs over a service's data folder, with its environment."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

_COUNT = """
import json
from app.settings.load import load
from app.storage.clickhouse import Storage
rows = Storage(load()).query(
    "SELECT lower(replaceAll(toString(message), '-', '')) AS message, toInt64(sum(sign)) AS n"
    " FROM hits GROUP BY message", {})
print(json.dumps({row["message"]: row["n"] for row in rows}))
"""


def run(service: Service, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run a Python program, which reads `answer`; `-m app` and a command is `mailwake`."""
    return subprocess.run(
        [sys.executable, *words],
        env=service.env,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        input=answer,
    )


def hits_by_message(service: Service) -> dict[str, int]:
    """Returns how many hits the embedded engine has of each message; the service must not run."""
    done = run(service, "-c", _COUNT)
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


def assert_verified(service: Service) -> None:
    """Assert that journal, hits, roll-ups and feed are equal."""
    done = run(service, "-m", "app", "verify")
    assert (done.returncode, done.stdout.split("\n")[-2:]) == (0, ["everything is equal", ""]), done


def verified(service: Service) -> None:
    """Wait until no journal segment is doubtful: what was loaded twice counts twice until then."""

    def none_is_doubtful() -> bool:
        with closing(sqlite3.connect(service.data_dir / "state.db", timeout=30)) as state:
            return not state.execute("SELECT 1 FROM segments WHERE doubtful").fetchone()

    service.settled()
    service.wait_for(none_is_doubtful, "verification")
    service.settled()  # repaired hits are classified once more
