"""WCAG 2.2 A and AA by axe-core, on every kind of page, in both schemes and both widths."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from app.demo import agents
from tests.e2e.test_dashboard import browser, login
from tests.support.paths import DATA
from tests.support.service import Service, paths, tracked_urls

__all__ = ["browser"]

AXE = next((DATA / "vendor").glob("axe-core-*/axe.min.js"))
RUN = """async () => (await axe.run({
        iframes: false, // the click map's frame runs no script, so none can answer
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    })).violations.map(v => [v.id, v.help, v.nodes.map(node => node.html).slice(0, 3)])"""
PAGES = (
    "/status",
    "/",
    "/?period=24h&show=all&kind=click",
    "/signals",
    "/settings",
    "/suppression-rules",
    "/newsletters",
    "/newsletters?search=accessible&tag=tag&sort=clicked",
    "/?search=nothing+like+it",
    "/newsletters?show=all",
    "/newsletters/accessible",
    "/newsletters/accessible?show=all&device=desktop",
    "/newsletters/none",
    "/newsletters/accessible/recipients",
    "/recipients",
    "/docs",
    "/docs/counting",
    "/tags",
    "/tags?search=none",
    "/newsletters/accessible/clickmap",
    "/newsletters/accessible/experiment",
    "/newsletters/accessible/mail-providers",
    "/compare",
    "/search",
    "/search?q=accessible",
    "/messages",
    "/messages?search=nothing+like+it",
    "/newsletters/accessible/clicked",
    "/clicked?url=https://example.com/&period=today",
    "/?period=7d&compare=1",
    "/newsletters?from=2026-01-01&to=2026-01-31&compare=1",
    "/compare?newsletter=accessible",
    "/account",
    "/access",
)


@pytest.fixture(scope="module")
def filled(service: Service) -> Service:
    newsletter = {"id": "accessible", "name": "Accessible", "subject": "To all", "tags": ["tag"]}
    html = (
        '<body><a href="https://example.com/">One</a> <a href="https://example.net/">Two</a></body>'
    )
    split = {"variants": [{"variant": name} for name in "ABC"], "decide_after_messages": 100}
    service.client.post("/v1/newsletters/accessible/experiment", json=split)
    for agent, variant in zip(
        (agents.FIREFOX, agents.BARRACUDA, agents.SAFARI), "ABC", strict=True
    ):
        answer = service.rewrite(
            newsletter,
            html,
            f"{len(agent)}@example.com",
            sample=True,
            variant=variant,
            metadata={"order": "A-" + "1" * 200, "shop": "de"},
            rfc_message_id="a@mailer.example",
        )
        for path in paths(tracked_urls(answer["html"])):
            browser = {} if agent == agents.BARRACUDA else {"sec-fetch-mode": "navigate"}
            service.client.get(path, headers={"user-agent": agent, **browser})
    service.drained()
    return service


LOOKS = [("light", 1440), ("dark", 390)]


@pytest.fixture(params=LOOKS, ids=["light 1440", "dark 390"])
def context(request: Any, browser: Browser, filled: Service) -> Iterator[BrowserContext]:
    scheme, width = request.param
    context = browser.new_context(
        base_url=filled.url,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    yield context
    context.close()


def test_no_page_breaks_the_guidelines(context: BrowserContext, filled: Service) -> None:
    page = context.new_page()
    page.goto("/login")
    page.evaluate(AXE.read_text())
    found = {"/login": page.evaluate(RUN)}
    login(page, filled)
    page.goto("/newsletters/accessible/recipients")
    person = page.locator("tbody a").first.get_attribute("href")
    assert person
    page.goto(person)
    message = page.locator('details a[href^="/messages/"]').first.get_attribute("href")
    assert message
    for address in (*PAGES, person, message):
        page.goto(address)
        expect(page.get_by_role("heading", level=1).first).to_be_visible()
        page.evaluate(AXE.read_text())
        found[address] = page.evaluate(RUN)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    # The report runs no script at its own address, so it is looked at elsewhere.
    report = page.request.get("/newsletters/accessible/report").text()
    page.goto("about:blank")
    page.set_content(report)
    page.evaluate(AXE.read_text())
    found["report"] = page.evaluate(RUN)
    assert {address: broken for address, broken in found.items() if broken} == {}


def test_what_is_broken_would_be_seen(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content('<html><body><p style="color: #ccc">faint</p><img src="data:,"></body></html>')
    page.evaluate(AXE.read_text())
    assert {"image-alt", "color-contrast", "html-has-lang"} <= {
        one[0] for one in page.evaluate(RUN)
    }
    page.close()


def test_a_keyboard_reaches_everything_and_shows_where_it_is(
    context: BrowserContext, filled: Service
) -> None:
    page = context.new_page()
    login(page, filled)
    page.goto("/newsletters/accessible")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.innerText"))
    assert {
        "People",
        "Bots",
        "Everything",
        "Recipients",
        "CSV",
        "One",
        "Show as a table",
    } <= reached
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_the_first_view_does_not_shift(context: BrowserContext, filled: Service) -> None:
    page = context.new_page()
    login(page, filled)
    page.add_init_script("""window.shift = 0; new PerformanceObserver(list => {
        for (const entry of list.getEntries()) window.shift += entry.value;
    }).observe({type: "layout-shift", buffered: true});""")
    for address in ("/", "/newsletters", "/newsletters/accessible"):
        page.goto(address)
        page.wait_for_timeout(2500)  # the live stream has come and morphed the page
        assert page.evaluate("window.shift") < 0.01, address


def test_pages_are_whole_without_javascript(browser: Browser, filled: Service) -> None:
    context = browser.new_context(base_url=filled.url, java_script_enabled=False)
    page = context.new_page()
    login(page, filled)
    page.goto("/newsletters/accessible")
    expect(page.locator("#clicks")).to_have_text("2")
    page.get_by_role("link", name="Everything").click()
    expect(page.locator("#clicks")).to_have_text("3")
    context.close()
