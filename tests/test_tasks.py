import ast
import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app import tasks as tasks_module
from app.tasks import Tasks
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.service import Service, paths, tracked_urls

# Where tasks of one request, mail, connection or delivery are created, which end with it.
SHORT_LIVED = {
    "app.demo.traffic",
    "app.events.webhook_worker",
    "app.messages.templates",
    "app.server.engine_process",  # it watches one process
    "app.server.process",  # the demo's traffic
    "app.smtp.gateway",
    "app.storage.engine.serving",  # a process of its own, which ends with it
    "app.storage.journal",  # one fdatasync
    "app.storage.leases",
    "app.tasks",
    "app.web.dashboard.live",
}
WITH_POSTGRESQL = {"last known", "postgresql"}  # see server/test_recipients_only.py


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(tasks_module, "LAST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(tasks_module, "HEALTHY_SECONDS", 0.05)


def test_a_task_that_fails_begins_again_and_shows_why() -> None:
    class Failing:
        runs = 0

        async def run(self) -> None:
            self.runs += 1
            if self.runs <= 3:
                raise KeyError(f"number {self.runs}")
            await asyncio.Event().wait()

    async def test() -> None:
        tasks, failing = Tasks(), Failing()
        tasks.start("x", failing.run)
        await until(lambda: failing.runs == 4)
        (state,) = tasks.states()
        assert (state.name, state.failures) == ("x", 3)
        if state.state == "failing":  # not for long
            assert state.reason == "KeyError" and state.failing_since == state.ok_at
        await until(lambda: tasks.states()[0].state == "running")
        (state,) = tasks.states()
        assert (state.failures, state.failing_since, state.reason) == (3, None, "")
        tasks.cancel()
        await tasks.ended()
        assert tasks.states()[0].state == "ended"

    asyncio.run(test())


def test_a_task_that_ends_is_not_begun_again() -> None:
    async def test() -> None:
        tasks, runs = Tasks(), list[int]()

        async def run() -> None:
            runs.append(1)

        await tasks.start("once", run)
        await asyncio.sleep(0.02)
        assert runs == [1] and tasks.states()[0].state == "ended"

    asyncio.run(test())


def test_a_failing_task_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is spared by `cancel` or not: it pauses, and nothing can come of it any more."""
    monkeypatch.setattr(tasks_module, "FIRST_PAUSE_SECONDS", 10 * PATIENCE_SECONDS)

    async def test() -> None:
        tasks, runs = Tasks(), list[int]()

        async def run() -> None:
            runs.append(1)
            raise OSError("a name of a person")

        tasks.start("x", run)
        await until(lambda: tasks.states()[0].failures == 1)
        assert tasks.states()[0].reason == "OSError"  # the rest is for the log
        tasks.cancel(but=["x"])
        await asyncio.wait_for(tasks.ended(), PATIENCE_SECONDS)
        assert runs == [1]

    asyncio.run(test())


def test_some_tasks_end_later() -> None:
    async def test() -> None:
        tasks = Tasks()
        forever = asyncio.Event()

        async def run() -> None:
            await forever.wait()

        first = tasks.start("first", run)
        second = tasks.start("second", run)
        tasks.cancel(but=["second"])
        with suppress(asyncio.CancelledError):
            await first
        assert not second.done()
        forever.set()
        await tasks.ended()

    asyncio.run(test())


def _calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def _started() -> set[str]:
    """The names of all supervised tasks in the program."""
    return {
        str(call.args[0].value)
        for path in (ROOT / "app").rglob("*.py")
        for call in _calls(path)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "start"
        and len(call.args) == 2
        and isinstance(call.args[0], ast.Constant)
    }


def test_no_other_task_lives_long() -> None:
    creating = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "app").rglob("*.py")
        for call in _calls(path)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("create_task", "ensure_future", "run_coroutine_threadsafe")
    }
    assert creating == SHORT_LIVED


FAULTS = """
from app import tasks
tasks.FIRST_PAUSE_SECONDS = 0.05
start = tasks.Tasks.start
def start_failing(self, name, run):
    left = [1]
    async def fail_once():
        if left:
            left.pop()
            raise RuntimeError("injected")
        await run()
    return start(self, name, fail_once)
tasks.Tasks.start = start_failing
"""


def test_every_task_of_the_service_comes_back(tmp_path: Path) -> None:
    """Each fails once, and then the whole chain works: hits, figures and health."""
    env = {"MAILWAKE_SMTP": "1", "MAILWAKE_SMTP_LISTEN": "127.0.0.1:0"}
    env["MAILWAKE_SMARTHOST"] = "smtp://127.0.0.1:9"
    with Service(tmp_path / "data", FAULTS, **env) as service:
        service.ready()

        def states() -> dict[str, Any]:
            body = service.client.get("/healthz/full").json()
            return {task["name"]: task for task in body["tasks"]}

        assert set(states()) == _started() - {"commands", *WITH_POSTGRESQL}
        service.wait_for(lambda: all(task["failures"] == 1 for task in states().values()), "faults")
        answer = service.rewrite("supervised", '<a href="https://example.com/">x</a>')
        (link, *_) = paths(tracked_urls(answer["html"]))
        service.client.get(link)
        service.settled()
        assert service.stats("supervised")["clicks"]["all"]["total"] == 1
        metrics = service.client.get("/metrics").text
        for name in states():
            assert f'mailwake_task_failures_total{{task="{name}"}} 1.0' in metrics
        assert service.log.read_text().count("RuntimeError: injected") >= len(states())
