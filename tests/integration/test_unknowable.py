"""What a mixed population did, counted by hand, in the API, on pages and in the report."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from app.demo import agents
from app.schemas.stats import Count, Newsletter, Split, Stats
from app.web.views import report
from app.web.views.reader import UTC_READER
from tests.support.service import Service, paths, tracked_urls

NAVIGATES = {"sec-fetch-mode": "navigate"}
# What happens to each message: kind of hit, agent, headers.
STORIES: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "reads": [("open", agents.THUNDERBIRD, {})],
    "by a proxy": [("open", agents.GMAIL_PROXY, {})],
    "prefetched": [("open", agents.APPLE_PRIVACY, {})],
    "prefetched and read": [("open", agents.APPLE_PRIVACY, {}), ("open", agents.IPHONE_MAIL, {})],
    "without agent": [("open", "", {})],
    "scanned": [("open", agents.BARRACUDA, {})],
    "scanned and prefetched": [
        ("open", agents.BARRACUDA, {}),
        ("open", agents.APPLE_PRIVACY, {}),
    ],
    "clicks unseen": [("open", agents.APPLE_PRIVACY, {}), ("click", agents.SAFARI, NAVIGATES)],
    "asks an assistant": [("click", "Mozilla/5.0 (compatible; ChatGPT-User/1.0)", {})],
    "nothing": [],
}
OPENED = {"reads", "by a proxy", "prefetched and read"}
UNKNOWABLE = {"prefetched", "without agent", "scanned and prefetched", "clicks unseen"}
TIMES = 3  # how often each happens


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("unknowable") / "data") as running:
        running.ready()
        for name, hits in STORIES.items():
            for number in range(TIMES):
                recipient = f"{number} {name}".replace(" ", ".")
                _happen(running, "mixed", recipient, hits, variant="AB"[number % 2])
        _happen(running, "plain", "a", STORIES["reads"])
        running.settled()
        yield running


def _happen(service: Service, newsletter: str, name: str, hits: list[Any], **more: Any) -> None:
    html = '<a href="https://example.com/">x</a>'
    described = {"id": newsletter, "tags": [f"about {newsletter}"]}
    answer = service.rewrite(described, html, f"{name}@example.com", **more)
    link, pixel = paths(tracked_urls(answer["html"]))
    for kind, agent, headers in hits:
        path = pixel if kind == "open" else link
        service.client.get(path, headers={"user-agent": agent, **headers})


@pytest.fixture(scope="module")
def visitor(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        assert service.login(client).is_redirect
        yield client


def test_the_api_has_both_ends(service: Service) -> None:
    stats = service.stats("mixed")
    sent = TIMES * len(STORIES)
    assert stats["messages"] == stats["opens_tracked"] == sent
    assert stats["opens"]["human"]["unique"] == TIMES * len(OPENED)
    assert stats["unknowable"] == TIMES * len(UNKNOWABLE)
    assert stats["open_rate"] == len(OPENED) / len(STORIES)
    assert stats["open_rate_max"] == (len(OPENED) + len(UNKNOWABLE)) / len(STORIES)
    assert stats["click_rate"] == 1 / len(STORIES)
    assert stats["click_to_open_rate"] is None
    opens = stats["opens"]
    assert opens["all"]["total"] == opens["human"]["total"] + opens["machine"]["total"]
    assert stats["clicks"]["machine"]["unique"] == TIMES  # the assistant's


def test_without_unknowable_opens_there_is_one_rate(service: Service) -> None:
    stats = service.stats("plain")
    assert stats["open_rate"] == stats["open_rate_max"] == 1
    assert stats["click_to_open_rate"] == 0


def test_pages_show_the_range(service: Service, visitor: httpx2.Client) -> None:
    low, high = (
        100 * len(OPENED) / len(STORIES),
        100 * (len(OPENED) + len(UNKNOWABLE)) / len(STORIES),
    )
    both = f"{low:.1f}\u2013{high:.1f}%"
    page = visitor.get("/newsletters/mixed").text
    assert both in page and 'id="unknowable"' in page
    assert "Too many opens are unknown" in page
    assert both in visitor.get("/newsletters").text
    assert both in visitor.get("/compare", params={"newsletter": ["mixed", "plain"]}).text
    assert both in visitor.get("/newsletters/mixed/report").text
    assert page.count(both) == 3  # of all and of each variant
    assert both in visitor.get("/tags").text
    for show in ("machine", "all"):
        page = visitor.get("/newsletters/mixed", params={"show": show}).text
        assert both not in page and 'id="unknowable"' not in page
    assert "unknowable" not in visitor.get("/newsletters/plain").text


def test_the_report_as_text_shows_the_range() -> None:
    opens = Split(human=Count(9, 3))
    stats = Stats(
        newsletter_id="n",
        messages=10,
        opens=opens,
        clicks=Split(),
        unsubscribes=0,
        updated_at=None,
        tracking={"opens": "full", "clicks": "full"},
        opens_tracked=10,
        clicks_tracked=10,
        open_rate_messages=10,
        click_rate_messages=10,
    )
    newsletter = Newsletter("n", "News", "", ())
    page = {"stats": stats, "opens": opens.human, "clicks": Count(), "newsletter": newsletter}
    page |= {"reader": UTC_READER, "rated": 10}
    text = report.text({**page, "unknowable": 4, "period": "All time", "links": []}, "")
    assert "Opened        3 (30.0\u201370.0%)" in text


def test_a_person_seen_elsewhere_is_known(service: Service, visitor: httpx2.Client) -> None:
    """A filter selects the prefetch only, and the message was read all the same."""
    page = visitor.get("/newsletters/mixed", params={"client": "-"}).text
    assert '<dd id="opens">0</dd>' in page  # the readers' clients have names
    assert f"{TIMES * len(UNKNOWABLE)} messages (" in page


def test_filters_count_the_same(service: Service, visitor: httpx2.Client) -> None:
    """Filters read raw hits, the page without them a roll-up."""
    number = str(TIMES * len(UNKNOWABLE))
    for query in ({}, {"period": "7d"}):
        page = visitor.get("/newsletters/mixed", params=query).text
        assert f"{number} messages (" in page, query


def test_only_people_have_opened(service: Service) -> None:
    answer = service.client.get("/v1/segments", params={"opened": "mixed"})
    opened = {line.split("@")[0].split(".", 1)[1] for line in answer.text.split('"') if "@" in line}
    assert opened == {name.replace(" ", ".") for name in OPENED}
