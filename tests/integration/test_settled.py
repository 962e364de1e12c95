"""What webhooks and streams say at once and once verdicts are settled, on the running service."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.demo import agents
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.torture import LONG, longer
from tests.support.webhook_receiver import Receiver, receiver

PERSON = {"user-agent": agents.CHROME_PHONE, "sec-fetch-mode": "navigate"}
SCANNER = {"user-agent": agents.CHROME}
LINKS = "".join(f'<a href="https://example.com/{n}">{n}</a>' for n in range(8))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("settled") / "data"
    with Service(folder, LOCAL_RECEIVERS, **WITH_HTTP) as running:
        running.ready()
        yield running


@pytest.fixture
def receivers() -> Iterator[tuple[Receiver, Receiver, Receiver]]:
    with receiver() as first, receiver() as second, receiver() as third:
        yield first, second, third


def subscribe(service: Service, there: Receiver, newsletter: str, **more: Any) -> dict[str, Any]:
    body = {"url": there.url, "newsletters": [newsletter], **more}
    answer = service.client.post("/v1/webhooks", json=body)
    assert answer.status_code == 200, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


def events(service: Service, newsletter: str, **more: Any) -> list[dict[str, Any]]:
    answer = service.client.get("/v1/events", params={"newsletter": newsletter, **more})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@longer
@pytest.mark.parametrize("pause", [0.05, *([0.4] if LONG else [])])
def test_a_sweep_reaches_nobody_who_waits_for_people(
    service: Service, receivers: tuple[Receiver, Receiver, Receiver], pause: float
) -> None:
    people, at_once, first = receivers
    name = f"swept at {pause}"
    clicks = {"types": ["message.clicked"], "verdicts": ["human"]}
    webhook = subscribe(service, people, name, **clicks)
    assert webhook["when"] == "settled"
    assert subscribe(service, first, name, **clicks, first=True)["when"] == "settled"
    subscribe(service, at_once, name, types=["message.clicked"], when="immediate")
    answers = [service.rewrite(name, LINKS, f"{n}@example.com") for n in range(40)]
    urls = [paths(tracked_urls(answer["html"]))[:-1] for answer in answers]
    for number in range(8):  # all mails side by side, each link `pause` after the one before
        began = time.monotonic()
        for links in urls:
            service.client.get(links[number], headers=SCANNER)
        time.sleep(max(0.0, pause - (time.monotonic() - began)))
    service.settled()
    service.wait_for(lambda: len(at_once.requests) >= 320, "immediate deliveries")
    assert people.events() == [] and first.events() == []
    # Each customer then clicks, from elsewhere, by a browser.
    for links in urls:
        service.client.get(links[3], headers=PERSON)
        service.client.get(links[4], headers=PERSON)
    service.wait_for(lambda: len(first.requests) >= 40, "the customers' first clicks")
    service.wait_for(lambda: len(people.requests) >= 80, "the customers' clicks")
    service.settled()
    recipients = [event["data"]["recipient"] for event in first.events()]
    assert sorted(recipients) == sorted(f"{n}@example.com" for n in range(40))
    for received in (people, first):
        assert {event["data"]["verdict"] for event in received.events()} == {"human"}


def test_a_taken_back_event_reaches_who_got_it(
    service: Service, receivers: tuple[Receiver, Receiver, Receiver]
) -> None:
    """A click that was settled as a person's, and later turns out to be part of a sweep."""
    people, first, bots = receivers
    human = {"types": ["message.clicked"], "verdicts": ["human"]}
    subscribe(service, people, "taken back", **human)
    subscribe(service, first, "taken back", **human, first=True)
    subscribe(service, bots, "taken back", verdicts=["machine"])
    answer = service.rewrite("taken back", LINKS, "ann@example.com")
    links = paths(tracked_urls(answer["html"]))[:-1]
    service.client.get(links[0], headers=SCANNER)
    service.wait_for(lambda: first.requests and people.requests, "the first click")
    for link in links[1:]:
        service.client.get(link, headers=SCANNER)
    service.settled()
    service.wait_for(lambda: len(first.requests) >= 2, "what is taken back")
    for received in (people, first):
        service.wait_for(lambda received=received: len(received.requests) >= 2, "both")
        clicked, taken = received.events()[:2]
        assert clicked["type"] == "message.clicked" and clicked["data"]["verdict"] == "human"
        assert taken["type"] == "event.reclassified" and taken["data"]["verdict"] == "scanner"
        assert taken["data"]["previous_verdict"] == "human"
        assert taken["data"]["id"].startswith(clicked["data"]["id"])
    service.wait_for(lambda: len(bots.requests) >= 8, "the whole sweep")
    assert {event["data"]["verdict"] for event in bots.events()} == {"scanner"}
    service.client.get(links[2], headers=PERSON)  # the customer's own, the first once more
    service.wait_for(lambda: len(first.requests) == 3, "the customer's click")
    assert first.events()[2]["data"]["verdict"] == "human"


