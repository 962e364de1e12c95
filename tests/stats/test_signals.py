from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.model.errors import FieldError
from app.privacy.scrub import scrub_followed
from app.privacy.subject_match import SubjectMatcher
from app.stats import signals as module
from app.stats.signals import Signal, Signals
from app.storage.state_db import open_state

ANN, BOB = 2**64 - 1, 7


@pytest.fixture
def state(tmp_path: Path) -> Engine:
    return open_state(tmp_path)


def test_a_signal_is_added_once_and_removed(state: Engine) -> None:
    signals = Signals(state)
    for _ in range(2):
        signals.add("label", " Pricing ")
    signals.add("topic", "boots")
    assert signals.all() == [Signal("label", "Pricing"), Signal("topic", "boots")]
    assert Signals(state, "other").all() == []
    signals.remove("label", "Pricing")
    signals.remove("label", "Pricing")
    assert signals.all() == [Signal("topic", "boots")]


@pytest.mark.parametrize(
    ("kind", "pattern", "field"),
    [
        ("person", "x", "kind"),
        ("label", "", "pattern"),
        ("label", "  ", "pattern"),
        ("url", "***", "pattern"),
        ("url", "x" * 201, "pattern"),
        ("topic", "a\nb", "pattern"),
    ],
)
def test_what_is_wrong_is_named(state: Engine, kind: str, pattern: str, field: str) -> None:
    with pytest.raises(FieldError) as raised:
        Signals(state).add(kind, pattern)
    assert raised.value.field == field
    assert Signals(state).all() == []


def test_an_answer_holds_until_its_time_and_never_goes_back(state: Engine) -> None:
    signals = Signals(state)
    signals.answer(ANN, 2_000, "nina")
    signals.answer(ANN, 1_000, "otto")
    signals.answer(BOB, 3_000, "nina")
    assert signals.answered([ANN, BOB, 8]) == {ANN: 2_000, BOB: 3_000}
    assert Signals(state, "other").answered([ANN]) == {}


def test_of_too_many_answers_the_oldest_goes(
    state: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWERED", 3)
    signals = Signals(state)
    for number in range(5):
        signals.answer(number, 1_000 + number, "nina")
    assert set(signals.answered(range(5))) == {2, 3, 4}


def test_who_is_erased_is_not_among_the_answered(state: Engine) -> None:
    for workspace in ("default", "other"):
        Signals(state, workspace).answer(ANN, 1, "nina")
    marks = SubjectMatcher("default", frozenset([ANN]), ("ann@example.com",), "k" * 32)
    assert scrub_followed(state, marks) == 1
    assert Signals(state).answered([ANN]) == {}
    assert Signals(state, "other").answered([ANN]) == {ANN: 1}
