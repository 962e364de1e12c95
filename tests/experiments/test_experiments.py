"""Experiments: a fair split that every process agrees on, and one decision, once, come what may."""

import json
import os
import random
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

import mailwake_client
from app.demo import agents
from app.events import experiment_worker
from app.events.experiment_worker import ExperimentWorker
from app.events.feed import Cursor, Feed
from app.experiments.experiments import LOOK_SECONDS, Choice, Experiment, Experiments, decide
from app.experiments.significance import Rate, fit
from app.ingest.loader import Loader
from app.links.identity import WHOLE
from app.model.ids import new_id, newsletter_key, recipient_key
from app.model.records import Hit, Kind, Link, Message, Newsletter, Record, encode, now_ms
from app.schemas.experiments import (
    ExperimentError,
    Figure,
    Outcome,
    Plan,
    Result,
    Share,
    VariantFigures,
)
from app.stats.queries import Queries
from app.storage.clickhouse import Storage
from app.storage.state_db import open_state
from app.storage.tables import experiments
from mailwake_client import LineError, Mailwake, MailwakeError
from tests.support.journal_hits import click_at
from tests.support.patience import PATIENCE_SECONDS
from tests.support.reader import PERSON, follow
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.torture import LONG, longer
from tests.support.webhook_receiver import receiver

MAIL = '<body><a href="https://example.com/boots" data-track-name="Boots">Boots</a>'
SOON = datetime.now(UTC) + timedelta(days=1)
KEY = newsletter_key("default", "x")
WEIGHTS = st.lists(st.integers(1, 1000), min_size=2, max_size=20)
RECIPIENTS = 4000


def plan(*weights: int, **more: Any) -> Plan:
    shares = tuple(Share(f"V{n}", weight) for n, weight in enumerate(weights or (1, 1)))
    return Plan(shares, **{"decide_at": SOON, **more})


def stated(wanted: Plan) -> mailwake_client.Plan:
    """As a mailer writes it."""
    return msgspec.convert(
        msgspec.to_builtins(wanted, builtin_types=(datetime,)), mailwake_client.Plan
    )


def experiment(wanted: Plan, name: str = "exp_0011223344556677", **more: Any) -> Experiment:
    numbers = list(range(1, len(wanted.variants) + 1))
    made = Experiment(name, KEY, "x", wanted, numbers, 0, None, None, None)
    return made._replace(**more)


def keys(count: int = RECIPIENTS) -> list[int]:
    return [recipient_key("secret", "default", f"reader{n}@example.com") for n in range(count)]


def outcome(result: Result, name: str | None) -> Outcome:
    return Outcome("exp_0011223344556677", result, name, "clicks", "", 0.05, [], [])


PEOPLE = keys()
NAMES = st.binary(min_size=8, max_size=8).map(lambda raw: f"exp_{raw.hex()}")


@settings(max_examples=60)
@given(WEIGHTS, NAMES, st.floats(0, 0.95))
def test_shares_converge_to_the_weights(weights: list[int], name: str, holdout: float) -> None:
    """A p-value of 1e-7 comes by chance once in some ten thousand runs of these sixty."""
    split = experiment(plan(*weights, holdout=holdout), name)
    chosen = Counter(split.choose(person) for person in PEOPLE)
    held = sum(count for choice, count in chosen.items() if choice.holdout)
    if holdout > 0.001:
        million = round(holdout * 1e6)
        assert fit([held, RECIPIENTS - held], [million, 10**6 - million]) > 1e-7
    named = [chosen[Choice(n, f"V{n - 1}")] for n in range(1, len(weights) + 1)]
    assert sum(named) + held == RECIPIENTS
    # Pearson's test needs some expected in each group: the smallest ones are taken together.
    large = [n for n, weight in enumerate(weights) if weight / sum(weights) * sum(named) >= 5]
    small = [n for n in range(len(weights)) if n not in large]
    groups = [[n] for n in large] + ([small] if small else [])
    counts = [sum(named[n] for n in group) for group in groups]
    if sum(named) > 50 and len(groups) > 1:
        assert fit(counts, [sum(weights[n] for n in group) for group in groups]) > 1e-7


