"""Tests whether rates differ by more than chance: p-values, intervals and multiple comparisons.

A rate is a number of hits and the number of messages that they belong to.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

FEW = 5  # expected hits or misses below which the normal approximation is not used (Cochran, 1954)
_NORMAL = NormalDist()


class Rate(NamedTuple):
    """The rate of `hits` in `of` messages."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """Returns the rate from 0 to 1; 0 if there are no messages."""
        return self.hits / self.of if self.of else 0.0


class Interval(NamedTuple):
    """An interval from `low` to `high`."""

    low: float
    high: float


def p_value(first: Rate, second: Rate) -> float:
    """Returns the probability that two rates differ at least this much by chance, from 0 to 1.

    Two-sided z-test of two proportions with a pooled variance (NIST/SEMATECH e-Handbook of
    Statistical Methods, 7.3.3), or Fisher's exact test if fewer than FEW hits or misses are
    expected in either. Returns 1 if a rate is unknown.
    """
    if not first.of or not second.of:
        return 1.0
    hits, of = first.hits + second.hits, first.of + second.of
    if not 0 < hits < of:
        return 1.0
    if min(first.of, second.of) * min(hits, of - hits) / of < FEW:
        return _fisher(first, second)
    pooled = hits / of
    spread = math.sqrt(pooled * (1 - pooled) * (1 / first.of + 1 / second.of))
    return math.erfc(abs(first.value - second.value) / spread / math.sqrt(2))


def _fisher(first: Rate, second: Rate) -> float:
    """Returns the two-sided p-value: the probability of all tables no likelier than this one."""
    hits, of = first.hits + second.hits, first.of + second.of
    if hits > of - hits:  # count the rarer of hits and misses, so that fewer tables are summed
        return _fisher(
            Rate(first.of - first.hits, first.of), Rate(second.of - second.hits, second.of)
        )
    if first.of > second.of:
        return _fisher(second, first)
    log_all = _log_binomial(of, hits)
    least, most = max(0, hits - second.of), min(hits, first.of)

    def likelihood(count: int) -> float:
        log_count = _log_binomial(first.of, count) + _log_binomial(second.of, hits - count)
        return math.exp(log_count - log_all)

    bound = likelihood(first.hits) * (1 + 1e-7)  # equal likelihoods differ in their last digits
    tables = (likelihood(count) for count in range(least, most + 1))
    return min(1.0, math.fsum(table for table in tables if table <= bound))


def _log_binomial(of: int, count: int) -> float:
    """Returns the natural logarithm of a binomial coefficient."""
    return math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)


def interval(rate: Rate, level: float = 0.05) -> Interval:
    """Returns a rate's confidence interval for confidence 1 - `level`: Wilson's score interval.

    E. B. Wilson, JASA 22 (1927), recommended by Brown, Cai and DasGupta, Statistical Science 16
    (2001). Returns 0 to 1 if there are no messages.
    """
    if not rate.of:
        return Interval(0.0, 1.0)
    z = _NORMAL.inv_cdf(1 - level / 2)
    shrink = 1 + z * z / rate.of
    middle = (rate.value + z * z / (2 * rate.of)) / shrink
    half = z / shrink * math.sqrt(rate.value * (1 - rate.value) / rate.of + (z / rate.of / 2) ** 2)
    low = 0.0 if rate.hits == 0 else middle - half
    return Interval(max(0.0, low), 1.0 if rate.hits == rate.of else min(1.0, middle + half))


def difference(first: Rate, second: Rate, level: float = 0.05) -> Interval:
    """Returns the confidence interval of `first` minus `second`, from both Wilson intervals.

    R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890, method 10.
    """
    of_first, of_second = interval(first, level), interval(second, level)
    estimate = first.value - second.value
    low = math.hypot(first.value - of_first.low, of_second.high - second.value)
    high = math.hypot(of_first.high - first.value, second.value - of_second.low)
    return Interval(max(-1.0, estimate - low), min(1.0, estimate + high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for multiple comparisons, in the same order.

    S. Holm, Scandinavian Journal of Statistics 6 (1979): the probability that any of the tests is
    wrong stays below the level, however the tests depend on each other.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def fit(counts: Sequence[int], weights: Sequence[int]) -> float:
    """Returns the probability that counts differ this much from their weights by chance.

    From 0 to 1. This is Pearson's chi-squared test of goodness of fit. Its tail is an incomplete
    gamma function, which has a recurrence in steps of two degrees of freedom (NIST DLMF, 8.8.2).
    """
    total, freedom = sum(counts), len(counts) - 1
    if not total or not freedom:
        return 1.0
    expected = [total * weight / sum(weights) for weight in weights]
    half = sum((n - mean) ** 2 / mean for n, mean in zip(counts, expected, strict=True)) / 2
    if not half:
        return 1.0
    shape = 0.5 if freedom % 2 else 1.0
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    while shape < freedom / 2:
        tail += math.exp(shape * math.log(half) - half - math.lgamma(shape + 1))
        shape += 1
    return min(1.0, tail)
