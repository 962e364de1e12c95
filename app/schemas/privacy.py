"""Erasing and exporting one person's data, and consent."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from app.model.tracking_modes import AXES, Axis
from app.schemas.fields import (
    Id,
    Recipient,
)
from app.schemas.timestamps import Timestamp


class ErasureOut(Struct, frozen=True):
    """Progress of an erasure, and the number of erased items by kind.

    `state`: waiting (ClickHouse is unavailable, or the journal is still being loaded), rewritten
    (hits and messages are anonymous), cleaned (all other data is erased too, but ClickHouse still
    has old files), done (nothing is left).
    """

    id: int
    state: str
    at: Timestamp
    counts: dict[str, int]


class SubjectOut(Struct, frozen=True):
    """All data about a recipient. `recipient_key` is the pseudonym in hits and tokens."""

    workspace: str
    recipient: str
    recipient_key: str
    exported_at: Timestamp
    erased_at: Timestamp | None
    messages: list[dict[str, Any]]
    hits: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]
    followups: list[dict[str, Any]]
    suppressions: list[dict[str, Any]]
    withdrawals: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]


class ConsentIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient, and one newsletter, or all if `newsletter_id` is omitted."""

    recipient: Recipient
    axes: Annotated[tuple[Axis, ...], Meta(max_length=10)] = AXES
    newsletter_id: Id | None = None


class WithdrawalOut(Struct, frozen=True):
    """A withdrawal of consent. `newsletter_id` is null if the newsletter is unknown."""

    axis: Axis
    newsletter_id: str | None
    all_newsletters: bool
    at: Timestamp


class ConsentOut(Struct, frozen=True):
    """The withdrawals of consent of a recipient."""

    recipient: str
    withdrawn: list[WithdrawalOut]
