"""Whether two rates differ by more than chance: tests, intervals, and the correction for many.

All functions take hits and the number of messages that they are of.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

FEW = 5  # expected hits or misses below which the normal approximation is not used (Cochran, 1954)
_NORMAL = NormalDist()


class Rate(NamedTuple):
    """`hits` of `of` messages."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """From 0 to 1; 0 where there are no messages."""
        return self.hits / self.of if self.of else 0.0


class Interval(NamedTuple):
    """From `low` to `high`."""

    low: float
    high: float


def p_value(one: Rate, other: Rate) -> float:
    """How often chance alone gives two rates that lie at least this far apart, from 0 to 1.

    Two-sided z-test of two proportions with a pooled variance (NIST/SEMATECH e-Handbook of
    Statistical Methods, 7.3.3), or Fisher's exact test where fewer than FEW hits or misses are
    expected in either. Returns 1 where a rate is unknown.
    """
    if not one.of or not other.of:
        return 1.0
    hits, of = one.hits + other.hits, one.of + other.of
    if not 0 < hits < of:
        return 1.0
    if min(one.of, other.of) * min(hits, of - hits) / of < FEW:
        return _fisher(one, other)
    pooled = hits / of
    spread = math.sqrt(pooled * (1 - pooled) * (1 / one.of + 1 / other.of))
    return math.erfc(abs(one.value - other.value) / spread / math.sqrt(2))


def _fisher(one: Rate, other: Rate) -> float:
    """Two-sided: the probability of all tables that are no likelier than the one at hand."""
    hits, of = one.hits + other.hits, one.of + other.of
    if hits > of - hits:  # the rarer of hits and misses: fewer tables to add up
        return _fisher(Rate(one.of - one.hits, one.of), Rate(other.of - other.hits, other.of))
    if one.of > other.of:
        return _fisher(other, one)
    whole = _choices(of, hits)
    least, most = max(0, hits - other.of), min(hits, one.of)

    def likelihood(count: int) -> float:
        return math.exp(_choices(one.of, count) + _choices(other.of, hits - count) - whole)

    bound = likelihood(one.hits) * (1 + 1e-7)  # equal ones differ in their last digits
    tables = (likelihood(count) for count in range(least, most + 1))
    return min(1.0, math.fsum(table for table in tables if table <= bound))


def _choices(of: int, count: int) -> float:
    """The logarithm of a binomial coefficient."""
    return math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)


def interval(rate: Rate, level: float = 0.05) -> Interval:
    """The rate's interval of confidence 1 - `level`: Wilson's score interval.

    E. B. Wilson, JASA 22 (1927), recommended by Brown, Cai and DasGupta, Statistical Science 16
    (2001). From 0 to 1 where there are no messages.
    """
    if not rate.of:
        return Interval(0.0, 1.0)
    z = _NORMAL.inv_cdf(1 - level / 2)
    shrink = 1 + z * z / rate.of
    middle = (rate.value + z * z / (2 * rate.of)) / shrink
    half = z / shrink * math.sqrt(rate.value * (1 - rate.value) / rate.of + (z / rate.of / 2) ** 2)
    low = 0.0 if rate.hits == 0 else middle - half
    return Interval(max(0.0, low), 1.0 if rate.hits == rate.of else min(1.0, middle + half))


def difference(one: Rate, other: Rate, level: float = 0.05) -> Interval:
    """The interval of `one` less `other`: both Wilson intervals put together.

    R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890, method 10.
    """
    mine, theirs, apart = interval(one, level), interval(other, level), one.value - other.value
    low = math.hypot(one.value - mine.low, theirs.high - other.value)
    high = math.hypot(mine.high - one.value, other.value - theirs.low)
    return Interval(max(-1.0, apart - low), min(1.0, apart + high))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the same order.

    S. Holm, Scandinavian Journal of Statistics 6 (1979): the chance that any of the tests is wrong
    stays below the level, however they depend on each other.
    """
    adjusted = [1.0] * len(chances)
    most = 0.0
    order = sorted(range(len(chances)), key=chances.__getitem__)
    for rank, position in enumerate(order):
        most = max(most, min(1.0, (len(chances) - rank) * chances[position]))
        adjusted[position] = most
    return adjusted


def fit(counts: Sequence[int], weights: Sequence[int]) -> float:
    """How often chance alone strays at least this far from the weights, from 0 to 1.

    Pearson's chi-squared test of goodness of fit; its tail is an incomplete gamma function, which
    has a recurrence in steps of two degrees of freedom (NIST DLMF, 8.8.2).
    """
    whole, freedom = sum(counts), len(counts) - 1
    if not whole or not freedom:
        return 1.0
    expected = [whole * weight / sum(weights) for weight in weights]
    half = sum((n - mean) ** 2 / mean for n, mean in zip(counts, expected, strict=True)) / 2
    if not half:
        return 1.0
    shape = 0.5 if freedom % 2 else 1.0
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    while shape < freedom / 2:
        tail += math.exp(shape * math.log(half) - half - math.lgamma(shape + 1))
        shape += 1
    return min(1.0, tail)
