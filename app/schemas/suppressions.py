"""Whom not to mail."""

from datetime import datetime

from msgspec import Struct

from app.schemas.fields import (
    Id,
    Recipient,
)


class SuppressionIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom not to mail: for one newsletter, or for all where `newsletter_id` is left out."""

    recipient: Recipient
    newsletter_id: Id | None = None


class SuppressedOut(Struct, frozen=True):
    """Whether the newsletter (null: every newsletter) must not go to the recipient."""

    recipient: str
    newsletter_id: str | None
    suppressed: bool


class SuppressionOut(Struct, frozen=True):
    """An entry of the list; `recipient` is null where no message tells the address.

    `reason` is unsubscribed or api; `all_newsletters` where it holds for every one.
    """

    id: int
    recipient: str | None
    newsletter_id: str | None
    all_newsletters: bool
    reason: str
    at: datetime


class SuppressionList(Struct, frozen=True):
    """Entries; `next_after` is null at the end."""

    suppressions: list[SuppressionOut]
    next_after: int | None