@given(WEIGHTS, NAMES, st.floats(0, 0.95), st.integers(0, 2**64 - 1))
def test_a_recipient_always_gets_the_same(
    weights: list[int], name: str, holdout: float, person: int
) -> None:
    wanted = plan(*weights, holdout=holdout)
    first = experiment(wanted, name).choose(person)
    assert all(experiment(wanted, name).choose(person) == first for _ in range(3))
    assert first.holdout == (first.number == 0) == (first.name == "")


@settings(max_examples=30)
@given(NAMES, NAMES, st.sampled_from([0, 0.3]))
def test_experiments_are_independent(one: str, other: str, holdout: float) -> None:
    """What somebody gets in one says nothing of the other: a table of 2 x 2 or 3 x 3 fits."""
    if one == other:
        return
    wanted = plan(1, 2, holdout=holdout)
    pairs = Counter(
        (experiment(wanted, one).choose(p).number, experiment(wanted, other).choose(p).number)
        for p in PEOPLE
    )
    shares = {0: holdout, 1: (1 - holdout) / 3, 2: (1 - holdout) * 2 / 3}
    cells = [(a, b) for a in shares for b in shares if shares[a] * shares[b]]
    weights = [round(shares[a] * shares[b] * 10**9) for a, b in cells]
    assert fit([pairs[cell] for cell in cells], weights) > 1e-7


def test_who_is_held_out_says_nothing_of_the_variant() -> None:
    """Without a winner the holdout is split as all others are."""
    wanted = plan(1, 1, holdout=0.5, apply_winner=True)
    running = experiment(wanted)
    over = experiment(wanted, outcome=outcome("no_difference", None))
    held = [person for person in PEOPLE if running.choose(person).holdout]
    later = Counter(over.choose(person).name for person in held)
    assert fit([later["V0"], later["V1"]], [1, 1]) > 1e-4
    for person in set(PEOPLE) - set(held):
        assert over.choose(person) == running.choose(person)


def test_the_winner_is_for_whoever_comes_later_where_the_plan_says_so() -> None:
    for apply_winner in (True, False):
        wanted = plan(1, 3, holdout=0.4, apply_winner=apply_winner)
        before, after = experiment(wanted), experiment(wanted, outcome=outcome("winner", "V1"))
        for person in PEOPLE[:500]:
            expected = Choice(2, "V1") if apply_winner else before.choose(person)
            assert after.choose(person) == expected


def test_every_process_splits_when_the_answer_has_come(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    here, there = Experiments(state), Experiments(state)
    assert there.choices(KEY, None).of(1) == Choice()
    made = here.add(KEY, "x", plan())
    time.sleep(LOOK_SECONDS)  # so long the answer waits
    assert here.choices(KEY, None) == there.choices(KEY, None)
    assert there.choices(KEY, None).of(1) == made.choose(1) != Choice()
    here.remove(KEY)
    time.sleep(LOOK_SECONDS)
    assert there.choices(KEY, None).of(1) == Choice()


def arm(name: str, of: int, hits: int, unsubscribed: int = 0) -> VariantFigures:
    rate = Rate(hits, of)
    return VariantFigures(name, of, of, of, hits, rate.value, 0, 1, unsubscribed)


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([arm("A", 1000, 100), arm("B", 1000, 160)], ("winner", "B")),
        ([arm("A", 1000, 160), arm("B", 1000, 100)], ("winner", "A")),
        ([arm("A", 1000, 100), arm("B", 1000, 120)], ("no_difference", None)),
        ([arm("A", 1000, 100), arm("B", 1000, 100)], ("no_difference", None)),
        ([arm("A", 0, 0), arm("B", 0, 0)], ("no_difference", None)),
        ([arm("A", 1000, 0), arm("B", 0, 0)], ("no_difference", None)),
        # Better than the first, but not than the second: nobody wins.
        ([arm("A", 1000, 100), arm("B", 1000, 170), arm("C", 1000, 160)], ("no_difference", None)),
        ([arm("A", 1000, 100), arm("B", 1000, 170), arm("C", 1000, 110)], ("winner", "B")),
        # p = 0.047 of two is enough, of three it is not.
        ([arm("A", 1000, 100), arm("B", 1000, 128)], ("winner", "B")),
        ([arm("A", 1000, 100), arm("B", 1000, 128), arm("C", 1000, 115)], ("no_difference", None)),
        ([arm("A", 1000, 100, 5), arm("B", 1000, 160, 30)], ("guard", None)),
        ([arm("A", 1000, 100, 5), arm("B", 1000, 160, 9)], ("winner", "B")),
        ([arm("A", 1000, 100, 30), arm("B", 1000, 160, 5)], ("winner", "B")),
    ],
)
def test_the_better_one_wins(arms: list[VariantFigures], expected: tuple[str, str | None]) -> None:
    wanted = plan(*[1] * len(arms))
    pairs = experiment_worker.compared(arms, wanted.level)
    assert len(pairs) == len(arms) * (len(arms) - 1) // 2
    assert experiment_worker.winner(arms, pairs, wanted) == expected
    careless = plan(*[1] * len(arms), guard=False)
    result = experiment_worker.winner(arms, pairs, careless)[0]
    assert result == ("winner" if expected[0] == "guard" else expected[0])


