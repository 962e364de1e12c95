"""The API's documentation in a browser: search, languages, requests, and without JavaScript."""

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.test_accessibility import AXE
from tests.e2e.test_dashboard import browser
from tests.support.service import Service
from tests.support.torture import LONG, longer

__all__ = ["browser"]

BEST = """async () => (await axe.run()).violations
    .map(v => [v.id, v.help, v.nodes.map(node => node.html).slice(0, 3)])"""
WIDTHS = (1440, 820, 390)


@pytest.fixture
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=service.url, viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/docs")
    return page


def tried(page: Page, name: str) -> Any:
    """Returns an operation's form, opened."""
    page.locator(f"#{name} .api-try > summary").click()
    return page.locator(f"#{name} form")


@longer
@pytest.mark.parametrize(
    ("width", "scheme"),
    list(product(WIDTHS, ("light", "dark"))) if LONG else [(1440, "light"), (390, "dark")],
)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    browser: Browser, service: Service, width: int, scheme: Any
) -> None:
    context = browser.new_context(
        base_url=service.url, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto("/docs")
    for name in ("create_messages", "rewrite_mime", "list_events"):
        for details in page.locator(f"#{name} details").all():
            details.locator("summary").first.click()
    page.evaluate(AXE.read_text())
    assert page.evaluate(BEST) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert errors == []
    context.close()


def test_the_search_finds_an_operation_by_keyboard(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.get_by_label("Search operations")).to_be_focused()
    page.keyboard.type("timeline")
    links = page.locator(".api-side li a[data-words]:visible")
    expect(links).to_have_count(1)
    expect(page.locator("#matches")).to_have_text("1 found")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#get_newsletter_timeline$"))
    expect(page.locator("#get_newsletter_timeline-name")).to_be_in_viewport()
    expect(links).to_have_attribute("aria-current", "location")
    page.get_by_label("Search operations").focus()
    page.keyboard.press("Escape")
    expect(page.locator(".api-side li a:visible")).not_to_have_count(1)


def test_a_language_is_chosen_for_all_examples(page: Page) -> None:
    sample = page.locator("#list_newsletters .api-sample")
    expect(sample.filter(has_text="curl ")).to_be_visible()
    page.get_by_label("curl").focus()
    page.keyboard.press("ArrowRight")
    expect(sample.filter(has_text="import requests")).to_be_visible()
    expect(sample.filter(has_text="curl ")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(sample.filter(has_text="await fetch")).to_be_visible()
    expect(page.locator("#get_erasure .api-sample").filter(has_text="await fetch")).to_be_visible()


def test_a_request_is_tried_with_the_key_that_is_kept_nowhere(
    page: Page, context: BrowserContext, service: Service
) -> None:
    service.rewrite("tried/ü", "<p>", "tried@example.com")
    service.settled()
    form = tried(page, "get_newsletter")
    form.get_by_label("newsletter_id").fill("tried/ü")
    form.get_by_role("button", name="Send GET request").click()
    expect(form.get_by_role("alert")).to_contain_text("Enter an API key")
    page.get_by_label("API key").fill(service.api_key)
    form.get_by_role("button", name="Send GET request").click()
    expect(form.get_by_role("status")).to_have_text("200 application/json")
    expect(form.locator("pre")).to_contain_text('"id": "tried/ü"')
    form.get_by_label("newsletter_id").fill("unknown")
    page.keyboard.press("Enter")
    expect(form.get_by_role("status")).to_have_text("404 application/problem+json")
    assert context.cookies() == []
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    page.reload()
    assert page.get_by_label("API key").input_value() == ""
    page.get_by_label("API key").fill(service.api_key)
    page.goto("/docs/counting")
    page.go_back()
    assert page.get_by_label("API key").input_value() == ""


def test_a_body_and_a_query_are_sent(page: Page, service: Service) -> None:
    page.get_by_label("API key").fill(service.api_key)
    form = tried(page, "rewrite_message")
    form.get_by_label("dry_run").fill("true")
    form.get_by_role("button", name="Send POST request").click()
    expect(form.get_by_role("status")).to_have_text("200 application/json")
    expect(form.locator("pre")).to_contain_text('"newsletter_id": "spring-sale"')
    form.get_by_label("Body").fill("{}")
    form.get_by_role("button", name="Send POST request").click()
    expect(form.locator("pre")).to_contain_text('"status": 422')


def test_a_stream_is_shown_as_it_comes_and_stopped(page: Page, service: Service) -> None:
    page.get_by_label("API key").fill(service.api_key)
    form = tried(page, "stream_events")
    form.get_by_role("button", name="Send GET request").click()
    expect(form.get_by_role("status")).to_contain_text("200 text/event-stream")
    html = service.rewrite("tried-stream", '<a href="https://example.com/">x</a>')["html"]
    service.client.get(f"/c/{html.partition('/c/')[2].partition(chr(34))[0]}")
    expect(form.locator("pre")).to_contain_text("event: message.clicked")
    form.get_by_role("button", name="Stop").click()
    expect(form.get_by_role("button", name="Stop")).to_be_hidden()
    expect(form.get_by_role("alert")).to_be_hidden()


def test_a_deletion_is_asked_about(page: Page, service: Service) -> None:
    path = "/v1/saved-segments/boots"
    assert service.client.put(path, json={"clicked_tag": ["boots"]}).status_code == 200
    page.get_by_label("API key").fill(service.api_key)
    form = tried(page, "delete_segment")
    asked: list[str] = []

    def refuse(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    form.get_by_role("button", name="Send DELETE request").click()
    assert asked == ["Really send this DELETE request?"]
    assert service.client.get(path).status_code == 200
    page.once("dialog", lambda dialog: dialog.accept())
    form.get_by_role("button", name="Send DELETE request").click()
    expect(form.get_by_role("status")).to_have_text("200 application/json")
    assert service.client.get(path).status_code == 404


def test_an_example_is_copied(browser: Browser, service: Service) -> None:
    context = browser.new_context(
        base_url=service.url, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    page.goto("/docs")
    page.locator("#get_newsletter").get_by_role("button", name="Copy").first.click()
    expect(page.locator("#get_newsletter").get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl {service.url}/v1/newsletters/spring-sale")
    context.close()


def test_the_page_is_whole_without_javascript(browser: Browser, service: Service) -> None:
    context = browser.new_context(
        base_url=service.url, java_script_enabled=False, viewport={"width": 390, "height": 844}
    )
    page = context.new_page()
    page.goto("/docs")
    expect(page.get_by_role("link", name="Get newsletter timeline")).to_be_visible()
    for hidden in ("#search", "#key", "#get_newsletter form", "#get_newsletter .api-try"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    sample = page.locator("#get_newsletter .api-sample")
    expect(sample.filter(has_text="import requests")).to_be_hidden()
    page.get_by_text("Python", exact=True).first.click()
    expect(sample.filter(has_text="import requests")).to_be_visible()
    context.close()


def test_no_script_and_no_style_is_inline(service: Service) -> None:
    answer = service.client.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy
    assert "<style" not in answer.text and " style=" not in answer.text
    assert answer.text.count("<script") == answer.text.count('<script src="/static/') == 1
