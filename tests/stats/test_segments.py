"""Segments against a ledger that is known, and recipients with what they prefer."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from app.demo import agents
from tests.support.service import Service, paths, tracked_urls

BOOTS = '<a href="https://boots.example/" data-track-tag="boots shoes">Boots</a>'
TENTS = '<a href="https://tents.example/" data-track-tag="tents">Tents</a>'
PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}


@pytest.fixture(scope="module")
def filled(service: Service) -> Service:
    """Of seg-1, ann opens and clicks boots, bob opens, cid does nothing, a scanner clicks dot's."""
    acts = {"ann": [0, 2], "bob": [2], "cid": [], "dot": []}
    for name, hits in acts.items():
        answer = service.rewrite("seg-1", f"<body>{BOOTS}{TENTS}</body>", f"{name}@seg.example")
        urls = paths(tracked_urls(answer["html"]))
        for number in hits:
            service.client.get(urls[number], headers=PERSON)
        if name == "dot":
            service.client.get(urls[0], headers={"user-agent": agents.BARRACUDA})
    states: dict[str, list[tuple[str, bool | None]]] = {
        "ann": [("bounced", False), ("delivered", None)],
        "bob": [("bounced", True)],
        "cid": [("deferred", None)],
        "eve": [("complained", None)],
    }
    for name, kinds in states.items():
        sent = service.rewrite("seg-3", f"<body>{TENTS}</body>", f"{name}@seg.example")
        for number, (kind, permanent) in enumerate(kinds):
            outcome = {
                "id": f"seg {name} {number}",
                "type": kind,
                "message_id": sent["message_id"],
                "occurred_at": f"2026-11-28T08:00:0{number}Z",
            }
            permanence = {} if permanent is None else {"permanent": permanent}
            answered = service.client.post("/v1/outcomes", json=outcome | permanence)
            assert answered.status_code == 200, answered.text
    service.rewrite("seg-3", f"<body>{TENTS}</body>", "fox@seg.example")  # of whom nothing is known
    answer = service.rewrite("seg-2", f"<body>{TENTS}</body>", "bob@seg.example")
    service.client.get(paths(tracked_urls(answer["html"]))[0], headers=PERSON)
    service.settled()
    return service


def names(service: Service, **query: Any) -> list[str]:
    answer = service.client.get("/v1/segments", params=query)
    assert answer.status_code == 200, answer.text
    found = [json.loads(line)["recipient"] for line in answer.text.splitlines()]
    assert found == sorted(found)
    return [one.partition("@")[0] for one in found if one.endswith("@seg.example")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "ann bob cid dot eve fox"),
        ({"newsletter": "seg-3"}, "ann bob cid eve fox"),
        ({"bounced": "seg-3"}, "bob"),
        ({"bounced": "seg-1"}, ""),
        ({"not_delivered": "seg-3"}, "bob cid"),
        ({"not_delivered": "seg-3", "opened": "seg-1"}, "bob"),
        ({"not_delivered": "seg-1"}, ""),
        ({"newsletter": "seg-2"}, "bob"),
        ({"newsletter": "none such"}, ""),
        ({"clicked_tag": "boots"}, "ann"),
        ({"clicked_tag": "tents"}, "bob"),
        ({"clicked_tag": ["boots", "tents"]}, "ann bob"),
        ({"clicked_tag": "tents", "newsletter": "seg-1"}, "bob"),
        ({"opened": "seg-1"}, "ann bob"),
        ({"clicked": "seg-1"}, "ann"),
        ({"not_opened": "seg-1"}, "cid dot"),
        ({"not_clicked": "seg-1"}, "bob cid dot"),
        ({"not_clicked": "seg-1", "clicked": "seg-2"}, "bob"),
        ({"not_opened": "seg-2"}, "bob"),
        ({"opened": "seg-1", "since": "2020-01-01T00:00:00Z"}, "ann bob"),
        ({"opened": "seg-1", "since": "2100-01-01T00:00:00Z"}, ""),
        ({"not_opened": "seg-1", "since": "2100-01-01T00:00:00Z"}, "ann bob cid dot"),
    ],
)
def test_a_segment_holds_whom_it_names(
    filled: Service, query: dict[str, Any], expected: str
) -> None:
    assert names(filled, **query) == expected.split()


def test_a_saved_segment_is_asked_anew(filled: Service) -> None:
    wanted = {"clicked_tag": ["boots"], "newsletter": "seg-1", "since": "2020-01-01T00:00:00Z"}
    path = f"/v1/saved-segments/{quote('Boots/é', safe='')}"
    for body in ({"newsletter": "other"}, wanted):
        answer = filled.client.put(path, json=body)
        assert answer.status_code == 200, answer.text
    since = "2020-01-01T00:00:00.000Z"  # times in answers have one precision
    assert answer.json() == {"name": "Boots/é", "segment": {**wanted, "since": since}}
    assert filled.get("/v1/saved-segments")["segments"] == [answer.json()]
    lines = filled.client.get(path).text.splitlines()
    assert [json.loads(line)["recipient"] for line in lines] == ["ann@seg.example"]
    wrong = filled.client.put(path, json={"newsleter": "x"})
    assert wrong.status_code == 422 and "newsleter" in wrong.text
    assert filled.client.put(f"/v1/saved-segments/{'x' * 101}", json={}).json()["field"] == "name"
    assert filled.client.delete(path).status_code == 200
    assert filled.client.get(path).status_code == filled.client.delete(path).status_code == 404


def test_what_is_no_filter_is_named(filled: Service) -> None:
    for query, field in (
        ("opend=x", "opend"),
        ("since=yesterday", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        (f"newsletter={'x' * 201}", "newsletter"),
    ):
        answer = filled.client.get(f"/v1/segments?{query}")
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_recipient_has_preferences(filled: Service) -> None:
    found = filled.get(f"/v1/recipients/{quote('ANN@seg.example')}")
    assert found["recipient"] == "ann@seg.example"
    assert (found["messages"], found["opened"], found["clicked"]) == (2, 1, 1)
    assert {"name": "boots", "hits": 1} in found["topics"]
    assert found["sites"] == [{"name": "boots.example", "hits": 1}]
    assert found["clients"][0]["name"] == "Chrome"
    assert not found["suppressed_everywhere"] and found["suppressed_for"] == []
    body = {"recipient": "ann@seg.example", "newsletter_id": "seg-1"}
    filled.client.post("/v1/suppressions", json=body)
    assert filled.get("/v1/recipients/ann@seg.example")["suppressed_for"] == ["seg-1"]
    filled.client.request("DELETE", "/v1/suppressions", json=body)
    assert filled.client.get("/v1/recipients/nobody@seg.example").status_code == 404
    assert filled.client.get("/v1/recipients/%FF").status_code == 404