ARMS = st.lists(
    st.integers(0, 5000).flatmap(
        lambda of: st.tuples(st.just(of), st.integers(0, of), st.integers(0, of))
    ),
    min_size=2,
    max_size=8,
)


@given(ARMS)
def test_whoever_wins_is_above_every_other(found: list[tuple[int, int, int]]) -> None:
    arms = [arm(f"V{n}", *figures) for n, figures in enumerate(found)]
    wanted = plan(*[1] * len(arms))
    result, name = experiment_worker.winner(
        arms, experiment_worker.compared(arms, wanted.level), wanted
    )
    assert (result == "winner") == (name is not None)
    if name:
        best = next(one for one in arms if one.variant == name)
        assert all(one.rate < best.rate for one in arms if one is not best)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"decide_at": None}, "decide_at"),
        ({"decide_at": datetime(2020, 1, 1, tzinfo=UTC)}, "decide_at"),
        ({"decide_at": SOON + timedelta(days=400)}, "decide_at"),
        ({"figure": "link"}, "link"),
        ({"link": "Boots"}, "link"),
        ({"variants": (Share("A"), Share("A"))}, "variants"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, wrong: Any, field: str) -> None:
    variants = wrong.pop("variants", (Share("A"), Share("B")))
    found = Experiments(open_state(tmp_path))
    with pytest.raises(ExperimentError) as raised:
        found.add(KEY, "x", Plan(variants, **{"decide_at": SOON, **wrong}))
    assert raised.value.field == field
    assert found.get(KEY) is None


