"""Rows of the table `outcomes`."""

import uuid
from hashlib import blake2b

import msgspec

from app.model.records import NOBODY, Outcome

NO_MESSAGE = "0" * 32  # the message of a row while it is not found


class OutcomeRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `outcomes`. Times are in seconds since 1970 UTC.

    `newsletter` is 0 until the message is found. `stated_newsletter` is the reporter's.
    """

    workspace: str
    newsletter: int
    message: str
    event: str
    kind: str
    permanent: int
    at: float
    received: float
    recipient: int
    variant: int
    code: str
    text: str
    provider: str
    event_id: str
    rfc_message_id: str
    stated_newsletter: int
    segment: str
    line: int

    @property
    def is_matched(self) -> bool:
        """Returns whether its message was found."""
        return self.newsletter != 0

    @property
    def key(self) -> tuple[str, str]:
        """Returns what makes it the same report: message and event."""
        return self.message, self.event


def outcome_row(record: Outcome, segment_id: str, line: int) -> OutcomeRow:
    """Returns the row of a record whose message is still to be found."""
    return OutcomeRow(
        workspace=record.workspace,
        newsletter=0,
        message=record.message or NO_MESSAGE,
        event=event_key(record.workspace, record.event),
        kind=record.kind,
        permanent=int(record.permanent),
        at=record.at / 1000,
        received=record.received / 1000,
        recipient=record.recipient,
        variant=0,
        code=record.code,
        text=record.text,
        provider=record.provider,
        event_id=record.event,
        rfc_message_id=record.rfc_message_id,
        stated_newsletter=record.newsletter,
        segment=segment_id,
        line=line,
    )


def event_key(workspace: str, event_id: str) -> str:
    """Returns the 32 hexadecimal digits that a reporter's id of an event has in a workspace."""
    name = f"{workspace}\0{event_id}".encode()
    return uuid.UUID(bytes=blake2b(name, digest_size=16, person=b"outcome").digest()).hex


def without_person(row: OutcomeRow) -> OutcomeRow:
    """Returns a row that no longer identifies a recipient."""
    return msgspec.structs.replace(row, recipient=NOBODY, text="", event_id="", rfc_message_id="")
