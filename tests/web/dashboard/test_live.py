import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from sse_starlette import ServerSentEvent

from app.storage.clickhouse import StorageError
from app.web.dashboard import live as live_module
from app.web.dashboard.live import (
    MAX_SESSION_VIEWERS,
    MAX_VIEWERS,
    MAX_WORKSPACE_VIEWERS,
    Fragments,
    FullError,
    Live,
    partials,
)
from tests.support.patience import PATIENCE_SECONDS, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "QUIET_ROUND_SECONDS", 0.01)


class Board:
    """A page whose figures a test sets."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {"a": "1", "b": "2"}
        self.asked = 0
        self.away = False

    def render(self) -> Fragments:
        self.asked += 1
        if self.away:
            raise StorageError("away")
        return dict(self.shown)


async def following(events: AsyncIterator[ServerSentEvent]) -> str:
    event = await asyncio.wait_for(anext(events), PATIENCE_SECONDS)
    return str(event.data)


def test_viewers_get_what_changed_and_nothing_else() -> None:
    async def test() -> None:
        live, board = Live(), Board()
        ticking = asyncio.create_task(live.run())
        one, two = live.watch("w", "s", "k", board.render), live.watch("w", "s", "k", board.render)
        assert await following(one) == partials({"a": "1", "b": "2"})
        assert await following(two) == partials({"a": "1", "b": "2"})
        board.shown["b"] = "3"
        assert await following(one) == await following(two) == partials({"b": "3"})
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking

    asyncio.run(test())


def test_many_viewers_cost_one_question_a_tick_and_none_when_they_left() -> None:
    async def test() -> None:
        live, board = Live(), Board()
        viewers = [live.watch("w", f"s{n // 20}", "k", board.render) for n in range(500)]
        for viewer in viewers:
            await following(viewer)
        assert live.viewers == 500
        assert board.asked == 1
        for viewer in viewers:
            await viewer.aclose()
        assert live.viewers == 0
        ticking = asyncio.create_task(live.run())
        await asyncio.sleep(0.05)
        assert board.asked == 1
        ticking.cancel()

    asyncio.run(test())


def test_a_crowd_that_comes_at_once_asks_once() -> None:
    async def test() -> None:
        live, board = Live(), Board()
        crowd = [live.watch("w", f"s{n // 20}", "k", board.render) for n in range(100)]
        await asyncio.gather(*map(following, crowd))
        assert board.asked == 1

    asyncio.run(test())


def test_a_database_that_is_away_is_waited_for() -> None:
    async def test() -> None:
        live, board = Live(), Board()
        board.away = True
        ticking = asyncio.create_task(live.run())
        viewer = live.watch("w", "s", "k", board.render)
        waiting = asyncio.create_task(following(viewer))
        await until(lambda: board.asked > 1)
        assert not waiting.done()
        board.away = False
        assert await waiting == partials(board.shown)
        ticking.cancel()

    asyncio.run(test())


def test_who_comes_back_with_the_last_id_hears_only_news() -> None:
    async def test() -> None:
        live, board = Live(), Board()
        ticking = asyncio.create_task(live.run())
        first = live.watch("w", "s", "k", board.render)
        event = await anext(first)
        again = live.watch("w", "s", "k", board.render, str(event.id))
        waiting = asyncio.create_task(following(again))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        board.shown["a"] = "9"
        assert '"#a"' in await waiting
        ticking.cancel()

    asyncio.run(test())


def test_a_busy_workspace_delays_no_other() -> None:
    """One asks for hundreds of slow pages, and the other sees each change."""
    held = threading.Event()

    def slow() -> Fragments:
        held.wait(PATIENCE_SECONDS)
        return {"a": "slow"}

    async def test() -> None:
        live, board = Live(), Board()
        ticking = asyncio.create_task(live.run())
        busy = [
            asyncio.create_task(following(live.watch("busy", f"s{n // 20}", f"page {n}", slow)))
            for n in range(300)
        ]
        viewer = live.watch("other", "s", "k", board.render)
        for figure in "123":
            board.shown = {"a": figure}
            assert await following(viewer) == partials({"a": figure})
        assert not any(task.done() for task in busy)
        held.set()
        await asyncio.gather(*busy)
        ticking.cancel()

    asyncio.run(test())


def test_viewers_are_limited_by_session_workspace_and_process() -> None:
    async def test() -> None:
        live, board = Live(), Board()
        viewers = []

        async def watch(workspace: str, session: str) -> None:
            viewers.append(live.watch(workspace, session, "k", board.render))
            await following(viewers[-1])

        for _ in range(MAX_SESSION_VIEWERS):
            await watch("w", "first")
        with pytest.raises(FullError, match=f"{MAX_SESSION_VIEWERS} live pages of this session"):
            await watch("w", "first")
        for number in range(MAX_SESSION_VIEWERS, MAX_WORKSPACE_VIEWERS):
            await watch("w", f"s{number // MAX_SESSION_VIEWERS}")
        with pytest.raises(FullError, match="of this workspace"):
            await watch("w", "another")
        for number in range(MAX_WORKSPACE_VIEWERS, MAX_VIEWERS):
            await watch("x", f"s{number // MAX_SESSION_VIEWERS}")
        with pytest.raises(FullError, match="of the service"):
            await watch("y", "another")
        await viewers[0].aclose()
        await watch("w", "first")
        for viewer in viewers:
            await viewer.aclose()
        assert live.viewers == 0

    asyncio.run(test())
