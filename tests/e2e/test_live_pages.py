"""Live streams over real connections: many viewers, one that comes back, one that looks away."""

import asyncio
import re

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from app.web.dashboard.live import MAX_SESSION_VIEWERS
from tests.e2e.test_dashboard import browser, hit, login
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

__all__ = ["browser"]

VIEWERS = 500
MAIL = '<p><a href="https://example.com/a">x</a></p>'


@pytest.fixture
def cookie(service: Service) -> str:
    return new_session(service)


def new_session(service: Service) -> str:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        service.login(client)
        return f"mailwake_session={client.cookies['mailwake_session']}"


class Viewer:
    """One event stream on a connection of its own."""

    def __init__(self, service: Service, cookie: str, path: str) -> None:
        self.port, self.path, self.cookie = service.port, path, cookie
        self.last_id = ""

    async def open(self, last_id: str = "") -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        resumed = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        self.writer.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n"
            f"Accept: text/event-stream\r\n{resumed}\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head, head

    async def event(self) -> str:
        """The data of the next event."""
        data = []
        while True:
            line = (await self.reader.readline()).decode().rstrip("\r\n")
            assert not self.reader.at_eof()
            if line.startswith("data:"):
                data.append(line)
            elif line.startswith("id:"):
                self.last_id = line[3:].strip()
            elif not line and data:
                return "\n".join(data)

    def close(self) -> None:
        self.writer.close()


def figure(event: str) -> int | None:
    found = re.search(r'id="clicks">(\d+)<', event)
    return int(found[1]) if found else None


def viewers(service: Service) -> int:
    text = service.client.get("/metrics").text
    found = re.search(r"^mailwake_viewers (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


def test_five_hundred_viewers_see_the_same_click(service: Service) -> None:
    answer = service.rewrite({"id": "crowded", "name": "Crowded"}, MAIL)
    service.drained()

    cookies = [new_session(service) for _ in range(VIEWERS // MAX_SESSION_VIEWERS)]

    async def watch() -> list[int | None]:
        page = "/newsletters/crowded/live"
        crowd = [Viewer(service, cookie, page) for cookie in cookies * MAX_SESSION_VIEWERS]
        for viewer in crowd:
            await viewer.open()
        one_more = Viewer(service, cookies[0], page)
        with pytest.raises(AssertionError, match="503"):
            await one_more.open()
        one_more.close()
        first = [await viewer.event() for viewer in crowd]
        assert [figure(event) for event in first] == [0] * VIEWERS
        assert await asyncio.to_thread(viewers, service) >= VIEWERS
        await asyncio.to_thread(hit, service, answer)

        async def until_clicked(viewer: Viewer) -> int | None:
            while not (clicks := figure(await viewer.event())):
                pass
            return clicks

        async with asyncio.timeout(PATIENCE_SECONDS):
            seen = await asyncio.gather(*map(until_clicked, crowd))
        for viewer in crowd:
            viewer.close()
        return list(seen)

    assert asyncio.run(watch()) == [1] * VIEWERS
    service.wait_for(lambda: viewers(service) == 0, "leaving")


def test_who_comes_back_gets_what_it_missed(service: Service, cookie: str) -> None:
    answer = service.rewrite({"id": "resumed", "name": "Resumed"}, MAIL)
    service.settled()  # corrections of other tests' clicks would change the average

    page = "/newsletters/resumed/live?step=day"  # a finer chart moves by itself

    async def come_back() -> None:
        viewer = Viewer(service, cookie, page)
        await viewer.open()
        assert figure(await viewer.event()) == 0
        known = viewer.last_id
        viewer.close()
        same = Viewer(service, cookie, page)
        await same.open(known)
        waiting = asyncio.create_task(same.event())
        await asyncio.sleep(1.5)
        sent = waiting.done()
        waiting.cancel()
        same.close()
        assert not sent  # nothing is new, nothing is sent
        await asyncio.to_thread(hit, service, answer)
        await asyncio.to_thread(service.drained)
        later = Viewer(service, cookie, page)
        await later.open(known)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert figure(await later.event()) == 1
        later.close()

    asyncio.run(come_back())


def test_a_hidden_tab_asks_for_nothing(browser: Browser, service: Service) -> None:
    answer = service.rewrite({"id": "hidden", "name": "Hidden"}, MAIL)
    service.drained()
    service.wait_for(lambda: viewers(service) == 0, "quiet")
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    # Headless windows are never hidden by themselves.
    page.add_init_script("""let away = false;
        Object.defineProperty(document, "hidden", {get: () => away});
        window.look = (shown) => {
            away = !shown; document.dispatchEvent(new Event("visibilitychange"));
        };""")
    login(page, service)
    page.goto("/newsletters/hidden")
    service.wait_for(lambda: viewers(service) == 1, "a stream")
    page.evaluate("look(false)")
    service.wait_for(lambda: viewers(service) == 0, "a pause")
    hit(service, answer)
    service.drained()
    page.evaluate("look(true)")
    expect(page.locator("#clicks")).to_have_text("1")
    assert viewers(service) == 1
    context.close()