def test_there_is_one_at_a_time_and_it_is_decided_once(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    found, others = Experiments(state), Experiments(state, "acme")
    made = found.add(KEY, "x", plan())
    assert found.get(KEY) == made and others.get(KEY) is None
    with pytest.raises(ExperimentError) as raised:
        found.add(KEY, "x", plan())
    assert not raised.value.field
    assert others.add(KEY, "x", plan()).id != made.id
    assert [one.id for one in found.undecided()] == [made.id]
    with state.begin() as connection:
        assert decide(connection, made, outcome("winner", "V1"), 5)
        assert not decide(connection, made, outcome("winner", "V0"), 6)
    again = found.get(KEY)
    assert again and again.outcome and (again.decided, again.outcome.winner) == (5, "V1")
    assert found.undecided() == [] and len(others.undecided()) == 1
    assert found.remove(KEY) and not found.remove(KEY)
    assert found.get(KEY) is None and others.get(KEY)


def decided(service: Service, newsletter: str) -> list[dict[str, Any]]:
    query = {"newsletter": newsletter, "type": "experiment.decided"}
    answer = service.client.get("/v1/events", params=query)
    return [json.loads(line) for line in answer.text.splitlines()]


def send(
    client: Mailwake, service: Service, newsletter: str, rates: dict[str, float]
) -> Counter[str | None]:
    """Messages to 240 recipients as the experiment splits them; a share of each variant clicks."""
    sent: Counter[str | None] = Counter()
    for answer in client.messages(newsletter, [f"reader{n}@example.com" for n in range(240)]):
        assert not isinstance(answer, LineError), answer
        assert answer.holdout == (answer.variant is None) == (answer.html == "")
        rate = rates.get(answer.variant or "", 0)
        clicked = int(sent[answer.variant] * rate)
        sent[answer.variant] += 1
        if int(sent[answer.variant] * rate) > clicked:
            follow(service, answer.html)
    return sent


def test_from_the_split_to_the_decision(service: Service, client: Mailwake) -> None:
    with receiver() as there:
        body = {"url": there.url, "types": ["experiment.decided"], "first": True}
        secret = service.client.post("/v1/webhooks", json=body).json()["secret"]
        client.keep_template("e-1", f"{MAIL}<p>a", variant="A")
        client.keep_template("e-1", f"{MAIL}<p>b", variant="B")
        wanted = Plan(
            (Share("A"), Share("B", 2)),
            holdout=0.25,
            decide_after_messages=100,
            wait_hours=0,
            apply_winner=True,
        )
        begun = client.start_experiment("e-1", stated(wanted))
        assert (begun.state, begun.outcome, begun.decide_by) == ("running", None, None)
        assert [one.messages for one in begun.variants] == [0, 0]
        recipients = [f"reader{n}@example.com" for n in range(240)]
        assigned = client.assign("e-1", recipients)
        sent = send(client, service, "e-1", {"A": 0.1, "B": 0.7})
        assert sent == Counter(one.variant for one in assigned)
        assert sum(one.holdout for one in assigned) == sent[None] > 30
        assert sent["B"] > sent["A"] > 30
        service.drained()
        assert service.stats("e-1")["messages"] == sent["A"] + sent["B"]  # the holdout got none
        service.wait_for(lambda: client.experiment("e-1").outcome, "a decision")
        found = client.experiment("e-1")
        assert found.state == "decided" and found.decided_at and found.outcome
        assert (found.outcome.result, found.outcome.winner) == ("winner", "B")
        a, b = found.outcome.variants
        assert (a.variant, a.messages, a.recipients) == ("A", sent["A"], sent["A"])
        assert (b.variant, b.messages, b.recipients) == ("B", sent["B"], sent["B"])
        assert (a.hits, b.hits) == (int(sent["A"] * 0.1), int(sent["B"] * 0.7))
        assert a.low < a.rate < a.high < b.low < b.rate < b.high
        (pair,) = found.outcome.comparisons
        assert (pair.variant, pair.against) == ("B", "A")
        assert 0 < pair.low < pair.difference < pair.high and pair.adjusted == pair.p_value < 1e-4
        assert found.split_chance > 1e-7
        # Afterwards everybody gets the winner, those held out and newcomers too.
        later = client.assign("e-1", [*recipients, "new@example.com"])
        assert {(one.variant, one.holdout) for one in later} == {("B", False)}
        mail = client.rewrite("e-1", recipients[0], MAIL)
        assert (mail.variant, mail.holdout) == ("B", False)
        follow(service, mail.html)
        service.drained()
        assert client.experiment("e-1").outcome == found.outcome
        assert client.experiment("e-1").variants == found.outcome.variants
        # Told once: as a line, and to the webhook.
        (told,) = decided(service, "e-1")
        assert (told["newsletter_id"], told["message_id"], told["recipient"]) == ("e-1", "", None)
        assert (told["verdict"], told["link"]) == ("", None)
        assert told["experiment"]["winner"] == "B" and told["experiment"]["id"] == found.id
        assert datetime.fromisoformat(told["occurred_at"]) == found.decided_at
        service.wait_for(lambda: there.requests, "a webhook")
        time.sleep(1)
        (hooked,) = there.verified(secret)
        assert hooked["type"] == "experiment.decided" and hooked["data"] == told
    client.end_experiment("e-1")
    with pytest.raises(MailwakeError) as raised:
        client.experiment("e-1")
    assert raised.value.problem.status == 404
    assert client.rewrite("e-1", recipients[0], MAIL).variant is None


def test_a_holdout_is_not_in_the_ledger_by_whatever_way(service: Service, client: Mailwake) -> None:
    client.start_experiment("e-2", stated(plan(1, 1, holdout=0.9)))
    assigned = client.assign("e-2", [f"{n}@example.com" for n in range(400)])
    held = next(one.recipient for one in assigned if one.holdout)
    split = next(one for one in assigned if not one.holdout)
    answer = client.rewrite("e-2", held, MAIL)
    assert (answer.variant, answer.holdout) == (None, True)
    named = client.rewrite("e-2", held, MAIL, variant="V1")  # whoever names one has chosen
    assert (named.variant, named.holdout) == ("V1", False)
    head = "X-Mailwake-Newsletter: e-2\r\nContent-Type: text/html\r\n"
    for to, variant, holdout in ((held, None, "true"), (split.recipient, split.variant, None)):
        message = f"{head}To: {to}\r\n\r\n{MAIL}"
        whole = service.client.post("/v1/rewrite/mime", content=message)
        assert whole.headers.get("x-mailwake-variant") == variant
        assert whole.headers.get("x-mailwake-holdout") == holdout
    service.drained()
    assert service.stats("e-2")["messages"] == 2


def test_what_is_asked_wrongly_is_said(service: Service) -> None:
    path = "/v1/newsletters/e-3/experiment"
    good = {"variants": [{"variant": "A"}, {"variant": "B"}], "decide_at": SOON.isoformat()}
    for wrong, field in (
        ({"variants": [{"variant": "A"}]}, "variants"),
        ({"variants": [{"variant": "A"}, {"variant": "A"}]}, "variants"),
        ({"variants": [{"variant": "A"}, {"variant": " "}]}, "variants[1].variant"),
        ({"variants": [{"variant": "A", "weight": 0}, {"variant": "B"}]}, "variants[0].weight"),
        ({"variants": [{"variant": f"{n}"} for n in range(21)]}, "variants"),
        ({"holdout": 1}, "holdout"),
        ({"figure": "sales"}, "figure"),
        ({"figure": "link"}, "link"),
        ({"level": 0.5}, "level"),
        ({"decide_at": "2020-01-01T00:00:00Z"}, "decide_at"),
        ({"decide_at": None}, "decide_at"),
        ({"decide_after_messages": 9}, "decide_after_messages"),
        ({"wait_hours": 1000}, "wait_hours"),
        ({"peek": True}, "body"),
    ):
        answer = service.client.post(path, json={**good, **wrong})
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert service.client.get(path).status_code == 404
    began = time.monotonic()
    assert service.client.post(path, json=good).status_code == 200
    assert time.monotonic() - began >= LOOK_SECONDS
    again = service.client.post(path, json=good)
    assert (again.status_code, again.json()["title"]) == (409, "Conflict")
    too_many = {"recipients": ["a@example.com"] * 10_001}
    answer = service.client.post(f"{path}/assignments", json=too_many)
    assert (answer.status_code, answer.json()["field"]) == (422, "recipients")


def test_a_link_decides_where_it_is_named(service: Service, client: Mailwake) -> None:
    html = f'{MAIL}<a href="https://example.com/help">Help</a>'
    client.start_experiment(
        "e-4", stated(plan(1, 1, figure="link", link="https://example.com/help"))
    )
    sent = [client.rewrite("e-4", f"{name}@example.com", html) for name in "ab"]
    for place, answer in enumerate(sent):  # one clicks Boots, the other Help
        links = [path for path in paths(tracked_urls(answer.html)) if path.startswith("/c/")]
        service.client.get(links[place], headers=PERSON)
    service.drained()
    hits = {one.variant: one.hits for one in client.experiment("e-4").variants}
    assert sum(hits.values()) == hits[str(sent[1].variant)] == 1


def test_a_person_counts_once_and_machines_never(service: Service, client: Mailwake) -> None:
    client.start_experiment("e-5", stated(plan(1, 1)))
    for _ in range(3):
        follow(service, client.rewrite("e-5", "often@example.com", MAIL).html)
    scanned = client.rewrite("e-5", "scanned@example.com", MAIL)
    for path in paths(tracked_urls(scanned.html)):
        service.client.head(path)
    service.drained()
    found = client.experiment("e-5").variants
    assert sum(one.messages for one in found) == 4
    assert sum(one.recipients for one in found) == sum(one.of for one in found) == 2
    assert sum(one.hits for one in found) == 1


def test_a_decision_waits_for_what_is_under_way(storage: Storage, tmp_path: Path) -> None:
    """Neither a segment that waits for ClickHouse nor a correction that is due is passed over."""
    state = open_state(tmp_path)
    found, feed = Experiments(state), Feed(state)
    queries = Queries(storage, "default", found.variants)
    made = found.add(newsletter_key("default", "waits"), "waits", plan(decide_at=SOON))
    past = datetime.now(UTC) - timedelta(seconds=30)
    with state.begin() as connection:  # as if it had been started a minute ago
        values = {"plan": msgspec.json.encode(plan(decide_at=past)), "at": made.at - 60_000}
        connection.execute(update(experiments).values(values))
    before = int((time.time() - 40) * 1000)
    segment = tmp_path / f"{uuid.UUID(bytes=new_id(before))}.open"
    segment.touch()
    decider, other = (ExperimentWorker(tmp_path, state, found, queries) for _ in range(2))
    assert decider.take(0) == 0
    segment.unlink()
    settling = tmp_path / f"{uuid.UUID(bytes=new_id(before))}.done"
    settling.touch()
    os.utime(settling, (time.time() - 1, time.time() - 1))
    assert decider.take(0) == decider.take(0) == 0
    settling.unlink()
    with ThreadPoolExecutor() as threads:  # two processes that both think it is theirs
        taken = list(threads.map(lambda one: [one.take(0) for _ in range(5)], [decider, other]))
    told, _ = feed.after(Cursor(), "default", 10)
    assert len(told) == 1 and sum(map(sum, taken)) <= 1
    decided = found.get(made.newsletter)
    assert decided and decided.outcome == told[0].row.outcome
    assert decided.decided == int(past.timestamp() * 1000)
    assert decided.outcome and decided.outcome.result == "no_difference"


def start_soon(client: Mailwake, name: str, seconds: float) -> None:
    """To be decided in so many seconds, or more where the request alone takes as long."""
    while True:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        try:
            client.start_experiment(name, stated(plan(decide_at=at)))
        except MailwakeError as error:
            assert error.problem.field == "decide_at" and seconds < PATIENCE_SECONDS
            seconds *= 2
        else:
            return


@longer
def test_kills_neither_lose_nor_repeat_a_decision(tmp_path: Path) -> None:
    names = [f"k-{n}" for n in range(4 if LONG else 2)]
    with receiver() as there, Service(tmp_path / "data", LOCAL_RECEIVERS, **WITH_HTTP) as service:
        service.ready()
        body = {"url": there.url, "types": ["experiment.decided"]}
        assert service.client.post("/v1/webhooks", json=body).status_code == 200
        with Mailwake(service.url, service.api_key) as client:
            for number, name in enumerate(names):
                start_soon(client, name, 1 + 1.5 * number)
                follow(service, client.rewrite(name, "a@example.com", MAIL).html)
            for _ in range(20 if LONG else 5):
                time.sleep(1.3)
                service.kill()
                service.start()
                if all(decided(service, name) for name in names):
                    break
            for name in names:
                service.wait_for(lambda name=name: client.experiment(name).outcome, name)
        events = [event for name in names for event in decided(service, name)]
        assert [event["newsletter_id"] for event in events] == names
        ids = {event["id"] for event in events}
        service.wait_for(
            lambda: len({e["data"]["id"] for e in there.events()}) >= len(ids), "hooks"
        )
        time.sleep(1)
        # At least once, under the same id: a kill may come between delivery and its note.
        assert {e["data"]["id"] for e in there.events()} == ids


def test_clicks_that_turn_out_to_be_a_machines_decide_nothing(
    service: Service, client: Mailwake
) -> None:
    html = "".join(f'<a href="https://example.com/{n}">{n}</a>' for n in range(3))
    planned = plan(decide_at=None, decide_after_messages=100, wait_hours=0)
    client.start_experiment("e-6", stated(planned))
    scanned = client.rewrite("e-6", "scanned@example.com", f"<body>{html}")
    links = [path for path in paths(tracked_urls(scanned.html)) if path.startswith("/c/")]
    person = client.rewrite("e-6", "person@example.com", f"<body>{html}")
    service.client.get(paths(tracked_urls(person.html))[0], headers=PERSON)
    now, how = now_ms(), (agents.CHROME, "navigate")
    click_at(service, links[:1], now, *how)
    service.drained()  # loaded alone: a person's
    click_at(service, links, now + 1, *how)
    time.sleep(0.3)  # the last message, with which it is to be decided, comes after these clicks
    for n in range(98):
        client.rewrite("e-6", f"{n}@example.com", f"<body>{html}")
    service.wait_for(lambda: client.experiment("e-6").outcome, "a decision")
    found = client.experiment("e-6").outcome
    assert found and sum(one.hits for one in found.variants) == 1
    assert sum(one.of for one in found.variants) == 100


def erased(service: Service, path: str) -> bool:
    return service.get(path)["state"] in ("cleaned", "done")


def test_who_is_erased_still_counts_as_nobody(service: Service, client: Mailwake) -> None:
    client.start_experiment("e-7", stated(plan(1, 1)))
    for name in "abcd":
        follow(service, client.rewrite("e-7", f"{name}.erased@example.com", MAIL).html)
    service.drained()
    before = client.experiment("e-7").variants
    assert sum(one.hits for one in before) == 4
    for name in "abc":
        body = {"recipient": f"{name}.erased@example.com"}
        answer = service.client.post("/v1/erasures", json=body)
        wiped = partial(erased, service, f"/v1/erasures/{answer.json()['id']}")
        service.wait_for(wiped, "erased")
    assert client.experiment("e-7").variants == before


@pytest.mark.parametrize("figure", ["clicks", "opens", "link"])
def test_figures_are_a_count_made_beside_them(
    storage: Storage, tmp_path: Path, figure: Figure
) -> None:
    """Recipients with several messages, hits too late, messages out of the sample, machines."""
    dice, name = random.Random(figure), f"beside-{figure}"
    key, now = newsletter_key("default", name), int(time.time() * 1000)
    start, full, until = now - 600_000, now - 200_000, now - 100_000
    wanted = plan(1, 1, 1, figure=figure, link="Boots" if figure == "link" else "")
    wanted = msgspec.structs.replace(
        wanted, decide_at=None, decide_after_messages=100, wait_hours=(until - full) / 3_600_000
    )
    records: list[Record] = [Newsletter(now, "default", key, name)]
    boots, help_ = (
        Link(now, "default", key, 7 + place, 7 + place, place, url, url, label=label)
        for place, label in enumerate(("Boots", "Help"))
        for url in [f"https://example.com/{label}"]
    )
    records += [boots, help_]
    people: dict[int, dict[str, set[int]]] = {
        number: {what: set() for what in ("all", "of", "hits", "gone", "unseen")}
        for number in (1, 2, 3)
    }
    messages: Counter[int] = Counter()
    for _ in range(4000):
        at, variant = dice.randrange(start - 50_000, full + 50_000), dice.randrange(5)
        person, flags = dice.randrange(1, 900), dice.choice([0, 0, 0, 3 | 12])
        message = new_id(at).hex()
        records.append(Message(at, "default", key, message, person, "", variant, flags))
        counts = variant in people and start <= at < full
        if counts:
            messages[variant] += 1
            people[variant]["all"].add(person)
            if not flags:
                people[variant]["of"].add(person)
        if flags:  # off: nothing comes of it
            continue
        kinds: list[Kind] = ["open", "click", "unsubscribe"]
        for kind in dice.sample(kinds, dice.randrange(3)):
            link = dice.choice([boots, help_])
            hit_at, method = dice.randrange(at + 90_000, now), dice.choice(["GET", "HEAD"])
            method = "POST" if kind == "unsubscribe" else method
            agent = dice.choice([agents.FIREFOX, ""]) if kind == "open" else agents.FIREFOX
            clicked: dict[str, Any] = {"position": link.position, "link": link.link, "flags": WHOLE}
            records.append(
                Hit(
                    kind,
                    hit_at,
                    "default",
                    key,
                    message,
                    person,
                    variant=variant,
                    method=method,
                    address=f"192.{dice.randrange(256)}.{dice.randrange(256)}.7",
                    user_agent=agent,
                    fetch_mode="navigate",
                    **(clicked if kind == "click" else {}),
                )
            )
            if not counts or hit_at >= until:
                continue
            if kind == "unsubscribe":
                people[variant]["gone"].add(person)
            right = kind == ("open" if figure == "opens" else "click")
            if right and method == "GET" and (figure != "link" or link is boots):
                people[variant]["hits" if agent else "unseen"].add(person)
    (tmp_path / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(b"".join(map(encode, records)))
    Loader(tmp_path, storage).load_all()
    made = Experiment("exp_0", key, name, wanted, [1, 2, 3], start, full, None, None)
    assert experiment_worker.due(made) == until
    found = experiment_worker.figures(Queries(storage), made, now)
    assert [
        (one.messages, one.recipients, one.of, one.hits, one.unsubscribed) for one in found.arms
    ] == [
        (messages[number], *(len(people[number][what]) for what in ("all", "of", "hits", "gone")))
        for number in (1, 2, 3)
    ]
    assert all(one.hits > 3 for one in found.arms)
    unknowable = [len(people[number]["unseen"] - people[number]["hits"]) for number in (1, 2, 3)]
    assert [one.unknowable for one in found.arms] == unknowable
    assert all(unknowable) == (figure == "opens")
