"""Events and the suppression list over the running service."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import httpx2
import pytest

from app.demo import agents
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

MAIL = (
    '<body><a href="https://example.com/a" data-track-tag="boots">Boots</a>'
    '<a href="https://example.com/b">Tents</a></body>'
)
PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}


def events(service: Service, **params: Any) -> tuple[list[dict[str, Any]], str]:
    answer = service.client.get("/v1/events", params=params)
    assert answer.status_code == 200, answer.text
    return list(map(json.loads, answer.text.splitlines())), answer.headers["mailwake-cursor"]


def now(service: Service) -> str:
    at = ""
    while True:
        _, following = events(service, after=at, limit=10_000)
        if following == at:
            return at
        at = following


def hit(service: Service, answer: dict[str, Any], *numbers: int) -> None:
    urls = paths(tracked_urls(answer["html"]))
    for number in numbers:
        service.client.get(urls[number], headers=PERSON)


def test_an_event_says_who_did_what_and_how_sure_that_is(service: Service) -> None:
    start = now(service)
    answer = service.rewrite("evented", MAIL, "Ann@example.com")
    hit(service, answer, 0, 2)
    service.drained()
    (clicked, opened), end = events(service, after=start, newsletter="evented")
    assert clicked["type"] == "message.clicked" and opened["type"] == "message.opened"
    assert clicked["newsletter_id"] == "evented"
    assert clicked["message_id"] == answer["message_id"]
    assert clicked["recipient"] == "Ann@example.com"
    assert (clicked["verdict"], clicked["reasons"]) == ("human", ["soon_after_sending"])
    links = service.get("/v1/newsletters/evented/links")["links"]
    (boots,) = [link["id"] for link in links if link["label"] == "Boots"]
    assert clicked["link"] == {
        "id": boots,
        "name": "",
        "label": "Boots",
        "url": "https://example.com/a",
        "position": 0,
        "tags": ["boots"],
    }
    assert opened["link"] is None
    assert re.fullmatch(r"evt_[0-9a-f]{32}_\d+", clicked["id"]) and clicked["id"] != opened["id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", clicked["occurred_at"])
    assert events(service, after=clicked["cursor"], newsletter="evented")[0] == [opened]
    assert events(service, after=end)[0] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "message.clicked"}, ["click 0", "click 1"]),
        ({"type": ["message.opened", "message.clicked"]}, ["click 0", "click 1", "open"]),
        ({"link": 1}, ["click 1"]),
        ({"label": "Boots"}, ["click 0"]),
        ({"tag": "boots"}, ["click 0"]),
        ({"verdict": "machine"}, []),
        ({"verdict": ["human"], "type": "message.opened"}, ["open"]),
    ],
)
def test_filters_leave_what_they_name(
    service: Service, query: dict[str, Any], expected: list[str]
) -> None:
    name = f"filtered events {sorted(query)}"
    answer = service.rewrite(name, MAIL)
    hit(service, answer, 2)
    hit(service, answer, 0)
    hit(service, answer, 1)
    service.drained()
    found, _ = events(service, newsletter=name, verdict="human")
    if len(found) == 3:  # two quick clicks may be judged as a machine's, which is told as well
        told = [
            "open" if one["link"] is None else f"click {one['link']['position']}"
            for one in events(service, newsletter=name, **query)[0]
            if one["type"] != "event.reclassified"
        ]
        assert sorted(told) == expected


def test_what_is_asked_wrongly_is_named(service: Service) -> None:
    for query, field in (
        ("after=x", "after"),
        ("after=999999.1", "after"),
        ("type=click", "type"),
        ("verdict=robot", "verdict"),
        ("link=-1", "link"),
        ("limit=0", "limit"),
    ):
        for path in ("/v1/events", "/v1/events/stream"):
            if (path, field) != ("/v1/events/stream", "limit"):
                answer = service.client.get(f"{path}?{query}")
                assert (answer.status_code, answer.json()["field"]) == (422, field), query
    bare = httpx2.get(f"{service.url}/v1/events", trust_env=False, timeout=PATIENCE_SECONDS)
    assert bare.status_code == 401


@contextmanager
def stream(service: Service, path: str, **headers: str) -> Iterator[Queue[dict[str, str]]]:
    """Fields of each server-sent event, as they come."""
    found: Queue[dict[str, str]] = Queue()
    client = httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS)
    client.headers["authorization"] = f"Bearer {service.api_key}"
    opened = threading.Event()
    stop = threading.Event()

    def read() -> None:
        with client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            opened.set()
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if stop.is_set():
                    return
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    found.put(fields)
                    fields = {}

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert opened.wait(PATIENCE_SECONDS)
    try:
        yield found
    finally:
        stop.set()
        # The next line wakes the reader; an event of any kind will do.
        answer = service.rewrite("stream ends", MAIL)
        hit(service, answer, 2)
        thread.join(PATIENCE_SECONDS)
        client.close()


def test_a_stream_tells_as_it_happens_and_goes_on_where_it_was(service: Service) -> None:
    answer = service.rewrite("streamed", MAIL)
    with stream(service, "/v1/events/stream") as told:
        hit(service, answer, 0)
        while (
            json.loads((first := told.get(timeout=PATIENCE_SECONDS))["data"])["newsletter_id"]
            != "streamed"
        ):
            pass
        assert first["event"] == "message.clicked"
        assert json.loads(first["data"])["cursor"] == first["id"]
    hit(service, answer, 2)
    service.drained()
    path = "/v1/events/stream?newsletter=streamed&type=message.opened"
    with stream(service, path, **{"last-event-id": first["id"]}) as told:
        missed = told.get(timeout=PATIENCE_SECONDS)
        assert json.loads(missed["data"])["type"] == missed["event"] == "message.opened"


def unsubscribe(service: Service, answer: dict[str, Any]) -> None:
    url = answer["headers"]["List-Unsubscribe"].strip("<>")
    path = url[url.index("/u/") :]
    assert service.client.get(path).status_code == 200  # changes nothing
    for _ in range(2):
        done = service.client.post(path, data={"List-Unsubscribe": "One-Click"})
        assert done.status_code == 200


def test_who_unsubscribes_is_suppressed_and_the_mailer_is_told(service: Service) -> None:
    first = service.rewrite("left", MAIL, "leaver@example.com")
    assert not first["suppressed"]
    service.drained()
    start = now(service)
    query = {"recipient": "leaver@example.com", "newsletter": "left"}
    assert not service.get("/v1/suppressions/check", **query)["suppressed"]
    unsubscribe(service, first)
    service.drained()
    assert service.get("/v1/suppressions/check", **query)["suppressed"]
    told, _ = events(service, after=start, type="message.unsubscribed", newsletter="left")
    assert [one["recipient"] for one in told] == ["leaver@example.com"] * 2
    again = service.rewrite("left", MAIL, "LEAVER@example.com ")
    assert again["suppressed"] and again["html"] != MAIL
    other = service.rewrite("stayed", MAIL, "leaver@example.com")
    assert not other["suppressed"]
    service.client.post("/v1/newsletters/left/template", json={"html": MAIL})
    body = "\n".join(
        json.dumps({"recipient": one}) for one in ("leaver@example.com", "new@example.com")
    )
    for give in ("html", "token"):
        answer = service.client.post(f"/v1/newsletters/left/messages?return={give}", content=body)
        assert [json.loads(line)["suppressed"] for line in answer.text.splitlines()] == [
            True,
            False,
        ]
    mime = (
        "To: leaver@example.com\r\nX-Mailwake-Newsletter: left\r\nContent-Type: text/html\r\n\r\nx"
    )
    answer = service.client.post("/v1/rewrite/mime", content=mime)
    assert answer.headers["x-mailwake-suppressed"] == "true"
    service.drained()
    # Sent: the first mail, and the two to the new reader; what must not be sent is not counted.
    assert service.stats("left")["messages"] == 3
    assert service.stats("left")["unsubscribes"] == 1


def test_the_list_is_kept_by_api(service: Service) -> None:
    entry = {"recipient": "Bounced@example.com"}
    named = {**entry, "newsletter_id": "kept list"}
    call = service.client.request
    service.rewrite("kept list", MAIL, "bounced@example.com")
    service.drained()
    for body in (entry, entry, named):
        answer = call("POST", "/v1/suppressions", json=body)
        assert answer.json()["suppressed"] is True, answer.text
    listed = []
    after = 0
    while True:
        page = service.get("/v1/suppressions", after=after, limit=1)
        listed += page["suppressions"]
        if page["next_after"] is None:
            break
        after = page["next_after"]
    mine = [one for one in listed if one["recipient"] == "bounced@example.com"]
    assert [(one["newsletter_id"], one["all_newsletters"], one["reason"]) for one in mine] == [
        (None, True, "api"),
        ("kept list", False, "api"),
    ]
    check = service.get("/v1/suppressions/check", recipient="bounced@EXAMPLE.com")
    assert check == {"recipient": "bounced@EXAMPLE.com", "newsletter_id": None, "suppressed": True}
    assert service.rewrite("anything", MAIL, "bounced@example.com")["suppressed"]
    assert call("DELETE", "/v1/suppressions", json=named).json()["suppressed"] is True
    assert call("DELETE", "/v1/suppressions", json=entry).json()["suppressed"] is False
    assert call("DELETE", "/v1/suppressions", json=entry).json()["suppressed"] is False
    assert not service.rewrite("anything", MAIL, "bounced@example.com")["suppressed"]
    for body, field in (({}, "recipient"), ({**entry, "newsletter_id": ""}, "newsletter_id")):
        answer = call("POST", "/v1/suppressions", json=body)
        assert answer.status_code == 422
        assert answer.json()["field"] == field or field in answer.json()["detail"]
    wrong = service.client.get("/v1/suppressions/check?recipient=a@example.com&newsletter=")
    assert (wrong.status_code, wrong.json()["field"]) == (422, "newsletter")
