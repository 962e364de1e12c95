"""Who was erased: what loaders and webhooks go by while an erasure is under way."""

from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from app.consent.erasure_requests import ErasedError, Erasures
from app.consent.suppressions import Suppressions
from app.events.event_filter import EventFilter
from app.events.feed import Cursor, Feed
from app.events.followups import FollowUps, Rule, Sent
from app.events.safe_http import Answer
from app.events.webhooks import Webhooks
from app.ingest.rows import rows
from app.model.ids import new_id
from app.model.records import NOBODY, Hit, Message, encode, now_ms
from app.storage.state_db import open_state

WHO = 2**64 - 17  # fills 64 bits, which SQLite holds with a sign


@pytest.fixture
def erasures(tmp_path: Path) -> Erasures:
    return Erasures(open_state(tmp_path))


def ids() -> tuple[str, str]:
    """Of a message of a minute ago, and of one to come."""
    return new_id(now_ms() - 60_000).hex(), new_id(now_ms() + 60_000).hex()


def test_it_covers_what_was_sent_before_in_that_workspace_only(erasures: Erasures) -> None:
    before, after = ids()
    begun = erasures.begin("default", WHO, " Ann@Example.com")
    assert (begun.address, begun.state, begun.recipient) == ("ann@example.com", "waiting", WHO)
    assert not erasures.covers("default", WHO, before)  # not known yet
    erasures.refresh()
    assert erasures.covers("default", WHO, before)
    assert not erasures.covers("default", WHO, after)
    assert not erasures.covers("default", 17, before)
    assert not erasures.covers("other", WHO, before)
    done = erasures.change(begun, state="done", address="", counts={"hits": 3})
    assert erasures.get(begun.id, "default") == done and erasures.get(begun.id, "other") is None
    assert erasures.open() == [] and erasures.ended()
    again = erasures.begin("default", WHO, "ann@example.com")
    assert (again.id, again.state, again.counts) == (
        begun.id,
        "waiting",
        {},
    ) and again.at > begun.at
    erasures.change(begun, state="done")  # of the first time: it has begun again meanwhile
    assert erasures.open() == [again]


def test_its_lines_are_loaded_as_nobodys_and_count(erasures: Erasures) -> None:
    before, after = ids()
    erasures.begin("default", WHO, "ann@example.com")
    erasures.refresh()
    lines = [
        encode(Message(now_ms(), "default", 5, message, WHO, "ann@example.com"))
        for message in (before, after)
    ] + [
        encode(
            Hit(
                "click",
                now_ms(),
                "default",
                5,
                message,
                WHO,
                1,
                "https://example.com/",
                address="203.0.113.7",
                user_agent="Mozilla/5.0 (X11) Thunderbird/140",
                purpose="p",
                fetch_mode="navigate",
            )
        )
        for message in (before, after)
    ]
    plain = rows(b"".join(lines), str(UUID(int=1)), 9)
    found = rows(b"".join(lines), str(UUID(int=1)), 9, None, erasures)
    assert [hit.message for hit in found.erased] == [before] and not plain.erased
    sent = [msgspec.json.decode(line) for line in found.tables["messages"].splitlines()]
    assert [(one["recipient"], one["address"]) for one in sent] == [
        (NOBODY, ""),
        (WHO, "ann@example.com"),
    ]
    hits = [msgspec.json.decode(line) for line in found.tables["hits"].splitlines()]
    was = [msgspec.json.decode(line) for line in plain.tables["hits"].splitlines()]
    assert hits[1] == was[1]
    gone = ("recipient", "address", "user_agent", "purpose", "fetch_mode", "url")
    assert not {*gone} & {*hits[0]} - {"recipient"} and hits[0]["recipient"] == NOBODY
    assert {k: v for k, v in hits[0].items() if k not in gone} == {
        k: v for k, v in was[0].items() if k not in gone
    }


def test_whoever_was_erased_and_unsubscribes_gets_no_mail(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    feed = Feed(state)
    feed.erasures.begin("default", WHO, "ann@example.com")
    feed.erasures.refresh()
    hit = Hit("unsubscribe", now_ms(), "default", 5, ids()[0], WHO)
    found = rows(encode(hit), str(UUID(int=1)), 9, None, feed.erasures)
    feed.append("a", found.tables["hits"], found.erased)
    suppressions = Suppressions(state)
    assert suppressions.of(WHO) == {5} and suppressions.of(NOBODY) == set()


def test_nothing_that_was_looked_up_before_is_kept_after(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    hooks, rules, erasures = Webhooks(state), FollowUps(state), Erasures(state)
    hook = hooks.add("https://hooks.example/", EventFilter(), False, Cursor())
    rule = rules.add("Thank", hook.id, Rule("clicked"), Cursor())
    seen = erasures.newest()
    assert hooks.enqueue(hook, [], Cursor(1, 1), seen) == 0
    erasures.begin("default", WHO, "ann@example.com")
    with pytest.raises(ErasedError):
        hooks.enqueue(hook, [], Cursor(2, 2), seen)
    with pytest.raises(ErasedError):
        rules.enqueue(rule, [], Cursor(2, 2), Sent(5), seen)
    assert [one.cursor for one in hooks.all()] == [Cursor(1, 1)]
    assert [one.cursor for one in rules.all()] == [Cursor()]
    assert hooks.enqueue(hook, [], Cursor(2, 2), erasures.newest()) == 0


def test_a_delivery_that_was_emptied_while_it_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    hooks = Webhooks(state)
    hook = hooks.add("https://hooks.example/", EventFilter(), False, Cursor())
    hooks.test(hook)
    (sending,) = hooks.log(hook.id, 0, 10)
    with state.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE deliveries SET state = 'erased', due = NULL, body = x'7b7d'"
        )
    hooks.failed(sending, "timed out")
    hooks.mark_delivered(sending, Answer(200, None, ""))
    assert [(one.state, one.due, one.body) for one in hooks.log(hook.id, 0, 10)] == [
        ("erased", None, b"{}")
    ]
    assert hooks.replay(hook.id) == 0
