"""Invents what becomes of a mail on its way: it is delivered, bounces, or is complained about."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from app.demo.audience import Reader

CLOSED_SHARE = 0.012  # of mailboxes: they accept no mail
FULL_SHARE = 0.006  # of messages to the others
COMPLAINT_SHARE = 0.0008  # of delivered messages
COMPLAINT_SECONDS = (10.0, 120.0)  # after the delivery
SECONDS = (0.5, 3.0)  # from sending to delivery


@dataclass(frozen=True, slots=True)
class Report:
    """What a mail server reports of a message, `at` seconds after the sending."""

    at: float
    kind: Literal["delivered", "bounced", "complained"]
    permanent: bool = False
    code: str = ""
    text: str = ""


def reports(rng: Random, reader: Reader) -> list[Report]:
    """Returns the reports of one message in order of time; the first says whether it arrived."""
    return list(_reports(rng, reader))


def _reports(rng: Random, reader: Reader) -> Iterator[Report]:
    at = rng.uniform(*SECONDS)
    if Random(f"mailbox {reader.address}").random() < CLOSED_SHARE:  # noqa: S311
        yield Report(at, "bounced", True, "5.1.1", "550 5.1.1 No such user here")
    elif rng.random() < FULL_SHARE:
        yield Report(at, "bounced", False, "4.2.2", "452 4.2.2 The mailbox is full")
    else:
        yield Report(at, "delivered", code="2.0.0")
        if rng.random() < COMPLAINT_SHARE:
            yield Report(at + rng.uniform(*COMPLAINT_SECONDS), "complained")
