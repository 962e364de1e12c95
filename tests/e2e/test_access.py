"""Getting in, and letting others in, in a real browser."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.auth.users import Users
from app.storage.state_db import open_state
from tests.e2e.test_accessibility import AXE, RUN
from tests.e2e.test_dashboard import XSS, browser, login
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service

__all__ = ["browser"]

PASSWORD = "lanterns on the wake"
# Searches, and how this reader wants times, change nothing for others.
CHANGING = "form[method=post]:not([action='/logout'], [action='/settings'], [role=search])"


@pytest.fixture(params=[("light", 1440), ("dark", 390)], ids=["light 1440", "dark 390"])
def context(request: Any, browser: Browser, service: Service) -> Iterator[BrowserContext]:
    scheme, width = request.param
    context = browser.new_context(
        base_url=service.url, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    yield context
    context.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
    yield page
    context.close()
    assert errors == []


def fill_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_who_is_invited_sets_a_password_and_comes_again(
    page: Page, browser: Browser, service: Service
) -> None:
    login(page, service)
    main = page.get_by_role("navigation", name="Main")
    main.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Team & API keys").click()
    page.get_by_label("Name of the new user").fill("nina")
    page.get_by_label("Role", exact=True).select_option("editor")
    page.get_by_role("button", name="Add user").click()
    made = page.get_by_role("status")
    expect(made.get_by_role("heading")).to_have_text("Login link for nina")
    link = made.locator("code").inner_text()
    theirs = browser.new_context(base_url=service.url)
    nina = theirs.new_page()
    nina.goto(link)
    nina.get_by_role("button", name="Continue as nina").click()
    expect(nina.get_by_role("heading", level=1)).to_have_text("Your account")
    expect(nina.get_by_label("Current password")).to_have_count(0)
    nina.get_by_label("New password").fill(PASSWORD)
    nina.get_by_role("button", name="Set password").click()
    expect(nina.get_by_role("status")).to_contain_text("Password changed")
    expect(nina.get_by_label("Current password")).to_be_visible()
    nina.get_by_role("button", name="Log out", exact=True).click()
    expect(nina).to_have_url(re.compile("/login$"))
    nina.goto("/tags")
    fill_in(nina, "nina", "another password")
    expect(nina.get_by_role("alert")).to_have_text("Wrong name or password.")
    fill_in(nina, "nina", PASSWORD)
    expect(nina).to_have_url(re.compile("/tags$"))
    theirs.close()


def test_a_key_is_made_used_and_revoked(page: Page, service: Service) -> None:
    login(page, service)
    page.goto("/access")
    name = f"till {XSS}"
    page.get_by_label("Name of the new key").fill(name)
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert")).to_contain_text("scopes: must be one or more of")
    expect(page.get_by_label("Name of the new key")).to_be_focused()
    expect(page.get_by_label("Name of the new key")).to_have_value(name)
    page.get_by_role("checkbox", name=re.compile("^rewrite ")).check()
    page.get_by_role("button", name="Create key").click()
    made = page.get_by_role("status")
    expect(made.get_by_role("heading")).to_have_text(f"API key {name}")
    headers = {"authorization": f"Bearer {made.locator('code').inner_text()}"}
    body = {"newsletter": {"id": "till"}, "recipient": "a@example.com", "html": "<p>x</p>"}

    def used() -> int:
        url = f"{service.url}/v1/rewrite"
        return httpx2.post(url, headers=headers, json=body, timeout=PATIENCE_SECONDS).status_code

    assert used() == 200
    page.goto("/access")
    page.get_by_role("button", name=f"Revoke {name}").click()
    expect(page.get_by_role("row", name=re.compile("^till ")).first).to_contain_text("revoked")
    assert used() == 401


def test_a_viewer_has_nothing_to_change(page: Page, service: Service) -> None:
    users = Users(open_state(service.data_dir))
    viewer = users.add("viewer@example.com", "default", "viewer", PASSWORD)
    service.rewrite("looked-at", "<p>x</p>", "looked-at@example.com")
    service.drained()
    page.goto("/login")
    fill_in(page, viewer.name, PASSWORD)
    page.goto("/newsletters/looked-at/recipients")
    person = page.locator("tbody a").first.get_attribute("href") or ""
    for path in (
        "/",
        "/signals",
        "/settings",
        "/newsletters",
        "/segments",
        "/webhooks",
        "/webhooks/followups",
        "/newsletters/looked-at",
        "/recipients",
        person,
    ):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("link", name="Team & API keys")).to_have_count(0)
        expect(page.locator(CHANGING)).to_have_count(0)
    page.goto("/access")
    expect(page.get_by_role("heading", level=1)).to_have_text("Permission denied")


def test_what_is_shown_once_and_what_is_wrong_is_accessible_too(
    context: BrowserContext, service: Service
) -> None:
    page = context.new_page()
    name = f"a.very.long.name.{id(context)}@a-very-long-domain.of-somebody.example.com"
    users = Users(open_state(service.data_dir))
    users.add(name, "default", "viewer")
    found = {}

    def look(what: str) -> None:
        page.evaluate(AXE.read_text())
        found[what] = page.evaluate(RUN)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what

    page.goto(f"/login?code={users.new_code(name)}")
    look("an invitation")
    page.get_by_role("button", name="Continue as a.very").click()
    look("an account without a password")
    page.get_by_role("button", name="Log out", exact=True).click()
    page.goto("/login?code=used")
    look("a used one")
    login(page, service)
    page.goto("/account")
    page.get_by_label("Current password").fill("wrong")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_role("button", name="Change password").click()
    look("a wrong password")
    page.goto("/access")
    page.get_by_label("Name of the new key").fill("k" * 100)
    page.get_by_role("button", name="Create key").click()
    look("a key without scopes")
    page.get_by_role("checkbox", name=re.compile("^read ")).check()
    page.get_by_role("button", name="Create key").click()
    look("a key")
    page.get_by_role("button", name=f"New login link for {name}").click()
    look("a link")
    assert {what: broken for what, broken in found.items() if broken} == {}
