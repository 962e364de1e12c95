import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.consent.suppressions import ALL, Suppressions
from app.storage.state_db import open_state

BIG = 2**64 - 1  # SQLite has signed integers only


@pytest.fixture
def suppressions(tmp_path: Path) -> Suppressions:
    return Suppressions(open_state(tmp_path))


def test_an_entry_is_added_once_and_keeps_its_first_reason(suppressions: Suppressions) -> None:
    before = time.time()
    assert suppressions.add(7, 1, "unsubscribed")
    assert not suppressions.add(7, 1, "bounced")
    (entry,) = suppressions.page(0, 10)
    assert (entry.recipient, entry.newsletter, entry.reason) == (7, 1, "unsubscribed")
    assert before <= entry.at <= time.time()


def test_an_entry_is_of_one_newsletter_or_of_all(suppressions: Suppressions) -> None:
    suppressions.add(BIG, 2**63, "")
    suppressions.add(8, ALL, "")
    assert suppressions.among([BIG, 8, 9], 2**63) == {BIG, 8}
    assert suppressions.among([BIG, 8, 9], 3) == {8}
    assert suppressions.among([], 3) == set()
    assert (suppressions.of(BIG), suppressions.of(8), suppressions.of(9)) == ({2**63}, {ALL}, set())


def test_removing_takes_exactly_the_named_entry(suppressions: Suppressions) -> None:
    for newsletter in (ALL, 1):
        suppressions.add(7, newsletter, "")
    assert not suppressions.remove(7, 2)
    assert not suppressions.remove(8, 1)
    assert suppressions.remove(7, ALL)
    assert not suppressions.remove(7, ALL)
    assert suppressions.of(7) == {1}


def test_workspaces_share_nothing(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    here, there = Suppressions(engine), Suppressions(engine, "acme")
    here.add(7, 1, "")
    assert there.among([7], 1) == there.of(7) == set()
    assert there.page(0, 10) == [] and not there.remove(7, 1)
    assert there.add(7, 1, "") and here.remove(7, 1) and there.of(7) == {1}


def test_pages_have_each_entry_once_in_order_of_creation(suppressions: Suppressions) -> None:
    for recipient in range(9, 0, -1):
        suppressions.add(recipient, 1, "")
    found, after = [], 0
    while page := suppressions.page(after, 4):
        found += [entry.recipient for entry in page]
        after = page[-1].id
    assert found == list(range(9, 0, -1))


KEYS = st.sampled_from([1, 2, 2**63, BIG])
NEWSLETTERS = st.sampled_from([ALL, 1, BIG])


@given(steps=st.lists(st.tuples(st.booleans(), KEYS, NEWSLETTERS), max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_steps_leave_what_a_set_of_pairs_would_hold(
    suppressions: Suppressions, steps: list[tuple[bool, int, int]]
) -> None:
    for entry in suppressions.page(0, 100):  # of the example before
        suppressions.remove(entry.recipient, entry.newsletter)
    model: set[tuple[int, int]] = set()
    for adds, recipient, newsletter in steps:
        pair = recipient, newsletter
        if adds:
            assert suppressions.add(*pair, "") == (pair not in model)
            model.add(pair)
        else:
            assert suppressions.remove(*pair) == (pair in model)
            model.discard(pair)
    assert {(e.recipient, e.newsletter) for e in suppressions.page(0, 100)} == model
    for newsletter in (1, BIG):
        assert suppressions.among([1, 2, 2**63, BIG], newsletter) == {
            recipient for recipient, of in model if of in (ALL, newsletter)
        }


def test_many_recipients_are_looked_up_at_once(suppressions: Suppressions) -> None:
    for recipient in range(0, 5000, 1000):
        suppressions.add(recipient, 1, "")
    assert suppressions.among(range(5000), 1) == {0, 1000, 2000, 3000, 4000}
