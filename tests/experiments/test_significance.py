"""The statistics of experiments, against published figures, scipy's values and brute force."""

import math
import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.experiments.significance import Rate, difference, fit, holm, interval, p_value

RATES = st.integers(0, 2000).flatmap(
    lambda of: st.tuples(st.integers(0, of), st.just(of)).map(lambda pair: Rate(*pair))
)


def exact(one: Rate, other: Rate) -> float:
    """Fisher's two-sided test by whole numbers."""
    hits, of = one.hits + other.hits, one.of + other.of
    tables = [
        math.comb(one.of, k) * math.comb(other.of, hits - k)
        for k in range(max(0, hits - other.of), min(hits, one.of) + 1)
    ]
    bound = math.comb(one.of, one.hits) * math.comb(other.of, other.hits)
    return sum(table for table in tables if table <= bound) / math.comb(of, hits)


def test_the_z_test_gives_the_handbooks_formula() -> None:
    """By the formula of NIST/SEMATECH's e-Handbook, 7.3.3, for 12 of 200 against 5 of 200."""
    pooled = 17 / 400
    z = (12 / 200 - 5 / 200) / math.sqrt(pooled * (1 - pooled) * (1 / 200 + 1 / 200))
    assert p_value(Rate(12, 200), Rate(5, 200)) == pytest.approx(math.erfc(z / math.sqrt(2)))
    assert p_value(Rate(12, 200), Rate(5, 200)) == pytest.approx(0.0828, abs=0.0001)


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [
        (Rate(8, 10), Rate(1, 6), 0.0349650),  # scipy.stats.fisher_exact's documentation
        (Rate(3, 4), Rate(1, 4), 0.4857143),  # Fisher's lady tasting tea
        (Rate(3, 1000), Rate(0, 1000), 0.2496247),
        (Rate(0, 5), Rate(0, 7), 1.0),
        (Rate(5, 5), Rate(7, 7), 1.0),
        (Rate(0, 0), Rate(3, 9), 1.0),
    ],
)
def test_few_hits_are_tested_exactly(one: Rate, other: Rate, chance: float) -> None:
    assert p_value(one, other) == pytest.approx(chance, abs=1e-6)


def test_chance_is_told_from_difference() -> None:
    assert p_value(Rate(0, 0), Rate(5, 10)) == 1
    assert p_value(Rate(10, 100), Rate(10, 100)) == 1
    assert p_value(Rate(0, 100), Rate(0, 100)) == 1
    # A z of 1.959964 is the two-sided 5 % point.
    assert p_value(Rate(100, 1000), Rate(100, 1000)) == 1
    assert p_value(Rate(100, 1000), Rate(120, 1000)) > 0.1
    assert p_value(Rate(100, 1000), Rate(160, 1000)) < 0.001


def test_small_tables_agree_with_whole_numbers() -> None:
    for a, b in product(range(1, 12), range(1, 12)):
        for hits, others in product(range(a + 1), range(b + 1)):
            one, other = Rate(hits, a), Rate(others, b)
            if 0 < hits + others < a + b:
                few = min(a, b) * min(hits + others, a + b - hits - others) / (a + b) < 5
                assert not few or p_value(one, other) == pytest.approx(exact(one, other))


@given(RATES, RATES)
def test_a_p_value_is_a_chance_and_has_no_direction(one: Rate, other: Rate) -> None:
    chance = p_value(one, other)
    assert 0 <= chance <= 1
    assert chance == pytest.approx(p_value(other, one))
    misses = [Rate(rate.of - rate.hits, rate.of) for rate in (one, other)]
    assert chance == pytest.approx(p_value(*misses), abs=1e-9)


@given(RATES, RATES)
def test_intervals_hold_their_rates(one: Rate, other: Rate) -> None:
    for rate in (one, other):
        low, high = interval(rate)
        assert 0 <= low <= rate.value <= high <= 1 or rate.of == 0
    low, high = difference(one, other)
    assert -1 <= low <= high <= 1
    if one.of and other.of:
        assert low <= one.value - other.value <= high
    assert list(difference(other, one)) == pytest.approx([-high, -low])


def test_intervals_are_those_of_the_papers() -> None:
    """Newcombe 1998, both of them: 81 of 263 and 0 of 20; 56 of 70 less 48 of 80."""
    low, high = interval(Rate(81, 263))
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = interval(Rate(0, 20))
    assert (low, round(high, 4)) == (0.0, 0.1611)
    low, high = difference(Rate(56, 70), Rate(48, 80))
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_holm_is_the_example_of_every_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_only_raises_and_keeps_the_order(chances: list[float]) -> None:
    adjusted = holm(chances)
    for chance, after in zip(chances, adjusted, strict=True):
        assert chance <= after <= 1
    if chances:
        assert min(adjusted) == pytest.approx(min(1, len(chances) * min(chances)))
    pairs = sorted(zip(chances, adjusted, strict=True))
    assert [after for _, after in pairs] == sorted(adjusted)


def test_a_fit_is_the_chi_squared_tails() -> None:
    """Tables of chi-squared give 0.05 for 3.841, 5.991, 7.815, 9.488, 11.070 by degrees."""
    for freedom, chi in enumerate((3.841, 5.991, 7.815, 9.488, 11.070), 1):
        groups = freedom + 1
        apart = math.sqrt(chi / 2 * 10_000_000)  # two groups stray, the others do not
        counts = [
            10_000_000 + round(apart),
            10_000_000 - round(apart),
            *[10_000_000] * (groups - 2),
        ]
        assert fit(counts, [1] * groups) == pytest.approx(0.05, abs=1e-4)
    assert fit([1000, 3000], [1, 3]) == 1
    assert fit([1200, 2800], [1, 3]) < 1e-10
    assert fit([0, 0], [1, 1]) == fit([7], [1]) == 1


def test_chance_alone_is_called_a_difference_as_often_as_the_level_says() -> None:
    """Four hundred A/A tests by a seeded generator: at 0.05 about twenty are wrong."""
    dice = random.Random(18)
    wrong = 0
    for _ in range(400):
        one, other = (Rate(sum(dice.random() < 0.1 for _ in range(800)), 800) for _ in "AB")
        wrong += p_value(one, other) < 0.05
    assert 10 <= wrong <= 31
