"""Webhooks: the service tells a real receiver, signed, at least once, whatever dies or stalls."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.demo import agents
from app.events.event_filter import EventFilter
from app.events.feed import Cursor
from app.events.safe_http import Answer
from app.events.webhooks import GIVE_UP_SECONDS, LONGEST_PAUSE_SECONDS, Webhook, Webhooks
from app.model.records import now_ms
from app.schemas.events import EventLink, EventOut
from app.schemas.timestamps import timestamp
from app.storage.state_db import open_state
from tests.support.journal_hits import click_at
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.webhook_receiver import Receiver, receiver

MAIL = (
    '<body><a href="https://example.com/a" data-track-tag="boots">Boots</a>'
    '<a href="https://example.com/b">Tents</a><a href="https://example.com/c">Packs</a></body>'
)
PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that may reach receivers on this machine."""
    folder = tmp_path_factory.mktemp("hooked") / "data"
    with Service(folder, LOCAL_RECEIVERS, **WITH_HTTP) as running:
        yield running


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def subscribe(service: Service, url: str, **more: Any) -> dict[str, Any]:
    answer = service.client.post("/v1/webhooks", json={"url": url, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def hit(service: Service, answer: dict[str, Any], *numbers: int) -> None:
    urls = paths(tracked_urls(answer["html"]))
    for number in numbers:
        service.client.get(urls[number], headers=PERSON)


def log(service: Service, hook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get(f"/v1/webhooks/{hook['id']}/deliveries", **query)[
        "deliveries"
    ]
    return found


def forget(service: Service, hook: dict[str, Any]) -> None:
    assert service.client.delete(f"/v1/webhooks/{hook['id']}").status_code == 200
    assert service.client.get(f"/v1/webhooks/{hook['id']}").status_code == 404


def test_a_click_is_told_signed_and_says_what_the_stream_says(
    hooked: Service, there: Receiver
) -> None:
    hook = subscribe(hooked, there.url, newsletters=["told"], types=["message.clicked"])
    assert hook["secret"].startswith("whsec_")
    answer = hooked.rewrite("told", MAIL, "ann@example.com")
    other = hooked.rewrite("not told", MAIL)
    hit(hooked, other, 0)
    hit(hooked, answer, 3, 0)
    hooked.wait_for(lambda: there.requests, "delivery")
    (told,) = there.verified(hook["secret"])
    assert told["type"] == "message.clicked"
    assert told["timestamp"] == told["data"]["occurred_at"]
    assert told["data"]["recipient"] == "ann@example.com"
    assert told["data"]["link"]["tags"] == ["boots"]
    lines = hooked.client.get("/v1/events?newsletter=told&type=message.clicked").text.splitlines()
    assert told["data"] in [json.loads(line) for line in lines]
    assert there.requests[0][1]["webhook-id"] == told["data"]["id"]
    hooked.wait_for(lambda: log(hooked, hook)[0]["state"] == "delivered", "log")
    (entry,) = log(hooked, hook)
    assert (entry["attempts"], entry["status"], entry["next_at"]) == (1, 204, None)
    assert entry["body"] == told
    listed = hooked.get("/v1/webhooks")["webhooks"]
    assert hook["secret"] not in json.dumps(listed)
    assert next(one for one in listed if one["id"] == hook["id"])["newsletters"] == ["told"]
    forget(hooked, hook)


def test_the_first_of_a_message_is_told_once(hooked: Service, there: Receiver) -> None:
    hook = subscribe(
        hooked, there.url, newsletters=["firsts"], types=["message.clicked"], first=True
    )
    one, two = (hooked.rewrite("firsts", MAIL, f"{n}@example.com") for n in range(2))
    hit(hooked, one, 0)
    hooked.drained()
    hit(hooked, one, 0)
    hit(hooked, two, 0)
    hooked.drained()
    hooked.wait_for(lambda: len(there.requests) == 2, "two deliveries")
    time.sleep(1)
    assert [event["data"]["message_id"] for event in there.events()] == [
        one["message_id"],
        two["message_id"],
    ]
    forget(hooked, hook)


def test_a_click_that_turns_out_to_be_a_machines_is_told_again(
    hooked: Service, there: Receiver
) -> None:
    hook = subscribe(hooked, there.url, newsletters=["judged"])
    answer = hooked.rewrite("judged", MAIL)
    links, now = tracked_urls(answer["html"])[:3], now_ms()
    click_at(hooked, links[:1], now, agents.CHROME, "navigate")
    hooked.drained()  # loaded alone, a person's
    # All links at once, by whoever clicked just before.
    click_at(hooked, links, now + 1, agents.CHROME, "navigate")
    hooked.wait_for(
        lambda: "event.reclassified" in [event["type"] for event in there.events()], "a correction"
    )
    events = there.events()
    again = next(event for event in events if event["type"] == "event.reclassified")
    first = next(event for event in events if again["data"]["id"].startswith(event["data"]["id"]))
    if again["data"] != first["data"]:
        assert first["type"] == "message.clicked"
        assert again["data"]["previous_verdict"] == first["data"]["verdict"] == "human"
    assert again["data"]["verdict"] in ("scanner", "bot", "prefetch")
    assert again["data"]["reasons"]
    forget(hooked, hook)


def test_what_fails_is_tried_again_under_the_same_id(hooked: Service, there: Receiver) -> None:
    there.answers = [500, (429, {"retry-after": "1"}), "reset", (302, {"location": "/x"})]
    hook = subscribe(hooked, there.url, newsletters=["again"])
    hit(hooked, hooked.rewrite("again", MAIL), 3)
    hooked.wait_for(lambda: len(there.requests) >= 2, "a second try")
    first, second = there.requests[:2]
    assert second[0] - first[0] > 3  # 5 seconds, give or take a fifth
    assert first[1]["webhook-id"] == second[1]["webhook-id"] and first[2] == second[2]
    hooked.wait_for(lambda: len(there.requests) >= 3, "a third try")
    hooked.wait_for(lambda: log(hooked, hook)[0]["attempts"] == 3, "log")
    (entry,) = log(hooked, hook, state="waiting")
    assert "Error" in entry["error"] and entry["next_at"]
    shown = hooked.get(f"/v1/webhooks/{hook['id']}")
    assert shown["failing_since"] and not shown["disabled"]
    forget(hooked, hook)


def test_gone_means_gone_until_it_is_switched_on(hooked: Service, there: Receiver) -> None:
    there.default = 410
    hook = subscribe(hooked, there.url, newsletters=["gone"])
    answer = hooked.rewrite("gone", MAIL)
    hit(hooked, answer, 3)
    path = f"/v1/webhooks/{hook['id']}"
    hooked.wait_for(lambda: hooked.get(path)["disabled"], "the switch")
    assert "410" in hooked.get(path)["disabled"]
    hit(hooked, answer, 0)
    hooked.drained()
    assert [entry["state"] for entry in log(hooked, hook)] == ["dead"]
    hooked.login(hooked.client)
    hooked.wait_for(lambda: "is disabled" in hooked.client.get("/").text, "the notice")
    there.default = 204
    there.requests.clear()
    assert hooked.client.post(f"{path}/enable").json()["disabled"] == ""
    hooked.wait_for(lambda: len(there.requests) == 1, "what was missed")
    assert there.events()[0]["type"] == "message.clicked"
    assert hooked.client.post(f"{path}/replay").json() == {"replayed": 1}
    hooked.wait_for(lambda: len(there.requests) == 2, "the dead letter")
    assert there.events()[1]["type"] == "message.opened"
    assert len(there.verified(hook["secret"])) == 2
    forget(hooked, hook)


# A request to a slow endpoint does not end before the test does: waiting for one would be seen.
NEVER_GIVEN_UP = """
from app.events import safe_http
safe_http.safe_post.__defaults__ = ((), 1e6)
"""


def test_a_slow_endpoint_delays_nobody(tmp_path: Path, there: Receiver) -> None:
    faults = LOCAL_RECEIVERS + NEVER_GIVEN_UP
    with receiver() as slow, Service(tmp_path / "data", faults, **WITH_HTTP) as service:
        slow.default = "drip"
        bad = subscribe(service, slow.url, newsletters=["beside"])
        subscribe(service, there.url, newsletters=["beside"])
        answers = [service.rewrite("beside", MAIL, f"{n}@example.com") for n in range(30)]
        for answer in answers:
            hit(service, answer, 3)
        service.wait_for(lambda: slow.requests, "a request to the slow one")
        service.wait_for(lambda: len(there.requests) == 30, "all of the good one's")
        assert {one["attempts"] for one in log(service, bad)} == {0}


def test_a_test_event_is_sent_and_logged(hooked: Service, there: Receiver) -> None:
    hook = subscribe(hooked, there.url, newsletters=["none such"])
    entry = hooked.client.post(f"/v1/webhooks/{hook['id']}/test").json()
    assert entry["state"] == "waiting" and entry["body"]["type"] == "webhook.test"
    hooked.wait_for(lambda: there.requests, "the test")
    (sent,) = there.verified(hook["secret"])
    assert sent == entry["body"]
    forget(hooked, hook)


def test_a_killed_service_owes_nothing(tmp_path: Path, there: Receiver) -> None:
    service = Service(tmp_path / "data", LOCAL_RECEIVERS, **WITH_HTTP)
    there.default = 503
    with service:
        hook = subscribe(service, there.url)
        answers = [service.rewrite("killed", MAIL, f"{n}@example.com") for n in range(12)]
        for number, answer in enumerate(answers):
            hit(service, answer, 3)
            if number in (3, 7, 10):
                service.kill()
                service.start()
        there.default = 204
        service.kill()
        service.start()

        def arrived() -> bool:
            told = [json.loads(body)["data"]["message_id"] for _, _, body in there.requests]
            return len(log(service, hook, state="delivered")) == 12 and len(set(told)) == 12

        service.wait_for(arrived, "every event")
        assert len({entry["event_id"] for entry in log(service, hook)}) == 12
        there.verified(hook["secret"])


def test_users_reach_no_private_network(tmp_path: Path, there: Receiver) -> None:
    """A setting opens it to the webhooks of the operator's file, and to no others."""
    file = tmp_path / "hooks.toml"
    file.write_text(FILE.format(url=there.url, type="opened"))
    env = {"MAILWAKE_WEBHOOKS_FILE": str(file), "MAILWAKE_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    there.default = 503
    with Service(tmp_path / "data", **env, **WITH_HTTP) as service:
        theirs = subscribe(service, there.url)
        own = next(hook for hook in service.get("/v1/webhooks")["webhooks"] if hook != theirs)
        for hook, error in ((theirs, "127.0.0.1 has no public IP address"), (own, "")):
            service.client.post(f"/v1/webhooks/{hook['id']}/test")
            service.wait_for(lambda hook=hook: log(service, hook)[-1]["attempts"] == 1, "a try")
            tried = log(service, hook)[-1]
            assert (tried["error"], tried["status"]) == (error, None if error else 503)
        assert len(there.requests) == 1


def test_users_webhooks_are_https(service: Service) -> None:
    answer = service.client.post("/v1/webhooks", json={"url": "http://example.com/"})
    assert answer.status_code == 422 and answer.json()["field"] == "url"
    assert "must begin with https://" in answer.json()["detail"]


def test_what_is_wrong_is_named(hooked: Service) -> None:
    for body, field in (
        ({}, "url"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://u:p@example.com"}, "url"),
        ({"url": "https://example.com", "types": ["click"]}, "types"),
        ({"url": "https://example.com", "verdicts": ["x"]}, "verdicts"),
        ({"url": "https://example.com", "secret": "short"}, "secret"),
        ({"url": "https://example.com", "nonsense": 1}, "nonsense"),
    ):
        answer = hooked.client.post("/v1/webhooks", json=body)
        assert answer.status_code == 422
        assert field in (answer.json()["field"] + answer.json()["detail"]), answer.text
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("POST", "/enable"),
        ("POST", "/replay"),
        ("GET", "/deliveries"),
    ):
        answer = hooked.client.request(method, f"/v1/webhooks/wh_none{path}")
        assert (answer.status_code, answer.json()["field"]) == (404, "webhook_id")
    assert hooked.get("/v1/webhooks")["webhooks"] == []


def told(number: int) -> EventOut:
    link = EventLink("0" * 16, "", "L", "https://example.com", 0, ["t"])
    at = time.time()
    return EventOut(
        f"evt_{number}",
        "message.clicked",
        "n",
        f"m{number}",
        "a@example.com",
        timestamp(at),
        "human",
        [],
        link,
        {"order": "A-1"},
        "a@mailer.example",
        f"1.{number}",
    )


def test_five_days_of_failures_disable_and_dead_letters_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = Webhooks(open_state(tmp_path))
    hook = hooks.add("https://example.com", EventFilter(), False, Cursor())
    assert hooks.enqueue(hook, [told(1), told(2)], Cursor(1, 2)) == 2
    assert hooks.enqueue(hook, [told(1)], Cursor(1, 2)) == 0  # as after a crash elsewhere
    clock = [time.time()]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    pauses = []
    while not current(hooks, hook).disabled:
        first = hooks.next(hook.id, clock[0], 1)
        assert first
        hooks.failed(first[0], "no response")
        (entry,) = [one for one in hooks.log(hook.id, 0, 9) if one.id == first[0].id]
        if entry.due:
            pauses.append(entry.due - clock[0])
            clock[0] = max(clock[0], min(one.due for one in hooks.log(hook.id, 0, 9) if one.due))
    assert min(pauses) >= 4 and max(pauses) <= 24 * 3600 * 1.2
    assert clock[0] - time.time() <= GIVE_UP_SECONDS * 1.5
    assert "five days" in current(hooks, hook).disabled
    assert {one.state for one in hooks.log(hook.id, 0, 9)} == {"dead"}
    assert hooks.due(clock[0] + GIVE_UP_SECONDS) == []
    hooks.enable(hook.id)
    assert hooks.replay(hook.id) == 2
    for entry in hooks.next(hook.id, clock[0], 9):
        hooks.mark_delivered(entry, Answer(200, None, ""))
    assert {one.state for one in hooks.log(hook.id, 0, 9)} == {"delivered"}
    assert current(hooks, hook).failing_since is None


def current(hooks: Webhooks, hook: Webhook) -> Webhook:
    found = hooks.get(hook.id)
    assert found
    return found


def test_the_log_names_no_secret(hooked: Service, there: Receiver) -> None:
    hook = subscribe(hooked, there.url)
    assert not re.search(re.escape(hook["secret"]), hooked.log.read_text())
    forget(hooked, hook)


FILE = """
[[webhook]]
name = "shop"
url = "{url}"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
newsletters = ["filed"]
types = ["message.{type}"]
"""


def test_a_file_makes_changes_and_removes_webhooks(tmp_path: Path, there: Receiver) -> None:
    file = tmp_path / "hooks.toml"
    file.write_text(FILE.format(url=there.url, type="opened"))
    env = {"MAILWAKE_WEBHOOKS_FILE": str(file), "MAILWAKE_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    service = Service(tmp_path / "data", **env)
    with service:
        other = subscribe(service, "https://other.example/")
        answer = service.rewrite("filed", MAIL)
        hit(service, answer, 3)
        service.wait_for(lambda: len(there.requests) == 1, "an open")
        service.stop()
        file.write_text(FILE.format(url=there.url, type="clicked"))
        service.start()
        hit(service, answer, 0)
        service.wait_for(lambda: len(there.requests) == 2, "a click")
        sent = there.verified("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        assert [event["type"] for event in sent] == ["message.opened", "message.clicked"]
        service.stop()
        file.write_text("")
        service.start()
        assert [hook["id"] for hook in service.get("/v1/webhooks")["webhooks"]] == [other["id"]]


@pytest.mark.parametrize("ahead", [3 * 3600.0, 14 * 365 * 86_400.0])
def test_a_delivery_that_was_queued_while_the_clock_was_ahead_is_due(
    tmp_path: Path, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = open_state(tmp_path)
    hooks = Webhooks(state)
    hook = hooks.add("https://e.example/", EventFilter(), False, Cursor())
    now = time.time()
    monkeypatch.setattr("app.events.webhooks.time.time", lambda: now + ahead)
    hooks.test(hook)
    monkeypatch.undo()
    (delivery,) = hooks.next(hook.id, now, 9)  # no first attempt waits
    assert hooks.due(now) == [hook.id]
    monkeypatch.setattr("app.events.webhooks.time.time", lambda: now + ahead)
    hooks.failed(delivery, "no connection")
    monkeypatch.undo()
    assert (
        bool(hooks.due(now)) == bool(hooks.next(hook.id, now, 9)) == (ahead > LONGEST_PAUSE_SECONDS)
    )
    assert hooks.due(now + ahead + 10) == [hook.id]
    state.dispose()
