"""A disk that fills up: redirects work, drops are counted, and what is kept is exact in the end."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.hit_load import Load
from tests.support.programs import run
from tests.support.service import Service

MEGABYTES = 400
LEFT = 30  # megabytes: less than loading needs, more than the journal does


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yields a file system of its own, which needs root."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a file system of its own needs root")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path, left_megabytes: int) -> Path:
    """Fill a disk until at most so much is left; returns the file to delete."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > left_megabytes * 2**20:
            file.write(b"\0" * 65_536)
    return filler


def figure(service: Service, name: str) -> float:
    text = service.client.get("/metrics").text
    match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def trouble(service: Service) -> str:
    return " ".join(service.client.get("/healthz/full").json()["trouble"])


def waiting(service: Service) -> int:
    return int(service.client.get("/healthz/full").json()["journal"]["bytes"])


def test_a_disk_that_fills_and_has_room_again(disk: Path) -> None:
    with Service(disk / "data", MAILWAKE_DISK_RESERVE_MB="64") as service:
        service.ready()
        service.rewrite("full", "<body>x")
        load = Load(service, "full")
        with load.running(2):
            load.more(50)
            service.wait_for(lambda: figure(service, "mailwake_loaded_total") > 20, "loading")
            filler = fill(disk, LEFT)
            service.wait_for(lambda: "loading needs" in trouble(service), "a pause of loading")
            load.more(50)  # answered and kept, though nothing is loaded
            filler.unlink()
            filler = fill(disk, 0)
            load.more(50)  # answered; what cannot be kept is counted
            filler.unlink()
            service.wait_for(lambda: "journal:" not in trouble(service), "room")
            load.more(50)
        dropped = sum(
            figure(service, f'mailwake_dropped_total{{reason="{reason}"}}')
            for reason in ("disk_full", "disk_error")
        )
        service.wait_for(lambda: waiting(service) == 0, "an empty journal")
        # A query may have been cut off by the full disk; the next ones are answered.
        path = "/v1/newsletters/full/stats"
        service.wait_for(lambda: service.client.get(path).status_code == 200, "statistics")
        stats = service.stats("full")
        counted = stats["opens"]["all"]["total"] + stats["clicks"]["all"]["total"]
        assert counted == len(load.answered) - dropped
        service.wait_for(lambda: _is_equal(service), "a comparison that finds nothing")


def _is_equal(service: Service) -> bool:
    """Compare everything; a comparison may be cut off like any query, and says so (503)."""
    done = run(service, "-m", "app", "verify")
    refused = "the service responded with 503" in done.stderr + done.stdout
    assert refused or done.returncode == 0, done
    return "everything is equal" in done.stdout
