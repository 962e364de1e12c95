"""Follow-ups: a receiver hears once of each recipient, whatever is repeated, killed or away."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.demo import agents
from app.events.event_filter import EventFilter
from app.events.feed import Cursor
from app.events.followups import FollowUps, Rule, Sent, due_id
from app.events.webhooks import Webhooks
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, Kind, Message, Newsletter, encode, now_ms
from app.schemas.events import Due
from app.storage.state_db import open_state
from tests.support.journal_hits import click_at
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.webhook_receiver import Receiver, receiver

MAIL = (
    '<body><a href="https://example.com/a" data-track-tag="boots">Boots</a>'
    '<a href="https://example.com/b">Tents</a><a href="https://example.com/c">Packs</a></body>'
)
PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
HOUR = 3_600_000  # milliseconds


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("followed") / "data"
    with Service(folder, LOCAL_RECEIVERS, **WITH_HTTP) as running:
        yield running


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def hook(service: Service, there: Receiver) -> str:
    """A webhook that hears of follow-ups only."""
    body = {"url": there.url, "types": ["followup.due"]}
    answer = service.client.post("/v1/webhooks", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def follow(service: Service, webhook: str, when: str, **more: Any) -> dict[str, Any]:
    body = {"name": "Remind", "webhook_id": webhook, "when": when, **more}
    answer = service.client.post("/v1/followups", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def click(service: Service, answer: dict[str, Any], *numbers: int) -> None:
    urls = paths(tracked_urls(answer["html"]))
    for number in numbers:
        service.client.get(urls[number], headers=PERSON)


def journaled(service: Service, newsletter: str, ages: dict[str, int], acts: list[Hit]) -> None:
    """Put messages to the journal as if they had been sent `ages` milliseconds ago."""
    now = time.time_ns() // 1_000_000
    lines = [
        encode(message(newsletter, number, f"{name}@example.com", now - age))
        for number, (name, age) in enumerate(ages.items(), 1)
    ]
    lines += [encode(act) for act in acts]
    key = newsletter_key("default", newsletter)
    lines.append(encode(Newsletter(now, "default", key, newsletter)))
    path = service.data_dir / "journal" / f"{uuid.UUID(bytes=new_id())}.new"
    path.write_bytes(b"".join(lines))
    path.rename(path.with_suffix(".seg"))
    service.drained()


def message(newsletter: str, number: int, address: str, at: int) -> Message:
    key = newsletter_key("default", newsletter)
    return Message(at, "default", key, ident(newsletter, number), number, address)


def ident(newsletter: str, number: int) -> str:
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{newsletter} {number}").hex


def act(newsletter: str, number: int, kind: Kind, agent: str = agents.CHROME) -> Hit:
    key = newsletter_key("default", newsletter)
    at, link = time.time_ns() // 1_000_000, 0 if kind == "click" else -1
    return Hit(
        kind,
        at,
        "default",
        key,
        ident(newsletter, number),
        number,
        link,
        user_agent=agent,
        fetch_mode="navigate",
    )


def test_who_clicks_is_followed_up_once(hooked: Service, there: Receiver) -> None:
    rule = follow(hooked, hook(hooked, there), "clicked", newsletters=["f-1"], tags=["boots"])
    assert (rule["when"], rule["tags"], rule["made"]) == ("clicked", ["boots"], 0)
    ann = hooked.rewrite("f-1", MAIL, "ann@example.com")
    bob = hooked.rewrite("f-1", MAIL, "bob@example.com")
    cid = hooked.rewrite("f-2", MAIL, "cid@example.com")
    click(hooked, ann, 0)
    click(hooked, bob, 1)  # no boots
    click(hooked, cid, 0)  # another newsletter
    hooked.drained()
    click(hooked, ann, 0)
    click(hooked, hooked.rewrite("f-1", MAIL, "ann@example.com"), 0)  # again, in another message
    hooked.wait_for(lambda: there.requests, "a follow-up")
    time.sleep(7)
    (told,) = there.events()
    data = told["data"]
    assert told["type"] == data["type"] == "followup.due"
    assert (data["followup_id"], data["name"], data["when"]) == (rule["id"], "Remind", "clicked")
    assert (data["newsletter_id"], data["recipient"]) == ("f-1", "ann@example.com")
    assert (data["message_id"], data["suppressed"]) == (ann["message_id"], False)
    assert data["link"]["tags"] == ["boots"]
    assert there.requests[0][1]["webhook-id"] == data["id"]
    assert hooked.get(f"/v1/followups/{rule['id']}")["made"] == 1
    assert hooked.client.delete(f"/v1/followups/{rule['id']}").status_code == 200
    assert hooked.client.get(f"/v1/followups/{rule['id']}").status_code == 404


def test_who_has_unsubscribed_is_named_as_such(hooked: Service, there: Receiver) -> None:
    follow(hooked, hook(hooked, there), "clicked", newsletters=["f-5"])
    answer = hooked.rewrite("f-5", MAIL, "off@example.com")
    gone = {"recipient": "off@example.com", "newsletter_id": "f-5"}
    assert hooked.client.post("/v1/suppressions", json=gone).status_code == 200
    click(hooked, answer, 0)
    hooked.wait_for(lambda: there.requests, "a follow-up")
    assert [one["data"]["suppressed"] for one in there.events()] == [True]


def test_a_click_that_turns_out_to_be_a_machines_is_not_followed_up(
    hooked: Service, there: Receiver
) -> None:
    webhook = hook(hooked, there)
    rule = follow(hooked, webhook, "clicked", newsletters=["f-3"])
    # Nobody is followed up while the webhook is switched off: it waits for the verdicts here.
    there.default = 410
    hooked.client.post(f"/v1/webhooks/{webhook}/test")
    hooked.wait_for(lambda: hooked.get(f"/v1/webhooks/{webhook}")["disabled"], "the switch")
    scanned = hooked.rewrite("f-3", MAIL, "scanned@example.com")
    links, now = tracked_urls(scanned["html"])[:3], now_ms()
    click_at(hooked, links[:1], now, agents.CHROME, "navigate")
    hooked.drained()  # loaded alone, a person's
    # All links at once, by whoever clicked just before.
    click_at(hooked, links, now + 1, agents.CHROME, "navigate")
    person = hooked.rewrite("f-3", MAIL, "person@example.com")
    click(hooked, person, 0)
    hooked.drained()
    hooked.wait_for(lambda: hooked.stats("f-3")["clicks"]["machine"]["total"] == 4, "verdicts")
    there.default = 204
    there.requests.clear()
    assert hooked.client.post(f"/v1/webhooks/{webhook}/enable").status_code == 200
    hooked.wait_for(lambda: there.requests, "a follow-up")
    time.sleep(2)
    assert [one["data"]["recipient"] for one in there.events()] == ["person@example.com"]
    assert hooked.get(f"/v1/followups/{rule['id']}")["made"] == 1


def test_who_stays_silent_is_followed_up_when_the_time_is_over(
    hooked: Service, there: Receiver
) -> None:
    webhook = hook(hooked, there)
    silent = follow(hooked, webhook, "not_opened", newsletters=["f-4"], after_hours=1)
    unclicked = follow(hooked, webhook, "not_clicked", newsletters=["f-4"], after_hours=1)
    soon = HOUR - 2_000
    ages = {"silent": soon, "opened": soon, "clicked": soon, "scanned": soon, "young": 1_000}
    ages |= {"long ago": 2 * HOUR}  # its time was over before the rule was made
    acts = [
        act("f-4", 2, "open"),
        act("f-4", 3, "click"),
        act("f-4", 4, "click", agents.BARRACUDA),
    ]
    journaled(hooked, "f-4", ages, acts)
    hooked.wait_for(lambda: len(there.requests) >= 5, "follow-ups")
    time.sleep(1)
    found: dict[str, set[str]] = {}
    for told in there.events():
        found.setdefault(told["data"]["followup_id"], set()).add(told["data"]["recipient"])
        assert told["data"]["link"] is None
        assert told["data"]["newsletter_id"] == "f-4"
    assert found == {
        silent["id"]: {"silent@example.com", "scanned@example.com"},
        unclicked["id"]: {"silent@example.com", "scanned@example.com", "opened@example.com"},
    }
    assert len(there.requests) == 5


def test_a_rule_outlives_kill_and_an_endpoint_that_fails(tmp_path: Path) -> None:
    with receiver() as there:
        there.default = 503
        env = {**WITH_HTTP, "MAILWAKE_JOURNAL_SYNC_MS": "0"}
        with Service(tmp_path / "data", LOCAL_RECEIVERS, **env) as running:
            rule = follow(running, hook(running, there), "clicked")
            answer = running.rewrite("killed", MAIL)
            click(running, answer, 0)
            running.drained()
            running.kill()  # before it is due
            running.start()
            running.wait_for(lambda: there.requests, "a first try")
            running.kill()
            there.default = 204
            running.start()
            running.wait_for(
                lambda: running.get("/v1/followups")["followups"][0]["made"] == 1, "the count"
            )
            ids = {headers["webhook-id"] for _, headers, _ in there.requests}
            tries = len(there.requests)
            running.wait_for(lambda: len(there.requests) > tries, "another try")
            assert {headers["webhook-id"] for _, headers, _ in there.requests} == ids
            assert len(ids) == 1
            assert rule["id"].removeprefix("fu_") in ids.pop()
            text = running.client.get("/metrics").text
            assert "mailwake_webhooks_dead 0.0" in text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"when": "opened"}, "when"),
        ({"when": "not_opened"}, "after_hours"),
        ({"when": "not_opened", "after_hours": 721}, "after_hours"),
        ({"when": "clicked", "after_hours": 1}, "after_hours"),
        ({"when": "not_clicked", "after_hours": 1, "tags": ["boots"]}, "tags"),
        ({"when": "clicked", "webhook_id": "wh_none"}, "webhook_id"),
        ({"when": "clicked", "name": ""}, "name"),
        ({"when": "clicked", "newsletter": ["x"]}, "body"),
    ],
)
def test_a_wrong_rule_is_named_and_not_made(
    hooked: Service, there: Receiver, given: dict[str, Any], field: str
) -> None:
    before = hooked.get("/v1/followups")
    body = {"name": "x", "webhook_id": hook(hooked, there), **given}
    answer = hooked.client.post("/v1/followups", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
    assert hooked.get("/v1/followups") == before


def test_the_same_page_taken_twice_makes_nothing_twice(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    hooks, rules = Webhooks(engine), FollowUps(engine)
    to = hooks.add("https://hooks.example/", EventFilter(), False, Cursor())
    one = rules.add("x", to.id, Rule("not_opened", 1), Cursor())
    due = [(2**64 - n, due_for(one.id, 2**64 - n)) for n in (1, 2, 1)]
    assert rules.enqueue(one, due, Cursor(3, 4), Sent(99, "m")) == 2
    assert rules.enqueue(one, due, Cursor(3, 4), Sent(99, "m")) == 0
    (again,) = rules.all()
    assert (again.cursor, again.sent, again.made) == (Cursor(3, 4), Sent(99, "m"), 2)
    assert len(hooks.log(to.id, 0, 10)) == 2
    hooks.remove(to.id)
    assert rules.all() == []


def due_for(rule: str, recipient: int) -> Due:
    at = "2026-01-01T00:00:00.000Z"
    name = due_id(rule, recipient)
    return Due(
        name, "followup.due", rule, "x", "not_opened", "n", "m", None, False, at, None, {}, None
    )
