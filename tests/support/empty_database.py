"""A data folder whose ClickHouse tables exist already, so that most services need not create them.

Migrations take a quarter of a first start's CPU time. A process of tests runs them once; services
get copies.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.paths import ROOT


def copy_empty_database(data_dir: Path) -> None:
    """Create a data folder with an empty chDB of the current version; chDB must not run there."""
    data_dir.mkdir(mode=0o700, parents=True)
    shutil.copytree(_original() / "chdb", data_dir / "chdb", symlinks=True)  # they are relative


@cache
def _original() -> Path:
    folder = Path(_temporary().name)
    subprocess.run(
        [sys.executable, "-m", "app", "migrate", "--data-dir", folder],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")},
        check=True,
        capture_output=True,
    )
    return folder


@cache
def _temporary() -> "TemporaryDirectory[str]":
    """Returns a folder that lasts as long as this process."""
    return TemporaryDirectory(prefix="mailwake-empty-")
