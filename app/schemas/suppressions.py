"""Whom not to mail."""

from typing import Annotated

from msgspec import Meta, Struct

from app.schemas.fields import (
    Id,
    Recipient,
)
from app.schemas.timestamps import Timestamp


class SuppressionIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient to suppress, for one newsletter, or for all if `newsletter_id` is omitted."""

    recipient: Recipient
    newsletter_id: Id | None = None


class SuppressedOut(Struct, frozen=True):
    """Whether the recipient must not be sent this newsletter (null: any newsletter)."""

    recipient: str
    newsletter_id: str | None
    suppressed: bool


class SuppressionOut(Struct, frozen=True):
    """A suppression. `recipient` is null if no stored message has the email address.

    `reason` is unsubscribed, api, bounced, soft_bounced or complained. `all_newsletters` is true if
    it applies to all newsletters.
    """

    id: int
    recipient: str | None
    newsletter_id: str | None
    all_newsletters: bool
    reason: str
    at: Timestamp


class SuppressionRulesIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Which outcomes suppress a recipient for all newsletters."""

    bounces: Annotated[bool, Meta(description="Permanent bounces do.")]
    complaints: Annotated[bool, Meta(description="Complaints do.")]
    soft_bounces: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Temporary bounces of so many messages in a row do. 0: never.",
        ),
    ]


class SuppressionRulesOut(Struct, frozen=True):
    """Which outcomes suppress a recipient; `is_default` if they are those of the settings."""

    bounces: bool
    complaints: bool
    soft_bounces: int
    is_default: bool


class SuppressionList(Struct, frozen=True):
    """Suppressions. `next_after` is null on the last page."""

    suppressions: list[SuppressionOut]
    next_after: str | None
