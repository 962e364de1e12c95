"""Scores how much a person responds to mail, from 0 to 100 (docs/dashboard.md).

The score is the average of what came of each message, of which recent ones count more: a click
is worth 1, an open without a click 0.4, and a message counts half as much every 30 days.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import exp2
from typing import NamedTuple

CLICKED, OPENED = 1.0, 0.4
HALF_LIFE = timedelta(days=30)
LEAST = 3  # messages that a score needs


class Received(NamedTuple):
    """A message of which the sender learns whether it was opened or clicked."""

    sent_at: datetime
    opened: bool
    clicked: bool

    @property
    def value(self) -> float:
        """Returns what came of it."""
        return CLICKED if self.clicked else OPENED if self.opened else 0.0


def score(received: Iterable[Received], now: datetime) -> int | None:
    """Returns the score of some messages, None for fewer than LEAST."""
    weighted = [
        (exp2(-max(0.0, (now - message.sent_at) / HALF_LIFE)), message.value)
        for message in received
    ]
    whole = sum(weight for weight, _ in weighted)
    if len(weighted) < LEAST or not whole:
        return None
    return round(100 * sum(weight * value for weight, value in weighted) / whole)
