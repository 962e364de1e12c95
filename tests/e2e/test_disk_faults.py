"""Each step to the disk fails in each way: redirects stay right, drops are counted, figures agree.

What the embedded engine itself writes fails in tests/e2e/test_lost_parts.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.hit_load import Load
from tests.support.service import Service
from tests.support.torture import LONG, longer
from tests.support.two_tenants import shell

# The process asks a file which step fails now, and how.
FAULTS = """
import errno, os, time
from pathlib import Path
from types import SimpleNamespace
from sqlalchemy.exc import OperationalError
from app.events import feed
from app.storage import journal

def fail(step):
    try:
        name, code = Path({control!r}).read_text().split()
    except (FileNotFoundError, ValueError):
        return
    if name == step and code == "slow":
        time.sleep(0.1)
    elif name == step and step == "commit":
        raise OperationalError("commit", {{}}, OSError(getattr(errno, code), "injected"))
    elif name == step:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

def failing(step, work, applies=lambda *_: True):
    def run(*arguments, **more):
        if applies(*arguments):
            fail(step)
        return work(*arguments, **more)
    return run

def of_journal(path, *_):
    return path.parent.name == "journal" and path.suffix in (".new", ".open", ".seg")

names = {{name: getattr(os, name) for name in dir(os) if not name.startswith("__")}}
steps = {{step: failing(step, getattr(os, step)) for step in ("open", "write", "fdatasync")}}
journal.os = SimpleNamespace(**{{**names, **steps}})
for step in ("rename", "unlink", "read_bytes"):
    setattr(Path, step, failing(step, getattr(Path, step), of_journal))
feed.put = failing("commit", feed.put)
"""
STEPS = ("open", "write", "fdatasync", "rename", "unlink", "read_bytes", "commit")
CODES = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "slow")


class Faulty:
    def __init__(self, folder: Path, sync_ms: str) -> None:
        self._control = folder / "control"
        faults = FAULTS.format(control=str(self._control))
        self.service = Service(folder / "data", faults, MAILWAKE_JOURNAL_SYNC_MS=sync_ms)

    def set(self, step: str, code: str) -> None:
        self._control.write_text(f"{step} {code}")

    def end(self) -> None:
        self._control.unlink()


@pytest.fixture(params=["100", *(["0"] if LONG else [])])  # the default first
def faulty(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Faulty]:
    of = Faulty(tmp_path, request.param)
    with of.service:
        of.service.ready()
        yield of


def dropped(service: Service) -> float:
    families = text_string_to_metric_families(service.client.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "mailwake_dropped_total"
        and sample.labels["reason"] in ("disk_full", "disk_error")
    )


@longer
def test_every_step_fails_in_every_way(faulty: Faulty) -> None:
    service = faulty.service
    service.rewrite("faults", "<body>x")
    load = Load(service, "faults", pause=0.002)
    refused = set[str]()
    with load.running(2):
        for step in STEPS:
            for code in CODES:
                before = dropped(service)
                faulty.set(step, code)
                load.more(60)  # answered, whatever fails
                faulty.end()
                if dropped(service) > before:
                    refused.add(step)
                load.more(10)
        service.wait_for(
            lambda: "journal:" not in str(service.client.get("/healthz/full").json()["trouble"]),
            "a sound journal",
        )
        load.more(10)
    assert not load.wrong and not load.cut
    assert refused >= {"write"}  # drops were counted where nothing could be kept
    service.wait_for(
        lambda: service.client.get("/healthz/full").json()["journal"]["bytes"] == 0, "loading"
    )
    stats = service.stats("faults")
    counted = stats["opens"]["all"]["total"] + stats["clicks"]["all"]["total"]
    assert counted == len(load.answered) - dropped(service)
    assert "everything is equal" in shell(service, "verify")