def test_the_stream_waits_where_it_is_asked_to(service: Service) -> None:
    answer = service.rewrite("waits", LINKS, "ann@example.com")
    links = paths(tracked_urls(answer["html"]))[:-1]
    for link in links:
        service.client.get(link, headers=SCANNER)
    service.settled()
    after = events(service, "waits", settled="1")
    assert [event["type"] for event in after] == ["message.clicked"] * 8
    assert {event["verdict"] for event in after} == {"scanner"}
    at_once = events(service, "waits", settled="0")
    assert {event["id"] for event in after} <= {event["id"] for event in at_once}
    query = {"newsletter": "waits", "settled": "1", "after": "0.0"}
    with service.client.stream("GET", "/v1/events/stream", params=query) as streamed:
        data = (line[5:] for line in streamed.iter_lines() if line.startswith("data:"))
        assert [json.loads(next(data)) for _ in after] == after
    refused = service.client.get("/v1/events", params={"settled": "perhaps"})
    assert refused.status_code == 422 and refused.json()["field"] == "settled"


def test_follow_ups_and_segments_wait_too(
    service: Service, receivers: tuple[Receiver, Receiver, Receiver]
) -> None:
    """A sweep never looks like customers, not even for the seconds until it is known."""
    name = "waited for"
    webhook = subscribe(service, receivers[0], name, types=["followup.due"])
    rule = {"name": "Sale", "webhook_id": webhook["id"], "when": "clicked", "newsletters": [name]}
    answer = service.client.post("/v1/followups", json=rule)
    assert answer.status_code == 200, answer.text
    mails = [service.rewrite(name, LINKS, f"{n}@example.com") for n in range(5)]
    for mail in mails:
        for link in paths(tracked_urls(mail["html"]))[:-1]:
            service.client.get(link, headers=SCANNER)
    service.settled()
    assert service.client.get("/v1/segments", params={"clicked": name}).text == ""
    customer = paths(tracked_urls(mails[3]["html"]))[0]
    service.client.get(customer, headers=PERSON)
    service.wait_for(lambda: receivers[0].requests, "the customer's follow-up")
    service.settled()
    (due,) = receivers[0].events()
    assert due["data"]["recipient"] == "3@example.com"
    members = service.client.get("/v1/segments", params={"clicked": name})
    assert [line for line in members.text.splitlines() if "3@example.com" in line]
    assert len(members.text.splitlines()) == 1


NEVER_SETTLED = """
from app.ingest.corrections import Corrections
Corrections.reclassify_recent.__defaults__ = (1e9,)
"""


def test_a_segment_leaves_out_what_is_loaded_and_not_settled(tmp_path: Path) -> None:
    """However long that takes: each click of a sweep is looked for as soon as it is loaded."""
    with Service(tmp_path / "data", NEVER_SETTLED) as service:
        service.ready()
        mail = service.rewrite("unsettled", LINKS, "ann@example.com")
        for link in paths(tracked_urls(mail["html"]))[:-1]:
            service.client.get(link, headers=SCANNER)
            service.drained()
            members = service.client.get("/v1/segments", params={"clicked": "unsettled"})
            assert members.status_code == 200 and members.text == ""
        # Figures count them at once; events have them for those who do not wait.
        assert service.stats("unsettled")["clicks"]["all"]["total"] == 8
        assert events(service, "unsettled", settled="1") == []
        assert len(events(service, "unsettled", settled="0")) == 8


def test_a_new_webhook_gets_no_event_of_before(
    service: Service, receivers: tuple[Receiver, Receiver, Receiver]
) -> None:
    """A click that was loaded before the webhook was added is settled after that."""
    first, second = (
        paths(tracked_urls(service.rewrite("new", LINKS, f"{n}@example.com")["html"]))[0]
        for n in range(2)
    )
    service.client.get(first, headers=PERSON)
    service.drained()
    subscribe(service, receivers[0], "new", verdicts=["human"])
    service.settled()
    service.client.get(second, headers=PERSON)
    service.wait_for(lambda: receivers[0].requests, "the second click")
    service.settled()
    assert [event["data"]["recipient"] for event in receivers[0].events()] == ["1@example.com"]


def test_immediate_and_first_exclude_each_other(service: Service) -> None:
    body = {"url": "http://127.0.0.1:1/", "first": True, "when": "immediate"}
    answer = service.client.post("/v1/webhooks", json=body)
    assert answer.status_code == 422 and answer.json()["field"] == "when"
