"""Live pages: one ticker per workspace asks the database, every viewer of a page gets the same.

A page is a function that renders named fragments. Once a second, or as soon as this process has
loaded something, the ticker renders each page that has viewers and sends the fragments that changed
as one server-sent event; htmx puts them in place. A viewer who comes back with Last-Event-ID gets
what changed since the state it has.

A workspace asks one question at a time, so that many pages of one slow no other. Viewers are
limited by session, workspace and process.
"""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from sse_starlette import ServerSentEvent

from app.storage.clickhouse import StorageError

log = logging.getLogger(__name__)
QUIET_ROUND_SECONDS = 1.0  # seconds between two rounds when nothing is new
POLL_SECONDS = 0.05  # seconds between looks for news of this process
ROUND_SECONDS = 0.3  # seconds between two rounds, however much is new
MAX_VIEWERS = 1000
MAX_WORKSPACE_VIEWERS = 500
MAX_SESSION_VIEWERS = 20  # one person's open pages
SESSION_CHECK_SECONDS = 5.0  # seconds between looks whether a viewer's session has ended

Fragments = Mapping[str, str]  # HTML by the id of the element that holds it
Render = Callable[[], Fragments]


class FullError(Exception):
    """There are as many viewers as allowed; the message says of what."""


@dataclass(eq=False)
class _Page:
    render: Render
    viewers: set[asyncio.Event] = field(default_factory=set)
    fragments: Fragments = field(default_factory=dict)
    version: str = ""
    trouble: str = ""


@dataclass(eq=False)
class _Workspace:
    pages: dict[str, _Page] = field(default_factory=dict)
    sessions: Counter[str] = field(default_factory=Counter)  # viewers by session
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)  # serves in order of arrival


class Live:
    """Start `run()` once; `watch()` gives one viewer's events. `news` grows as figures change."""

    def __init__(self, news: Callable[[], int] = lambda: 0) -> None:
        self._news = news
        self._workspaces: dict[str, _Workspace] = {}
        self._arrived = asyncio.Event()  # a workspace's first viewer has

    @property
    def viewers(self) -> int:
        """Returns how many streams are open."""
        return sum(workspace.sessions.total() for workspace in self._workspaces.values())

    async def run(self) -> None:
        """Tick until cancelled."""
        tickers: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                tickers = {name: task for name, task in tickers.items() if not task.done()}
                for name in self._workspaces.keys() - tickers.keys():
                    tickers[name] = asyncio.create_task(self._tick(name))
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            for ticker in tickers.values():
                ticker.cancel()

    async def _tick(self, name: str) -> None:
        """Refresh a workspace's pages until it has no viewers."""
        while workspace := self._workspaces.get(name):
            news, begun = self._news(), time.monotonic()
            for page in list(workspace.pages.values()):
                async with workspace.asking:
                    if page.viewers:  # they may have left meanwhile
                        await self._refresh(page)
            await asyncio.sleep(min(ROUND_SECONDS, QUIET_ROUND_SECONDS))
            # Loading happens in threads.
            while self._news() == news and time.monotonic() - begun < QUIET_ROUND_SECONDS:  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)

    def check(self, workspace: str, session: str) -> None:
        """Raises FullError if there must be no further viewer."""
        known = self._workspaces.get(workspace, _Workspace())
        for count, limit, of in (
            (known.sessions[session], MAX_SESSION_VIEWERS, "this session"),
            (known.sessions.total(), MAX_WORKSPACE_VIEWERS, "this workspace"),
            (self.viewers, MAX_VIEWERS, "the service"),
        ):
            if count >= limit:
                raise FullError(f"{limit} live pages of {of} are open, the maximum")

    async def watch(
        self, workspace: str, session: str, key: str, render: Render, last_version: str = ""
    ) -> AsyncGenerator[ServerSentEvent]:
        """Yields a workspace's page `key`, until the viewer leaves. Raises FullError at once."""
        self.check(workspace, session)
        own = self._workspaces.setdefault(workspace, _Workspace())
        self._arrived.set()
        page = own.pages.setdefault(key, _Page(render))
        changed = asyncio.Event()
        page.viewers.add(changed)
        own.sessions[session] += 1
        try:
            async with own.asking:  # the first viewer asks for all
                if not page.version:
                    await self._refresh(page)
            known: dict[str, str] = {}
            seen = last_version
            while True:
                changed.clear()  # before the look, so that no change is missed while one is sent
                if page.version != seen:
                    seen = page.version
                    news = {k: v for k, v in page.fragments.items() if known.get(k) != v}
                    known.update(news)
                    yield ServerSentEvent(data=partials(news), id=seen, retry=2000)
                else:
                    await changed.wait()
        finally:
            page.viewers.discard(changed)
            if not page.viewers:
                own.pages.pop(key, None)
            own.sessions[session] -= 1
            own.sessions += Counter()  # leaves out zeros
            if not own.pages:
                self._workspaces.pop(workspace, None)

    async def _refresh(self, page: _Page) -> None:
        try:
            fragments = await asyncio.to_thread(page.render)
        except Exception as error:  # one page's trouble must not end the ticker of all others
            if repr(error) != page.trouble:
                page.trouble = repr(error)
                level = logging.DEBUG if isinstance(error, StorageError) else logging.ERROR
                log.log(
                    level,
                    "a live page cannot be updated: %s",
                    error,
                    exc_info=level > logging.DEBUG,
                )
            return
        page.trouble = ""
        version = _version(fragments)
        if version != page.version:
            page.fragments, page.version = fragments, version
            for viewer in page.viewers:
                viewer.set()


async def while_valid(
    events: AsyncGenerator[ServerSentEvent], valid: Callable[[], bool]
) -> AsyncIterator[ServerSentEvent]:
    """Yields a viewer's events until `valid` (blocking) is false, checked every few seconds."""
    coming = asyncio.ensure_future(anext(events, None))
    checked = time.monotonic()
    try:
        while True:
            await asyncio.wait(
                {coming}, timeout=max(0, checked + SESSION_CHECK_SECONDS - time.monotonic())
            )
            if time.monotonic() - checked >= SESSION_CHECK_SECONDS:
                checked = time.monotonic()
                if not await asyncio.to_thread(valid):
                    return
            if coming.done():
                event = coming.result()
                if event is None:
                    return
                yield event
                coming = asyncio.ensure_future(anext(events, None))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await events.aclose()


def partials(fragments: Fragments) -> str:
    """Returns fragments as htmx takes them: each morphs the element with its id."""
    return "".join(
        f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{html}</hx-partial>'
        for name, html in fragments.items()
    )


def _version(fragments: Fragments) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for name, html in fragments.items():
        digest.update(f"{name}\0{html}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
