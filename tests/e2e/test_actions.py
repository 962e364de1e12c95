"""Webhooks and segments in the browser, over a real service and a real receiver."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_accessibility import AXE, RUN
from tests.e2e.test_dashboard import PERSON, XSS, browser, login
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.webhook_receiver import receiver

__all__ = ["browser"]

MAIL = '<body><a href="https://example.com/" data-track-tag="acted">x</a></body>'


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("actions") / "data"
    with Service(folder, LOCAL_RECEIVERS, **WITH_HTTP) as running:
        running.ready()
        yield running


@pytest.fixture
def page(browser: Browser, hooked: Service) -> Iterator[Page]:
    context = browser.new_context(base_url=hooked.url)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
    login(page, hooked)
    yield page
    context.close()
    assert errors == []


def test_a_webhook_is_made_tested_mended_and_removed(page: Page, hooked: Service) -> None:
    with receiver() as there:
        there.default = 410
        page.get_by_role("link", name="Automations").click()
        page.get_by_label("URL").fill(there.url)
        page.get_by_label("message.clicked").check()
        page.get_by_label("Opens and clicks by").select_option("Only real people")
        page.get_by_label("Only links with these topics").fill("acted")
        page.get_by_role("button", name="Add webhook").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(there.url)
        expect(page.get_by_text("message.clicked by people, topics acted")).to_be_visible()
        page.get_by_role("button", name="Send test event").click()
        expect(page.locator("#log")).to_contain_text("dead")  # told live
        expect(page.get_by_role("alert")).to_contain_text("is disabled")
        page.reload()
        there.default = 204
        page.get_by_role("button", name="Enable").click()
        page.get_by_role("button", name="Retry failed deliveries").click()
        expect(page.locator("#log")).to_contain_text("delivered")
        quoted = XSS.replace('"', '\\"')  # a local part may be any text (RFC 5321, 4.1.2)
        answer = hooked.rewrite("acted", MAIL, f'"{quoted}"@example.com')
        for path in paths(tracked_urls(answer["html"])):
            hooked.client.get(path, headers=PERSON)
        expect(page.locator("#log tbody tr")).to_have_count(2)
        page.get_by_text("Signing secret").click()
        secret = page.locator("details code").inner_text()
        assert len(there.verified(secret)) == len(there.requests) == 3
        page.locator("#log summary").first.click()
        expect(page.locator("#log pre").first).to_contain_text('"type": "message.clicked"')
        page.evaluate(AXE.read_text())
        assert page.evaluate(RUN) == []
        page.get_by_role("button", name="Remove").click()
        expect(page.get_by_role("heading", name="New webhook")).to_be_visible()
        expect(page.locator("tbody")).to_have_count(0)


def test_a_wrong_field_is_named_and_nothing_is_forgotten(page: Page) -> None:
    page.goto("/webhooks")
    page.get_by_label("URL").fill("https://user:pass@example.com/")
    page.get_by_label("Only these newsletters").fill("spring")
    page.get_by_role("button", name="Add webhook").click()
    expect(page.get_by_role("alert")).to_have_text("url: must not contain a user name or password")
    expect(page.get_by_label("Only these newsletters")).to_have_value("spring")
    page.evaluate(AXE.read_text())
    assert page.evaluate(RUN) == []


def test_a_follow_up_is_made_and_removed(page: Page, hooked: Service) -> None:
    page.goto("/webhooks/followups")
    expect(page.get_by_text("Follow-ups need a destination")).to_be_visible()
    url = "https://hooks.example/followed"
    hook = hooked.client.post("/v1/webhooks", json={"url": url}).json()
    page.goto("/webhooks")
    page.get_by_role("link", name="Follow-ups").click()
    page.get_by_label("Name").fill(XSS[:100])
    page.get_by_label("When someone").select_option("has not opened")
    page.get_by_label("Only these newsletters").fill("basket\nparcel")
    page.get_by_role("button", name="Add follow-up").click()
    expect(page.get_by_role("alert")).to_contain_text("after_hours")
    expect(page.get_by_label("Only these newsletters")).to_have_value("basket\nparcel")
    page.get_by_label("Hours after sending").fill("1.5")
    page.get_by_role("button", name="Add follow-up").click()
    row = page.locator("tbody tr")
    expect(row).to_contain_text("Not opened within 1.5 hours of sending in basket, parcel")
    expect(row).to_contain_text(url)
    (made,) = hooked.get("/v1/followups")["followups"]
    assert (made["when"], made["after_hours"]) == ("not_opened", 1.5)
    assert (made["newsletters"], made["webhook_id"]) == (["basket", "parcel"], hook["id"])
    page.evaluate(AXE.read_text())
    assert page.evaluate(RUN) == []
    page.get_by_role("button", name="Remove").click()
    expect(page.locator("tbody")).to_have_count(0)
    assert hooked.get("/v1/followups")["followups"] == []
    hooked.client.delete(f"/v1/webhooks/{hook['id']}")


def test_a_person_is_exported_and_erased(page: Page, hooked: Service) -> None:
    who = "gone@example.com"
    answer = hooked.rewrite("rights", MAIL, who)
    for path in paths(tracked_urls(answer["html"])):
        hooked.client.get(path, headers=PERSON)
    hooked.settled()
    before = hooked.stats("rights")
    page.goto("/newsletters/rights/recipients")
    page.get_by_role("link", name=who).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all data").click()
    held = json.loads(download.value.path().read_text())
    assert (held["recipient"], len(held["messages"]), len(held["hits"])) == (who, 1, 2)
    page.get_by_role("link", name="Erase").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Erase the data of {who}?")
    page.evaluate(AXE.read_text())
    assert page.evaluate(RUN) == []
    page.get_by_role("button", name="Erase permanently").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Personal data erased")
    expect(page.get_by_role("row", name="hits 2")).to_be_visible()
    page.evaluate(AXE.read_text())
    assert page.evaluate(RUN) == []
    page.goto("/newsletters/rights/recipients")
    expect(page.get_by_text(who)).to_have_count(0)
    assert hooked.stats("rights") == before


def test_forms_of_other_sites_are_refused(page: Page, hooked: Service) -> None:
    for path in ("/webhooks", "/webhooks/wh_x/test", "/webhooks/followups", "/recipients/1/erase"):
        answer = page.request.post(
            path, headers={"sec-fetch-site": "cross-site"}, form={"url": "x"}
        )
        assert answer.status == 403
    assert hooked.get("/v1/webhooks")["webhooks"] == []


def test_a_segment_is_shown_and_exported(page: Page, hooked: Service) -> None:
    for name in ("=ann", "bob"):
        answer = hooked.rewrite("segmented", MAIL, f"{name}@example.com")
        if name == "=ann":
            hooked.client.get(paths(tracked_urls(answer["html"]))[0], headers=PERSON)
    hooked.settled()
    page.goto("/")
    page.get_by_role("link", name="Segments").click()
    page.get_by_label("Clicked a link").fill("acted")
    page.get_by_label("Was sent newsletter (ID)").fill("segmented")
    page.get_by_role("button", name="Find recipients").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("=ann@example.com")
    page.get_by_label("Name of the segment").fill("Boot lovers")
    page.get_by_role("button", name="Save segment", exact=True).click()
    page.goto("/segments")
    page.get_by_role("link", name="Boot lovers").click()
    expect(page.locator("tbody")).to_contain_text("=ann@example.com")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "'=ann@example.com" in download.value.path().read_text()
    page.evaluate(AXE.read_text())
    assert page.evaluate(RUN) == []
    page.get_by_label("Name of the segment").fill("Boot lovers")
    page.get_by_role("button", name="Delete saved segment").click()
    expect(page.get_by_role("link", name="Boot lovers")).to_have_count(0)
    page.goto("/segments?not_clicked=segmented&since=2020-01-01")
    expect(page.locator("tbody")).to_contain_text("bob@example.com")
    page.goto("/segments?since=never")
    expect(page.get_by_role("alert")).to_contain_text("since")


@pytest.mark.parametrize("width", [390, 1440])
def test_the_pages_fit(browser: Browser, hooked: Service, width: int) -> None:
    context = browser.new_context(
        base_url=hooked.url, viewport={"width": width, "height": 900}, color_scheme="dark"
    )
    page = context.new_page()
    login(page, hooked)
    hook = hooked.client.post("/v1/webhooks", json={"url": f"https://e.example/{'x' * 300}"}).json()
    for path in (
        "/webhooks",
        "/webhooks/followups",
        f"/webhooks/{hook['id']}",
        "/segments",
        "/segments?opened=none",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    hooked.client.delete(f"/v1/webhooks/{hook['id']}")
    context.close()
