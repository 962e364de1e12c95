"""Schedules mail: newsletters in waves, transactional mail at random times."""

from collections.abc import Iterator, Sequence
from itertools import count
from math import pi, sin
from random import Random
from typing import NamedTuple

from app.demo.audience import Reader
from app.demo.mailings import NEWSLETTERS, TRANSACTIONAL, Mailing

WAVE_RATE, TRANSACTIONAL_RATE = 3.0, 0.7  # messages a second, on average
BURST = 360


class Sending(NamedTuple):
    """`mailing` goes to `reader` after `pause` seconds; `haste` shortens all that follows."""

    pause: float
    mailing: Mailing
    reader: Reader
    haste: float = 1.0


def burst(seed: int, readers: Sequence[Reader]) -> Iterator[Sending]:
    """Yields some of everything at once, read at once, so that a new dashboard shows figures."""
    rng = Random(f"burst {seed}")  # noqa: S311  (lifelike, not secret)
    mailings = [*NEWSLETTERS, *TRANSACTIONAL]
    weights = [mailing.share / 25 or 2.0 for mailing in mailings]
    for _ in range(BURST):
        (mailing,) = rng.choices(mailings, weights)
        yield Sending(0.004, mailing, rng.choice(readers), haste=0.12)


def newsletters(seed: int, readers: Sequence[Reader]) -> Iterator[Sending]:
    """Yields newsletters for ever: in waves by turns until each has reached its subscribers."""
    rng = Random(f"newsletters {seed}")  # noqa: S311
    for edition in count(1):
        waiting = [
            (mailing.edition(edition), _subscribers(rng, mailing, readers))
            for mailing in NEWSLETTERS
        ]
        while waiting:
            for mailing, subscribers in waiting:
                size = rng.randint(40, 90)
                wave, subscribers[:] = subscribers[:size], subscribers[size:]
                yield from _wave(rng, mailing, wave)
            waiting = [(mailing, remaining) for mailing, remaining in waiting if remaining]


def transactions(seed: int, readers: Sequence[Reader]) -> Iterator[Sending]:
    """Yields transactional mail for ever, at random times (a Poisson process)."""
    rng = Random(f"transactions {seed}")  # noqa: S311
    shares = [mailing.share for mailing in TRANSACTIONAL]
    while True:
        (mailing,) = rng.choices(TRANSACTIONAL, shares)
        yield Sending(rng.expovariate(TRANSACTIONAL_RATE), mailing, rng.choice(readers))


def _subscribers(rng: Random, mailing: Mailing, readers: Sequence[Reader]) -> list[Reader]:
    return [
        reader
        for reader in rng.sample(readers, len(readers))
        if rng.random() < (0.85 if reader.segment in mailing.fans else 0.3)
    ]


def _wave(rng: Random, mailing: Mailing, wave: Sequence[Reader]) -> Iterator[Sending]:
    """Yields a wave that rises and falls after a pause."""
    lull = rng.uniform(2, 6)
    for number, reader in enumerate(wave):
        swell = 0.5 + sin(pi * (number + 0.5) / len(wave)) ** 2
        yield Sending(lull + rng.expovariate(WAVE_RATE * swell), mailing, reader)
        lull = 0
