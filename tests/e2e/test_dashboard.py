"""The dashboard in a real browser, over the real server process."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.auth.users import Users
from app.demo import agents
from app.storage.state_db import open_state
from tests.support.browser import chromium
from tests.support.service import Service, paths, tracked_urls

MAIL = '<p><a href="https://example.com/a" data-track-name="{label}">x</a></p>'
PERSON = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
XSS = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    more = "disable-component-update disable-sync"
    with chromium(*flags.split(), *more.split()) as browser:
        yield browser


@pytest.fixture(scope="module")
def session(browser: Browser, service: Service) -> Any:
    """Returns the cookies of one who has logged in."""
    context = browser.new_context(base_url=service.url)
    login(context.new_page(), service)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(browser: Browser, service: Service, session: Any) -> Iterator[Page]:
    """Logged in; anything the policy blocks or a script trips over fails the test."""
    context = browser.new_context(base_url=service.url, storage_state=session)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
    page.on(
        "console",
        lambda message: errors.append(message.text) if message.type == "error" else None,
    )
    yield page
    context.close()
    assert errors == []


def login(page: Page, service: Service) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(service.password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()


def hit(service: Service, answer: dict[str, Any]) -> None:
    for path in paths(tracked_urls(answer["html"])):
        service.client.get(path, headers=PERSON)


def test_the_counter_changes_while_one_watches(page: Page, service: Service) -> None:
    answers = [
        service.rewrite({"id": "watched", "name": "Watched"}, MAIL, f"{n}@example.com")
        for n in range(3)
    ]
    service.drained()
    page.goto("/newsletters/watched")
    opens, clicks = page.locator("#opens"), page.locator("#clicks")
    expect(opens).to_have_text("0")
    for number, answer in enumerate(answers, 1):
        hit(service, answer)
        expect(opens).to_have_text(str(number))
        expect(clicks).to_have_text(str(number))
    stats = service.stats("watched")
    assert stats["opens"]["human"]["unique"] == 3
    expect(page.locator("#messages")).to_have_text(str(stats["messages"]))


def test_a_page_is_live_also_if_scripts_come_late(page: Page, service: Service) -> None:
    """Of a new visitor on a slow line, the extension for streams comes after htmx itself."""

    def late(route: Route) -> None:
        time.sleep(0.5)
        route.continue_()

    answer = service.rewrite({"id": "late", "name": "Late"}, MAIL, "late@example.com")
    service.drained()
    page.route("**/hx-sse.min.js*", late)
    page.goto("/newsletters/late")
    expect(page.locator("#opens")).to_have_text("0")
    hit(service, answer)
    expect(page.locator("#opens")).to_have_text("1")


def test_the_list_moves_too(page: Page, service: Service) -> None:
    answer = service.rewrite({"id": "listed", "name": "Listed"}, MAIL)
    service.drained()
    page.goto("/newsletters")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="Listed"))
    expect(row).to_contain_text("0.0%")
    hit(service, answer)
    expect(row).to_contain_text("100.0%")


def test_every_figure_is_there_without_javascript(browser: Browser, service: Service) -> None:
    answer = service.rewrite({"id": "plain", "name": "Plain"}, MAIL.format(label="The button"))
    hit(service, answer)
    service.client.head(paths(tracked_urls(answer["html"]))[0])
    service.drained()
    context = browser.new_context(base_url=service.url, java_script_enabled=False)
    page = context.new_page()
    login(page, service)
    page.goto("/newsletters")
    page.get_by_role("link", name="Plain", exact=True).click()
    expect(page.locator("#clicks")).to_have_text("1")
    expect(page.get_by_text("The button")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Firefox")).to_be_visible()
    page.get_by_role("link", name="Everything").click()
    expect(page.locator("#figures")).to_contain_text("2 clicks in total")
    page.get_by_role("link", name="Bots").click()
    expect(page.locator("#figures")).to_contain_text("1 clicks in total")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    context.close()


def test_hostile_names_are_inert(page: Page, service: Service) -> None:
    newsletter = {"id": f"xss {XSS}", "name": XSS, "subject": XSS, "tags": [XSS]}
    html = '<a href="https://example.com/?q=%3Cscript%3E" data-track-name="{}">x</a>'
    answer = service.rewrite(newsletter, html.format(XSS.replace('"', "&quot;")), XSS)
    for path in paths(tracked_urls(answer["html"])):
        service.client.get(path, headers={"user-agent": f"Mozilla/5.0 {XSS} Thunderbird"})
    service.drained()
    page.goto("/newsletters")
    page.get_by_role("link", name=XSS).first.click()
    expect(page.get_by_role("heading", name=XSS)).to_be_visible()
    seen = [page.url, f"{page.url}/recipients", f"/?{urlencode({'search': XSS, 'tag': XSS})}"]
    seen.append(f"{page.url}?{urlencode({'client': XSS, 'country': XSS})}")
    for address in seen:
        page.goto(address)
        expect(page.locator("main")).to_contain_text("onerror=alert(1)")
        assert page.locator("img[src='x']").count() == 0
        assert page.locator("main script").count() == 0
    page.goto(f"/recipients?{urlencode({'search': XSS})}")
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(XSS.lower().strip() or XSS)
    assert page.locator("img[src='x']").count() == 0


def test_filters_live_in_the_address(page: Page, service: Service) -> None:
    phone = agents.CHROME_PHONE
    newsletter = {"id": "filtered", "name": "Filtered finely", "tags": ["finely"]}
    for agent, reader in ((PERSON["user-agent"], "desk"), (phone, "phone")):
        answer = service.rewrite(newsletter, MAIL.format(label="Go"), f"{reader}@example.com")
        for path in paths(tracked_urls(answer["html"])):
            service.client.get(path, headers={"user-agent": agent})
    service.drained()
    page.goto("/newsletters")
    page.get_by_label("Search mailings").fill("filtered FINELY")
    page.keyboard.press("Enter")
    expect(page.locator("#list tbody tr")).to_have_count(1)
    assert "search=filtered" in page.url
    page.get_by_role("link", name="finely", exact=True).click()
    assert "tag=finely" in page.url and "search=" in page.url
    page.get_by_role("link", name="Clicked").click()
    assert "sort=clicked" in page.url
    expect(page.locator("th[aria-sort='descending']")).to_contain_text("Clicked")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "tag=" not in url and "search=" not in url)
    page.get_by_label("Period").select_option("24 hours")
    page.wait_for_url(lambda url: "period=24h" in url)
    page.goto("/newsletters/filtered")
    expect(page.get_by_text("Only real people are counted")).to_be_visible()
    how = page.get_by_role("link", name="How Mailwake counts")
    assert how.get_attribute("href") == "/docs/counting"
    expect(page.locator("#clicks")).to_have_text("2")
    page.get_by_role("link", name="Phone", exact=True).click()
    expect(page.locator("#clicks")).to_have_text("1")
    assert "device=phone" in page.url
    page.get_by_role("link", name="Go", exact=True).click()
    assert "device=phone" in page.url and re.search(r"[?&]link=[0-9a-f]{16}\b", page.url)
    expect(page.get_by_label("Filters")).to_contain_text("Link Go")
    expect(page.locator("#open-hits")).to_have_text("0")
    page.get_by_role("link", name="Device phone").click()
    expect(page.locator("#clicks")).to_have_text("2")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "link=" not in url)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "filtered.csv"
    assert len(download.value.path().read_text().splitlines()) == 5
    page.get_by_label("More about this newsletter").get_by_role("link", name="Recipients").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="phone@example.com").click()
    expect(page.get_by_role("heading", name="phone@example.com")).to_be_visible()
    expect(page.locator("details[open] tbody tr")).to_have_count(2)


def test_the_click_map_shows_the_mail_and_it_does_nothing(page: Page, service: Service) -> None:
    html = (
        '<style>p { color: rgb(1, 2, 3) }</style><p id="hello">Hello</p><script>alert(1)</script>'
        '<a href="https://example.com/first">First</a> <a href="https://example.com/2">Second</a>'
        '<img src="data:," onerror="alert(2)"><form action="/logout" method="post"><button>x</form>'
    )
    answer = service.rewrite({"id": "drawn", "name": "Drawn"}, html, sample=True)
    hit(service, {"html": answer["html"].partition("Second")[0]})
    service.drained()
    page.goto("/newsletters/drawn")
    page.get_by_role("link", name="Click map").click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("#hello")).to_have_css("color", "rgb(1, 2, 3)")
    expect(frame.locator("form, script, button")).to_have_count(0)
    links = frame.locator("a")
    expect(links).to_have_count(2)
    links.first.click()
    assert page.url.endswith("/newsletters/drawn/clickmap")
    rows = page.locator("tbody tr")
    expect(rows.first).to_contain_text("100%")
    rows.first.get_by_role("link", name="First").click()
    page.wait_for_url(lambda url: re.search(r"[?&]link=[0-9a-f]{16}\b", url) is not None)


def test_tags_lead_to_their_newsletters_and_reports_print(page: Page, service: Service) -> None:
    newsletter = {"id": "printed", "name": "Printed", "tags": ["receipts-e2e"]}
    hit(service, service.rewrite(newsletter, MAIL.format(label="Go")))
    service.drained()
    page.goto("/newsletters")
    page.get_by_role("link", name="Tags", exact=True).click()
    row = page.get_by_role("row").filter(has_text="receipts-e2e")
    expect(row).to_contain_text("100.0%")
    row.get_by_role("link").click()
    expect(page.locator("#list tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Printed", exact=True).click()
    page.get_by_label("Period").select_option("7 days")
    expect(page.locator("#clicks")).to_have_text("1")
    page.get_by_role("link", name="Webmail in a browser").click()
    assert "period=7d" in page.url and "family=" in page.url
    expect(page.locator("#open-hits")).to_have_text("1")
    expect(page.locator("#click-hits")).to_have_text("0")  # families are of opens
    page.get_by_role("link", name="Report").click()
    expect(page.get_by_text("Messages sent in the last 7 days")).to_be_visible()
    assert len(page.pdf()) > 5000


def test_a_filter_that_means_nothing_is_named(page: Page, service: Service) -> None:
    for address in ("/?show=robots", "/?page=0", "/newsletters/x?link=x", "/recipients?by=x"):
        answer = page.request.get(address)
        assert answer.status == 422, address
        name = address.partition("?")[2].partition("=")[0]
        assert f"The URL parameter {name} must" in answer.text()


@pytest.mark.parametrize("newsletter", ["a/b/live", "%2F%", "ü ?#&"])
def test_any_id_has_a_page(page: Page, service: Service, newsletter: str) -> None:
    service.rewrite({"id": newsletter, "name": f"Named {newsletter}"}, MAIL)
    service.drained()
    page.goto("/newsletters")
    page.get_by_role("link", name=f"Named {newsletter}", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Named {newsletter}")


@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "dark"), (820, "light"), (1440, "light"), (1920, "dark")]
)
def test_no_page_is_wider_than_the_window(
    browser: Browser, service: Service, session: Any, width: int, scheme: Any
) -> None:
    long = "Averyveryverylongwordwithoutanybreak" * 4
    service.rewrite({"id": "wide", "name": long, "subject": long}, MAIL.format(label=long))
    service.drained()
    context = browser.new_context(
        base_url=service.url,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        storage_state=session,
    )
    page = context.new_page()
    for path in (
        "/",
        "/settings",
        "/suppression-rules",
        "/signals",
        "/newsletters",
        "/newsletters/wide",
        "/newsletters/none",
        "/docs",
        "/docs/counting",
        "/recipients",
        "/newsletters/wide?client=none&device=phone",
        "/?search=Averyvery",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    context.close()


def test_a_one_time_link_logs_in_once(browser: Browser, service: Service) -> None:
    link = f"/login?code={Users(open_state(service.data_dir)).new_code('admin')}"
    for used in (False, True):
        context = browser.new_context(base_url=service.url)
        page = context.new_page()
        page.goto(link)
        page.goto(link)  # as a chat's preview would: only the button uses it up
        if used:
            expect(page.get_by_role("alert")).to_contain_text("already used")
        else:
            page.get_by_role("button", name="Continue as admin").click()
            expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()
        context.close()


def test_no_row_of_a_live_list_moves_until_it_is_asked_to(page: Page, service: Service) -> None:
    """The list reordered itself under the pointer ten times in twenty seconds."""
    for name in ("still-a", "still-b", "still-c"):
        service.rewrite({"id": name, "name": name, "tags": ["still"]}, MAIL)
        service.drained()
    page.goto("/newsletters?tag=still")
    names = page.locator("#list tbody th > a")
    expect(names).to_have_text(["still-c", "still-b", "still-a"])
    fresh, place = page.locator("#fresh"), names.first.bounding_box()
    expect(fresh).to_be_hidden()
    hit(service, service.rewrite({"id": "still-a", "name": "still-a", "tags": ["still"]}, MAIL))
    expect(fresh).to_have_text("Show the new order")  # it is the latest sent now
    expect(page.locator("#list tbody tr").nth(2)).to_contain_text("50.0%")  # figures go on
    expect(names).to_have_text(["still-c", "still-b", "still-a"])
    assert names.first.bounding_box() == place
    service.rewrite({"id": "still-d", "name": "still-d", "tags": ["still"]}, MAIL)
    expect(fresh).to_have_text("1 new: show")
    expect(names).to_have_text(["still-c", "still-b", "still-a"])
    fresh.click()
    expect(names).to_have_text(["still-d", "still-a", "still-c", "still-b"])
    expect(fresh).to_be_hidden()


def test_a_chart_is_read_by_arrow_keys_and_by_pointer(page: Page, service: Service) -> None:
    hit(service, service.rewrite("charted", MAIL))
    service.drained()
    page.goto("/newsletters/charted?step=day")  # columns that time does not move
    chart, tip = page.locator("[data-chart]"), page.locator(".tip")
    expect(tip).to_be_hidden()
    chart.focus()
    said = []
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
        said.append(tip.inner_text())
    assert any("1 opens, 1 clicks" in one for one in said), said
    assert len(set(said)) == 12
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() == said[-2]
    box = page.locator(".plot").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20)
    expect(tip).to_have_text(said[0])
    page.mouse.move(box["x"], box["y"] - 60)
    expect(tip).to_be_hidden()
    page.dispatch_event(".plot", "pointerdown", {"clientX": box["x"] + 2, "pointerType": "touch"})
    expect(tip).to_have_text(said[-1])  # of a finger, the first column


def test_the_home_page_is_live_and_its_feed_can_be_paused(page: Page, service: Service) -> None:
    page.goto("/signals")
    page.get_by_label("Contains").fill("call for an answer")
    page.get_by_role("button", name="Add signal").click()
    answers = [
        service.rewrite("home-live", MAIL.format(label="Call for an answer"), f"{name}@example.com")
        for name in ("first", "second", "third")
    ]
    service.drained()
    page.goto("/")
    feed, waiting = page.locator("#latest"), page.locator("#waiting")
    expect(page).to_have_title("Home · Mailwake")
    hit(service, answers[0])
    expect(feed).to_contain_text("first@example.com")
    expect(waiting).to_contain_text("first@example.com")
    expect(page).to_have_title("(1) Home · Mailwake")
    page.get_by_role("button", name="Pause").click()
    hit(service, answers[1])
    expect(waiting).to_contain_text("second@example.com")  # the rest of the page goes on
    expect(page).to_have_title("(2) Home · Mailwake")
    expect(feed).not_to_contain_text("second@example.com")
    page.get_by_role("button", name="Paused").click()
    hit(service, answers[2])
    expect(feed).to_contain_text("second@example.com")
    page.get_by_role("button", name="Done with first@example.com").click()
    expect(waiting).to_contain_text("third@example.com")
    expect(waiting).not_to_contain_text("first@example.com")
    expect(page).to_have_title("(2) Home · Mailwake")
    page.goto("/signals")
    page.get_by_role("button", name="Remove call for an answer").click()


def test_a_period_is_chosen_by_keyboard_and_in_the_url(page: Page, service: Service) -> None:
    service.rewrite({"id": "period", "name": "Period"}, MAIL)
    service.drained()
    page.goto("/newsletters?search=period")
    period = page.get_by_role("combobox", name="Period")
    period.focus()
    period.press("T")  # Today
    expect(page).to_have_url(re.compile(r"/newsletters\?search=period&period=today$"))
    expect(page.get_by_role("link", name="Period", exact=True)).to_be_visible()
    expect(page.get_by_label("From")).to_be_hidden()
    page.get_by_role("combobox", name="Period").press("C")  # Custom range
    first = page.get_by_label("From")
    expect(first).to_be_visible()
    expect(first).to_be_focused()
    first.fill("2020-01-01")
    page.get_by_label("to", exact=True).fill("2020-01-02")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"period=custom&from=2020-01-01&to=2020-01-02$"))
    expect(page.get_by_text("No mailings match.")).to_be_visible()
    page.get_by_role("combobox", name="Period").select_option("7d")
    page.get_by_label("Compare").check()
    expect(page).to_have_url(re.compile(r"search=period&period=7d&compare=1$"))
    page.get_by_role("link", name="Period", exact=True).click()
    expect(page).to_have_url(re.compile(r"/newsletters/period\?period=7d&compare=1$"))


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_times_are_in_the_zone_of_the_browser(
    browser: Browser, service: Service, zone: str
) -> None:
    answer = service.rewrite({"id": "zone"}, MAIL, "zone@example.com")
    service.drained()
    context = browser.new_context(base_url=service.url, timezone_id=zone, locale="de-DE")
    page = context.new_page()
    login(page, service)
    page.goto(f"/messages/{answer['message_id']}")
    expect(page.get_by_text(f"Times are in {zone}.")).to_be_visible()
    clock = page.evaluate(
        "(at) => new Date(at).toLocaleTimeString('de-DE')",
        int(answer["message_id"].replace("-", "")[:12], 16),
    )
    expect(page.get_by_text(f", {clock} to zone@example.com")).to_be_visible()
    page.get_by_role("link", name="Change").click()
    page.get_by_label("Time zone of this browser's pages").fill("UTC")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Times are in UTC.")).to_be_visible()
    context.close()


def test_everything_is_found_by_keyboard(page: Page, service: Service) -> None:
    answer = service.rewrite(
        {"id": "keyboard", "name": "Keyboard news"}, MAIL.format(label="Keys"), "keys@example.com"
    )
    hit(service, answer)
    service.settled()
    page.goto("/settings")
    page.keyboard.press("/")
    expect(page.get_by_label("Search everything")).to_be_focused()
    page.keyboard.type("keyboard")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?q=keyboard$"))
    page.get_by_role("link", name="Keyboard news", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Keyboard news")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("keys@example.com")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/recipients/\d+$"))
    page.keyboard.press("Control+k")
    page.keyboard.type("Keys")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Keys", exact=True).first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="keys@example.com")).to_be_visible()
    page.goto("/settings")
    page.get_by_label("Time zone of this browser's pages").focus()
    page.keyboard.type("a/b")
    expect(page.get_by_label("Time zone of this browser's pages")).to_have_value("a/b")


def test_who_clicked_a_link_today_is_two_clicks_from_home(page: Page, service: Service) -> None:
    html = '<a href="https://example.com/two-clicks" data-track-name="Two clicks">x</a>'
    for number in range(40):  # among those that most people clicked
        answer = service.rewrite("two-clicks", html, f"two{number}@example.com")
        service.client.get(paths(tracked_urls(answer["html"]))[0], headers=PERSON)
    service.settled()
    wanted = page.locator("section", has=page.get_by_role("heading", name="Most wanted"))

    def listed() -> bool:  # what took long to compute is remembered for a moment
        page.goto("/?period=24h")
        return wanted.get_by_role("link", name="Two clicks").count() > 0

    service.wait_for(listed, "new figures")
    wanted.get_by_role("link", name="Two clicks").click()  # the first
    expect(page.get_by_role("heading", name="Who clicked Two clicks")).to_be_visible()
    page.get_by_role("combobox", name="Period").select_option("today")  # the second
    expect(page).to_have_url(re.compile("period=today"))
    expect(page.get_by_role("heading", name="40 people")).to_be_visible()


def test_mailings_are_selected_and_compared_while_the_list_is_live(
    page: Page, service: Service
) -> None:
    names = ("Picked one", "Picked two")
    for name in names:
        answer = service.rewrite({"id": name, "name": name, "tags": ["picked"]}, MAIL)
    service.drained()
    page.goto("/newsletters?tag=picked")
    for name in names:
        page.get_by_label(f"Select {name}").check()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=names[1]))
    hit(service, answer)
    expect(row).to_contain_text("100.0%")
    for name in names:
        expect(page.get_by_label(f"Select {name}")).to_be_checked()
    page.get_by_role("button", name="Compare selected").click()
    for name in names:
        expect(page.get_by_role("rowheader").filter(has_text=name)).to_be_visible()


def test_the_first_steps_tick_themselves(browser: Browser, tmp_path: Path) -> None:
    with Service(tmp_path / "data") as fresh:
        fresh.ready()
        context = browser.new_context(base_url=fresh.url)
        page = context.new_page()
        login(page, fresh)
        done = page.locator(".steps .done strong")
        expect(done).to_have_text(["Create an API key"])
        answer = fresh.rewrite("first", MAIL)
        expect(done).to_have_text(["Create an API key", "Track a mail"])
        hit(fresh, answer)
        expect(page.locator(".steps")).to_have_count(0)
        expect(page.get_by_text("Opens and clicks").first).to_be_visible()
        context.close()


def test_a_person_has_a_score_and_best_hours(page: Page, service: Service) -> None:
    for number in range(3):
        answer = service.rewrite(f"scored-{number}", MAIL, "scored@example.com")
        hit(service, answer)
    service.settled()
    page.goto("/recipients")
    page.get_by_label("Search email addresses").fill("scored@example.com")
    page.keyboard.press("Enter")
    expect(page.locator(".figures > div").filter(has_text="Engagement")).to_contain_text("100")
    expect(page.get_by_role("heading", name="Best hours")).to_be_visible()
    expect(page.locator(".week .hour")).to_have_count(7 * 24)
    hours = page.locator(".week .heat5")
    expect(hours.first).to_be_visible()
    page.get_by_text("Show as a table").click()
    busiest = page.get_by_role("row").filter(has_text=re.compile("day, [0-9]{2}:00 to"))
    expect(busiest.first).to_be_visible()
