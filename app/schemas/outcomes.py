"""Outcomes of messages: what mailers and their providers report."""

from typing import Annotated

from msgspec import Meta, Struct

from app.model.records import ReportedKind
from app.schemas.fields import Id, Moment, Recipient, RfcMessageId
from app.schemas.timestamps import Timestamp

MAX_EVENT_ID_CHARS, MAX_CODE_CHARS, MAX_TEXT_CHARS, MAX_PROVIDER_CHARS = 200, 100, 2_000, 50

EventId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_EVENT_ID_CHARS,
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
        description="The reporter's ID of this event: a repeated one is counted once.",
    ),
]
MessageId = Annotated[
    str,
    Meta(
        max_length=36,
        pattern=r"^[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}$(?!\n)",
        description="The `message_id` that rewriting returned.",
    ),
]


class OutcomeIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a message.

    Name the message by one of `message_id`, `rfc_message_id` (with `recipient` if several
    recipients got copies with the same one), or `recipient` and `newsletter`, whose latest message
    it is. `permanent` is required for bounced, and only allowed there. `code` is the status code of
    the receiving server, `text` its answer; email addresses in it are masked.
    """

    id: EventId
    type: ReportedKind
    occurred_at: Moment
    message_id: MessageId | None = None
    rfc_message_id: RfcMessageId | None = None
    recipient: Recipient | None = None
    newsletter: Annotated[Id, Meta(description="ID of the newsletter.")] | None = None
    permanent: bool | None = None
    code: Annotated[str, Meta(max_length=MAX_CODE_CHARS)] = ""
    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] = ""
    provider: Annotated[
        str,
        Meta(
            max_length=MAX_PROVIDER_CHARS,
            pattern=r"^[A-Za-z0-9_.-]*$(?!\n)",
            description="Name of the mail provider, such as ses.",
        ),
    ] = ""


class OutcomeAccepted(Struct, frozen=True):
    """An outcome that is stored. `id` is the reporter's."""

    id: str


class MessageOutcome(Struct, frozen=True):
    """An outcome of a message. `permanent` is set for bounces only.

    Besides the types that can be reported there are opened, clicked, unsubscribed and other: events
    of a provider that do not count. `id` and `text` are empty if their retention time is over.
    """

    id: str
    type: str
    permanent: bool | None
    occurred_at: Timestamp
    received_at: Timestamp
    code: str
    text: str
    provider: str


class EventOutcome(Struct, frozen=True):
    """What a mail server or provider said about a message."""

    permanent: bool | None
    code: str
    text: str
    provider: str
