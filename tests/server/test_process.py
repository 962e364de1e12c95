"""One service a data folder with the embedded engine; e2e/test_operations.py and test_kills.py
have what else a process does."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, free_port


def second(data_dir: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Start another service, which ends at once."""
    own = {
        **os.environ,
        "MAILWAKE_DATA_DIR": str(data_dir),
        "MAILWAKE_PORT": str(free_port()),
        "COLUMNS": "400",
        **env,
    }
    return subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_a_second_service_of_a_folder_ends_with_the_firsts_process_id(tmp_path: Path) -> None:
    """It had answered 503 for ever, with a line of the log each second."""
    with Service(tmp_path / "data") as service:
        service.ready()
        assert service.process
        ended = second(service.data_dir)
        assert ended.returncode == 2
        assert "MAILWAKE_DATA_DIR" in ended.stderr
        assert f"in use by another service (process {service.process.pid})" in ended.stderr
        assert service.rewrite("alone", "<p>x</p>")["html"]
        service.kill()
        service.start()  # a lock ends with its process
        service.ready()


def test_a_misspelt_setting_gets_a_suggestion(tmp_path: Path) -> None:
    with Service(tmp_path / "data", MAILWAKE_CLICKHOSE_DSN="x") as service:
        service.ready()
        said = service.log.read_text()
    assert "unknown setting MAILWAKE_CLICKHOSE_DSN is ignored" in said
    assert "did you mean MAILWAKE_CLICKHOUSE_DSN?" in said
