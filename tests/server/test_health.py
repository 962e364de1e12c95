"""What health checks say; e2e/test_faults.py and e2e/test_operations.py break the real parts."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.schemas.verification import Difference, Verification
from app.server import health as health_module
from app.server.health import Health
from app.storage.journal import Journal, Lag
from app.tasks import TaskState


class Parts:
    """A process's parts as far as its health needs them."""

    def __init__(self) -> None:
        self.lag = Lag(0, 0, 0, 0.0)
        self.journal = SimpleNamespace(trouble="", lag=lambda: self.lag)
        self.loader = SimpleNamespace(trouble="", ready=True, damaged=0)
        self.verified: Verification | None = None
        verifications = SimpleNamespace(latest=lambda: self.verified)
        self.states: list[TaskState] = []
        self.dropped: dict[str, int] = {}
        nothing = cast(Any, None)
        self.health = Health(
            nothing,
            cast(Journal, self.journal),
            nothing,
            cast(Any, self.loader),
            nothing,
            nothing,
            cast(Any, SimpleNamespace(states=lambda: self.states)),
            cast(Any, SimpleNamespace(verifications=verifications)),
        )
        self.health._tracking = cast(Any, SimpleNamespace(dropped=self.dropped))

    @property
    def trouble(self) -> list[str]:
        return list(self.health.status().trouble)


def test_each_trouble_is_said() -> None:
    parts = Parts()
    assert parts.trouble == []
    parts.loader.ready = False
    assert parts.trouble == ["ClickHouse has not responded yet"]
    parts.loader.trouble = "ClickHouse: no connection"
    parts.lag = Lag(3, 900, 40, 75.4)
    parts.states = [
        TaskState("live", "running", 0, None, "", 1.0),
        TaskState("erasures", "failing", 2, 1.0, "KeyError", 1.0),
    ]
    assert parts.trouble == [
        "ClickHouse: no connection",
        "the background task erasures is failing (KeyError, see the log)",
        "hits have waited for ClickHouse for 75 seconds",
    ]


def test_a_dropped_hit_is_said_for_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    parts = Parts()
    parts.dropped |= {"disk_full": 1, "bad_link": 9}
    assert parts.trouble == ["1 hits were answered but could not be stored"]
    now += health_module.LOST_SECONDS - 1
    assert parts.trouble
    now += 2
    assert parts.trouble == []
    parts.dropped["disk_error"] = 2
    assert parts.trouble == ["3 hits were answered but could not be stored"]


def test_a_damaged_segment_is_said_for_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    parts = Parts()
    assert parts.trouble == []
    parts.loader.damaged = 1
    assert parts.trouble == [
        "1 journal segments were damaged on the disk: see their .bad files",
    ]
    now += health_module.LOST_SECONDS + 1
    assert parts.trouble == []


def test_a_difference_that_is_not_repaired_is_trouble() -> None:
    parts = Parts()
    repaired = Difference("hits", "default", "01", 3, 0, True, "a segment")
    parts.verified = Verification(1.0, 1.0, 0.0, 2.0, 1, 3, 1, [repaired])
    assert parts.trouble == []
    parts.verified.differences.append(Difference("hits_by_agent", "default", "01", 0, 1, False))
    assert parts.trouble == [
        "verification has found 1 differences that are not repaired: run `mailwake verify`"
    ]
