"""Every filter on links leaves the same clicks, whoever is asked: events, segments, pages."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import agents
from app.events.event_filter import _fits
from app.links import identity
from app.stats.queries import clicked, like
from app.storage.clickhouse import Storage
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
MAIL = """<body>
<a href="https://shop.example/boots" data-track-tag="boots">Boots</a>
<a href="https://www.shop.example/sale/100%25_wool" data-track-name="hero">Wool</a>
<a href="https://other.example/help/contact?a=1">Help</a>
</body>"""
LINKS = [
    "https://shop.example/boots",
    "https://www.shop.example/sale/100%25_wool",
    "https://other.example/help/contact?a=1",
]
IDS = [
    identity.shown_id(identity.identify(url, name).link)
    for url, name in zip(LINKS, ("", "hero", ""), strict=True)
]
# The filter and what it leaves, under its names in events, segments and pages.
CASES: list[tuple[str, str, str, str, set[int]]] = [
    ("link", "clicked_link", "link", IDS[0], {0}),
    ("link", "clicked_link", "link", IDS[1], {1}),
    ("name", "clicked_name", "link_name", "hero", {1}),
    ("name", "clicked_name", "link_name", "Boots", set()),
    ("label", "clicked_label", "label", "Boots", {0}),
    ("label", "clicked_label", "label", "hero", {1}),
    ("url", "clicked_url", "url", "https://shop.example/", {0}),
    ("url", "clicked_url", "url", "https://other.example/help/contact?a=1", {2}),
    ("host", "clicked_host", "host", "shop.example", {0, 1}),
    ("host", "clicked_host", "host", "Other.Example", {2}),
    ("host", "clicked_host", "host", "example", {0, 1, 2}),
    ("host", "clicked_host", "host", "op.example", set()),
    ("path", "clicked_path", "path", "/boots", {0}),
    ("path", "clicked_path", "path", "/sale/*", {1}),
    ("path", "clicked_path", "path", "/sale/100%25_w*", {1}),
    ("path", "clicked_path", "path", "/sale/100%2__w*", set()),
    ("path", "clicked_path", "path", "*o*t*", {0, 2}),
    ("tag", "clicked_tag", "", "boots", {0}),
]


@pytest.fixture(scope="module")
def clicks(service: Service) -> Iterator[str]:
    """Three people, each clicks another link."""
    for n in range(3):
        answer = service.rewrite("link filters", MAIL, f"filter{n}@example.com")
        path = [p for p in paths(tracked_urls(answer["html"])) if p.startswith("/c/")][n]
        assert service.client.get(path, headers=PERSON).headers["location"] == LINKS[n]
    service.settled()
    yield "link filters"


@pytest.mark.parametrize(("event", "segment", "page", "value", "expected"), CASES)
def test_all_agree(
    service: Service,
    clicks: str,
    event: str,
    segment: str,
    page: str,
    value: str,
    expected: set[int],
) -> None:
    query = {"newsletter": clicks, "type": "message.clicked", event: value}
    answer = service.client.get("/v1/events", params=query)
    assert answer.status_code == 200, answer.text
    found = [json.loads(line)["recipient"] for line in answer.text.splitlines()]
    assert sorted(found) == [f"filter{n}@example.com" for n in sorted(expected)]
    answer = service.client.get("/v1/segments", params={"clicked": clicks, segment: value})
    people = {json.loads(line)["recipient"] for line in answer.text.splitlines()}
    assert people == {f"filter{n}@example.com" for n in expected}
    if page:
        with httpx2.Client(
            base_url=service.url, trust_env=False, verify=False, timeout=PATIENCE_SECONDS
        ) as visitor:
            service.login(visitor)
            shown = visitor.get(f"/newsletters/{clicks}", params={page: value}).text
            number = re.search(r'id="click-hits">([\d,]+)<', shown)
            assert number and int(number[1]) == len(expected)


@pytest.mark.parametrize("value", ["x", "70000", "-1", "ABCDEF0123456789"])
def test_an_id_that_is_none_is_refused(service: Service, clicks: str, value: str) -> None:
    for path, name in (("/v1/events", "link"), ("/v1/segments", "clicked_link")):
        answer = service.client.get(path, params={name: value})
        assert (answer.status_code, answer.json()["field"]) == (422, name), answer.text
    body = {"url": "https://hooks.example/x", "links": [value]}
    answer = service.client.post("/v1/webhooks", json=body)
    assert answer.status_code == 422 and answer.json()["field"].startswith("links")


WORD = st.text("ab*/%_\\", max_size=12)


@given(st.lists(st.tuples(WORD, st.text("ab/%_\\", max_size=14)), min_size=1, max_size=30))
def test_the_database_takes_it_as_we_do(storage: Storage, pairs: list[tuple[str, str]]) -> None:
    rows = storage.query(
        "SELECT arrayMap((t, p) -> t LIKE p, {texts:Array(String)}, {patterns:Array(String)}) AS a",
        {"texts": [text for _, text in pairs], "patterns": [like(one) for one, _ in pairs]},
    )
    assert [bool(one) for one in rows[0]["a"]] == [_fits(*pair) for pair in pairs]


def test_parts_of_a_page_become_parameters() -> None:
    def given_(**parts: str) -> dict[str, Any]:
        return {name: value for name, value in clicked(parts).items() if value not in ("", 0, -1)}

    assert given_() == {}
    assert given_(link="3") == {"position": 3}
    assert given_(link="0") == {"position": 0} or clicked({"link": "0"})["position"] == 0
    assert given_(link=IDS[0]) == {"link": int(IDS[0], 16)}
