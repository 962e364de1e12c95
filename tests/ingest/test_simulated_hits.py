"""Rules are tried on 12,000 simulated messages, which none of them was written for."""

from functools import cache

from tests.support.simulated_hits import Outcome, Simulated, evaluate, simulate

_SEED = 7


@cache
def messages() -> list[Simulated]:
    return simulate(_SEED)


def recall(outcome: Outcome, kind: str, person: bool) -> float:
    right, wrong = (outcome.by_kind[kind, person, ok] for ok in (True, False))
    return right / (right + wrong)


def test_with_fetch_metadata_people_and_scanners_are_told_apart() -> None:
    outcome = evaluate(messages())
    assert outcome.share(person=True) >= 0.995
    assert outcome.share(person=False) >= 0.94
    assert outcome.precision >= 0.99
    for kind in ("reader", "tabs", "colleagues", "office"):
        assert recall(outcome, kind, person=True) >= 0.999, kind
    assert recall(outcome, "full scan", person=False) >= 0.999


def test_without_tls_most_people_and_scanners_are_told_apart() -> None:
    """Nobody's browser sends fetch metadata then, so quick tabs look like a burst."""
    outcome = evaluate(messages(), https=False)
    assert outcome.share(person=True) >= 0.92
    assert outcome.share(person=False) >= 0.8
    for kind in ("reader", "colleagues", "office"):
        assert recall(outcome, kind, person=True) >= 0.99, kind
    assert recall(outcome, "full scan", person=False) >= 0.84


def test_the_simulation_is_the_same_for_the_same_seed() -> None:
    assert simulate(3, 50, 20) == simulate(3, 50, 20) != simulate(4, 50, 20)
