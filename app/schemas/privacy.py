"""Erasing and exporting one person's data, and consent."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from app.model.tracking_modes import AXES, Axis
from app.schemas.fields import (
    Id,
    Recipient,
)


class ErasureIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to erase."""

    recipient: Recipient


class ErasureOut(Struct, frozen=True):
    """How far an erasure has got, and how much was taken, by kind.

    `state`: waiting (ClickHouse is away, or the journal is still being loaded), rewritten (what is
    counted is nobody's), cleaned (so is all else, but ClickHouse still keeps files that it has
    replaced), done (no byte is left).
    """

    id: int
    state: str
    at: datetime
    counts: dict[str, int]


class SubjectOut(Struct, frozen=True):
    """All that is held about a recipient; `recipient_key` is the pseudonym in hits and tokens."""

    workspace: str
    recipient: str
    recipient_key: str
    exported_at: datetime
    erased_at: datetime | None
    messages: list[dict[str, Any]]
    hits: list[dict[str, Any]]
    followups: list[dict[str, Any]]
    suppressions: list[dict[str, Any]]
    withdrawals: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]


class ConsentIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose consent: for one newsletter, or for all where `newsletter_id` is left out."""

    recipient: Recipient
    axes: tuple[Axis, ...] = AXES
    newsletter_id: Id | None = None


class WithdrawalOut(Struct, frozen=True):
    """What is not counted any more; `newsletter_id` is null where no newsletter is known by it."""

    axis: Axis
    newsletter_id: str | None
    all_newsletters: bool
    at: datetime


class ConsentOut(Struct, frozen=True):
    """All that a recipient has withdrawn from."""

    recipient: str
    withdrawn: list[WithdrawalOut]
