import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.ingest.loader import Loader
from app.ops import metrics
from app.ops.metrics import Metrics
from app.schemas.verification import Difference, Verification
from app.storage.disk import DiskReserve
from app.storage.journal import Journal
from app.tasks import TaskState


class Parts:
    """What the figures are read from, with a real journal."""

    def __init__(self, folder: Path) -> None:
        self.loader = SimpleNamespace(trouble="", loaded=0, unreadable=0, damaged=0, on_load=None)
        self.verified: Verification | None = None
        self.hits = {"open": 2, "click": 1}
        self.journal = Journal(folder)
        self.hooks: dict[str, int] = {}
        self.metrics = Metrics(
            self.journal,
            cast(Loader, self.loader),
            self.hits,
            {"bad_link": 4},
            {"head": 8},
            lambda: {"requests": 9},
            DiskReserve(folder, 10**9),
            lambda: 5,
            lambda: 6,
            lambda: self.hooks,
            {},
            lambda: 7,
            lambda: [TaskState("loader", "failing", 3, 1.0, "KeyError: 'x'", 1.0)],
            lambda: self.verified,
        )

    def figures(self) -> dict[Any, float]:
        families = text_string_to_metric_families(self.metrics.text().decode())
        return {
            (sample.name.removeprefix("mailwake_"), *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
            if not sample.name.endswith("_created")
        }


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def test_figures_are_read_when_they_are_asked_for(parts: Parts) -> None:
    before = parts.figures()
    assert before["hits_total", "open"] == 2 and before["dropped_total", "bad_link"] == 4
    assert before["connections_refused_total", "head"] == 8
    assert (before["viewers",], before["corrected_total",], before["unproven_total",]) == (5, 6, 7)
    parts.hits["open"] += 10
    parts.loader.loaded, parts.loader.unreadable = 20, 3
    parts.hooks = {"waiting": 8, "dead": 9}
    after = parts.figures()
    assert after["hits_total", "open"] == 12
    assert (after["loaded_total",], after["unreadable_total",]) == (20, 3)
    hooks = [after[f"webhooks_{state}",] for state in ("waiting", "dead", "off")]
    assert hooks == [8, 9, 0]


def test_the_journal_is_measured_and_trouble_is_one_or_none(parts: Parts) -> None:
    async def write() -> None:
        await parts.journal.write(b"{}\n")

    asyncio.run(write())
    assert parts.figures()["journal_events",] == 1
    assert parts.figures()["journal_bytes",] == 3
    assert parts.figures()["load_trouble",] == 0
    parts.loader.trouble = "ClickHouse is down"
    assert parts.figures()["load_trouble",] == 1


def test_each_load_is_a_time(parts: Parts) -> None:
    for seconds in (0.02, 0.2, 100):
        parts.loader.on_load(seconds)
    figures = parts.figures()
    assert figures["load_seconds_count",] == 3
    assert figures["load_seconds_bucket", "0.03"] == 1
    assert figures["load_seconds_bucket", "30.0"] == 2


def test_a_blocked_event_loop_is_seen(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PULSE_SECONDS", 0.001)

    async def main() -> None:
        task = asyncio.create_task(parts.metrics.pulse())
        while parts.figures()["loop_delay_seconds_count",] < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert parts.figures()["loop_delay_seconds_count",] >= 3


def test_names_follow_prometheus_practice(parts: Parts) -> None:
    text = parts.metrics.text().decode()
    for line in text.splitlines():
        if line.startswith("# TYPE mailwake_") and line.endswith(" counter"):
            assert line.split()[2].endswith("_total"), line
    assert "process_resident_memory_bytes" in text


def test_what_the_latest_verification_has_found(parts: Parts) -> None:
    assert parts.figures()["verified_seconds",] == 0
    differences = [
        Difference("hits", "default", "01", 3, 0, repaired) for repaired in (True, True, False)
    ]
    parts.verified = Verification(77.0, 1.0, 0.0, 2.0, 1, 3, 1, differences)
    parts.loader.damaged = 4
    figures = parts.figures()
    assert figures["verified_seconds",] == 77
    assert figures["verified_differences",] == 3 and figures["verified_unrepaired",] == 1
    assert figures["damaged_total",] == 4
