"""The home page: figures that agree with the statistics, whom to answer, and earlier addresses."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from app.web.dashboard.home import SEEN
from app.web.views.reader import UTC_READER
from tests.support.patience import PATIENCE_SECONDS
from tests.support.reader import PERSON
from tests.support.service import Service, paths, tracked_urls

MAIL = (
    '<a href="https://example.com/pricing/eu?x=1" data-track-tag="Money">Our plans</a>'
    ' <a href="https://example.com/story">A story</a>'
)


@pytest.fixture
def visitor(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        service.login(client)
        yield client


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("home") / "data") as running:
        running.ready()
        yield running


def follow(service: Service, answer: dict[str, str], *numbers: int) -> None:
    urls = paths(tracked_urls(answer["html"]))
    for number in numbers:
        service.client.get(urls[number], headers=PERSON)


def steps(page: str) -> dict[str, bool]:
    """Returns the steps of the first use, and whether they are done."""
    block = page.partition('id="steps"')[2].partition('class="controls"')[0]
    found = re.findall(r"<li([^>]*)>.*?<strong>([^<]+)</strong>", block, re.DOTALL)
    return {name: "done" in marked for marked, name in found}


def waiting(page: str) -> list[str]:
    """Returns who is to be answered."""
    block = page.partition('id="waiting"')[2].partition('id="h-latest"')[0]
    return re.findall(r">([\w.]+@example\.com)</a>", block)


def test_a_first_start_explains_the_first_mail(visitor: httpx2.Client) -> None:
    page = visitor.get("/").text
    assert "Track your first mail" in page
    assert "Say which clicks call for an answer" in page
    assert steps(page) == {"Create an API key": True, "Track a mail": False, "Open it": False}


def test_figures_agree_with_the_statistics(service: Service, visitor: httpx2.Client) -> None:
    for number in range(60):
        answer = service.rewrite({"id": "h", "name": "Hello"}, MAIL, f"p{number}@example.com")
        follow(service, answer, *([2] if number % 3 else []), *([0] if number % 4 == 0 else []))
    service.settled()
    stats = service.stats("h")
    # What took long to compute is remembered for a moment.
    service.wait_for(lambda: "Our plans" in visitor.get("/").text, "new figures")
    service.wait_for(lambda: "No mailing sent" not in visitor.get("/").text, "new figures")
    page = visitor.get("/").text
    tiles = re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page)
    rates = {
        "Open rate": f"{100 * stats['open_rate']:.1f}%",
        "Click rate": f"{100 * stats['click_rate']:.1f}%",
        "Unsubscribe rate": "0.0%",
    }
    assert dict(tiles) == {"Sent": "60", **rates}
    assert f"<strong>{stats['clicks']['human']['total']}</strong> clicks" in page
    best = page.partition('id="h-best"')[2].partition("</section>")[0]
    assert "Hello" in best and rates["Click rate"] in best
    wanted = page.partition('id="h-wanted"')[2].partition("</section>")[0]
    assert re.search(r"Money.*?>15<", wanted, re.DOTALL)
    assert re.search(r"Our plans.*?>15<", wanted, re.DOTALL)
    for kind, verb in (("click", "clicked"), ("open", "opened"), ("all", "")):
        feed = visitor.get("/", params={"kind": kind}).text.partition('id="latest"')[2]
        feed = feed.partition("</section>")[0]
        verbs = set(re.findall(r"(?:opened|clicked|unsubscribed from)(?= )", feed))
        assert verbs == ({verb} if verb else {"opened", "clicked"})
    machines = re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", visitor.get("/?show=machine").text)
    assert dict(machines)["Click rate"] == "0.0%"


@pytest.mark.parametrize(
    ("kind", "pattern"), [("label", "PLANS"), ("url", "/pricing/*?x"), ("topic", "money")]
)
def test_who_clicks_a_signal_is_listed_until_answered(
    service: Service, visitor: httpx2.Client, kind: str, pattern: str
) -> None:
    form = visitor.get("/signals").text
    assert service.post(visitor, "/signals", form, kind=kind, pattern=pattern).status_code == 303
    person, other = f"{kind}.one@example.com", f"{kind}.two@example.com"
    answer = service.rewrite({"id": "h"}, MAIL, person)
    follow(service, answer, 0)
    follow(service, service.rewrite({"id": "h"}, MAIL, other), 1)
    service.settled()
    page = visitor.get("/").text
    assert waiting(page)[0] == person and other not in waiting(page)
    assert f'<a href="mailto:{person}">' in page
    entry = page.partition(person)[2].partition("</li>")[0]
    fields = dict(re.findall(r'name="(recipient|until)" value="(\d+)"', entry))
    there = "/home/answered?period=30d"
    done = service.post(visitor, there, page, **fields)
    assert (done.status_code, done.headers["location"]) == (303, "/?period=30d")
    assert person not in waiting(visitor.get("/").text)
    time.sleep(0.002)  # a later millisecond
    follow(service, answer, 0)
    service.settled()
    assert waiting(visitor.get("/").text)[0] == person
    service.post(visitor, "/signals/remove", form, kind=kind, pattern=pattern)
    assert person not in waiting(visitor.get("/").text)


def test_what_is_wrong_with_a_form_is_named(service: Service, visitor: httpx2.Client) -> None:
    form = visitor.get("/signals").text
    answer = service.post(visitor, "/signals", form, kind="url", pattern="*")
    assert answer.status_code == 422 and "pattern: must contain more than *" in answer.text
    assert 'value="*"' in answer.text
    for fields in ({"recipient": "x", "until": "1"}, {"recipient": "1", "until": "-1"}):
        answer = service.post(visitor, "/home/answered", form, **fields)
        name = "recipient" if fields["recipient"] == "x" else "until"
        assert answer.status_code == 422 and f"{name}: must be a whole number" in answer.text


@pytest.mark.parametrize(
    ("query", "list_query"),
    [
        ("search=boots", "search=boots"),
        ("tag=a&show=all", "show=all&tag=a"),
        ("sort=name&up=1&period=7d", "period=7d&sort=name&up=1"),
        ("page=2", "page=2"),
    ],
)
def test_addresses_of_the_list_lead_to_it(
    visitor: httpx2.Client, query: str, list_query: str
) -> None:
    answer = visitor.get(f"/?{query}")
    assert (answer.status_code, answer.headers["location"]) == (307, f"/newsletters?{list_query}")


def test_a_period_is_checked(visitor: httpx2.Client) -> None:
    for period in ("today", "24h", "7d", "30d", "90d", "365d"):
        page = visitor.get("/", params={"period": period, "compare": "1"})
        assert page.status_code == 200
        assert page.text.count("data-tip") < 130
    answer = visitor.get("/", params={"period": "all"})
    assert answer.status_code == 422 and "period must be one of today, 24h, 7d" in answer.text
    answer = visitor.get("/", params={"to": "2026-11-24"})
    assert answer.status_code == 422 and "from is required on this page" in answer.text
    page = visitor.get("/", params={"from": "2000-01-01", "to": "2100-12-31"})
    assert page.status_code == 200 and page.text.count("data-tip") < 130


def test_a_period_is_drawn_with_the_one_before(visitor: httpx2.Client) -> None:
    plain = visitor.get("/", params={"period": "7d"}).text
    compared = visitor.get("/", params={"period": "7d", "compare": "1"}).text
    assert 'class="before opens"' in compared and 'class="before opens"' not in plain
    assert "; before: no opens or clicks" in compared
    assert "Period before" in compared


def test_the_news_are_those_since_the_last_visit(visitor: httpx2.Client) -> None:
    now = int(time.time())
    for cookie, since in (
        (f"{now - 50_000}.{now - 4_000}", now - 4_000),  # a new visit begins
        (f"{now - 50_000}.{now - 60}", now - 50_000),  # the same visit
        ("nonsense", now - 86_400),
        (f"{now + 5_000}.{now + 9_000}", now - 86_400),  # the clock was set back
    ):
        visitor.cookies.set(SEEN, cookie, domain="127.0.0.1")
        answer = visitor.get("/")
        times = [datetime.fromtimestamp(since + off, UTC) for off in range(-5, 60)]
        shown = {UTC_READER.when(at) for at in times}
        found = re.search(r"Since (.+?\d\d:\d\d):", answer.text)
        assert found and found[1] in shown, cookie
        before, active = re.findall(r"mailwake_seen=(\d+)\.(\d+)", str(answer.headers))[0]
        assert abs(int(before) - since) < 60 and int(active) >= now
        visitor.cookies.delete(SEEN, domain="127.0.0.1")


def test_steps_are_ticked_and_leave_when_all_are_done(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        service.ready()
        with httpx2.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as visitor:
            service.login(visitor)
            first_steps(service, visitor)


def first_steps(service: Service, visitor: httpx2.Client) -> None:
    answer = service.rewrite({"id": "first", "name": "First"}, MAIL, "first@example.com")
    service.drained()
    page = visitor.get("/").text
    assert steps(page) == {"Create an API key": True, "Track a mail": True, "Open it": False}
    assert "Track your first mail" not in page
    follow(service, answer, 2)
    service.settled()
    assert steps(visitor.get("/").text) == {}
