"""The records of the journal, one JSON line each."""

import re
import time
from typing import Any, Literal

import msgspec

from app.model.errors import UNREADABLE

Kind = Literal["open", "click", "unsubscribe"]
# What can be reported to have become of a mail.
ReportedKind = Literal[
    "queued",
    "sent",
    "deferred",
    "delivered",
    "bounced",
    "rejected",
    "complained",
    "autoresponded",
]
# The others are providers' own events, which decide nothing.
OutcomeKind = Literal[ReportedKind, "opened", "clicked", "unsubscribed", "other"]
NO_LINK = -1
NOBODY = 0  # the recipient of a row that no longer identifies one
# Values of a row of `hits` that no longer identifies a recipient.
BLANK: dict[str, Any] = {
    "recipient": NOBODY,
    "address": "",
    "user_agent": "",
    "purpose": "",
    "fetch_mode": "",
    "asn": 0,
    "url": "",
}


class Hit(msgspec.Struct, frozen=True, gc=False, tag_field="record", tag="hit", omit_defaults=True):
    """One request for a pixel, a link or an unsubscribe page, before it is classified.

    `at` is in milliseconds since 1970 UTC. `message` is the UUID's 32 hexadecimal digits.
    `newsletter` and `recipient` are the 64-bit keys. `position` is the link's in the mail, NO_LINK
    for an open, and `url` its target. `link`, `detail` and `flags` are those of the link's token.
    `address` is the IP address. `mode` says how much of the hit may be kept, as an index of
    `tracking_modes.MODES`.
    """

    kind: Kind
    at: int
    workspace: str
    newsletter: int
    message: str
    recipient: int
    position: int = msgspec.field(default=NO_LINK, name="link")
    url: str = ""
    variant: int = 0
    method: str = "GET"
    address: str = ""
    user_agent: str = ""
    purpose: str = ""
    fetch_mode: str = ""
    mode: int = 0
    link: int = msgspec.field(default=0, name="key")
    detail: int = 0
    flags: int = 0


class Message(msgspec.Struct, frozen=True, tag_field="record", tag="message", omit_defaults=True):
    """One rewritten mail: the only record with an email address (`address`).

    `flags` are those of its token. `address`, `metadata` (the mailer's own) and `rfc_message_id`
    (the Message-ID of RFC 5322 without its angle brackets) are empty if no hit may lead to a
    person. `links` is the number of distinct URLs of its tracked links; 0 if there are none,
    or if an earlier version wrote the record.
    """

    at: int
    workspace: str
    newsletter: int
    message: str
    recipient: int
    address: str
    variant: int = 0
    flags: int = 0
    metadata: dict[str, str] = {}
    rfc_message_id: str = ""
    links: int = 0


class Newsletter(
    msgspec.Struct, frozen=True, tag_field="record", tag="newsletter", omit_defaults=True
):
    """A mailer's statement about a newsletter or transactional stream; None changes nothing."""

    at: int
    workspace: str
    newsletter: int
    id: str
    name: str | None = None
    subject: str | None = None
    tags: tuple[str, ...] | None = None


class Link(msgspec.Struct, frozen=True, tag_field="record", tag="target", omit_defaults=True):
    """A link of a newsletter at one of its places.

    `link` and `family` are the keys of `identity`, `url` and `template` their URLs with secrets
    masked. `detail` is the key of `label` and `tags`. `position` counts from 0. With `is_family`
    the link itself represents all links of a family.
    """

    at: int
    workspace: str
    newsletter: int
    link: int
    family: int
    position: int
    url: str
    template: str
    name: str = ""
    detail: int = 0
    label: str = ""
    tags: tuple[str, ...] = ()
    is_family: bool = False


class PlacedLink(msgspec.Struct, frozen=True, tag_field="record", tag="link", omit_defaults=True):
    """A link as version 0.1 wrote it to the journal: `link` is its position."""

    at: int
    workspace: str
    newsletter: int
    link: int
    url: str
    label: str = ""
    tags: tuple[str, ...] = ()


class Carried(msgspec.Struct, frozen=True, tag_field="record", tag="carried", omit_defaults=True):
    """How many messages of one variant carried each of some links, by the links' keys."""

    at: int
    workspace: str
    newsletter: int
    links: tuple[int, ...]
    messages: int
    variant: int = 0


class Outcome(msgspec.Struct, frozen=True, tag_field="record", tag="outcome", omit_defaults=True):
    """A report of what became of a mail.

    `event` is the reporter's own id of it. `at` is when it happened and `received` when it was
    reported, in milliseconds since 1970 UTC. One of these names the mail: `message`, the UUID's 32
    hexadecimal digits; `rfc_message_id`, with `recipient` if several copies have it; `recipient`
    and `newsletter`, whose latest message it is. `recipient` alone is enough to suppress.
    `permanent` is of bounces. `code` and `text` are what the other side said, email addresses
    masked.
    """

    at: int
    received: int
    workspace: str
    event: str
    kind: OutcomeKind
    message: str = ""
    rfc_message_id: str = ""
    recipient: int = NOBODY
    newsletter: int = 0
    permanent: bool = False
    code: str = ""
    text: str = ""
    provider: str = ""


Record = Hit | Message | Newsletter | Link | PlacedLink | Carried | Outcome

# What ClickHouse's columns hold (clickhouse/migrations).
MAX_UINT8, MAX_UINT16, MAX_UINT32 = 2**8 - 1, 2**16 - 1, 2**32 - 1
MAX_INT32, MAX_KEY = 2**31 - 1, 2**64 - 1
MAX_AT = 9_999_999_999_999  # the year 2286, in milliseconds; DateTime64(3) reaches 2299
_MESSAGE = re.compile(r"[0-9a-f]{32}")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """Returns a record as one line of the journal, newline included."""
    return _encoder.encode(record) + b"\n"


class RecordError(ValueError):
    """A line of the journal is not a record; the message says why."""


def decode(line: bytes) -> Record:
    """Returns the record of a line. Raises RecordError if the bytes are not a record.

    The values fit ClickHouse's columns, so that a line that a bad disk has changed is found here
    and holds up no other.
    """
    try:
        record: Record = _decoder.decode(line)
    except (*UNREADABLE, RecursionError) as error:
        raise RecordError(str(error) or type(error).__name__) from None
    if not 0 <= record.at <= MAX_AT or not 0 <= record.newsletter <= MAX_KEY:
        raise RecordError("at or newsletter is out of range")
    if isinstance(record, Hit):
        sound = (
            -1 <= record.position <= MAX_INT32
            and 0 <= record.link <= MAX_KEY
            and 0 <= record.detail <= MAX_UINT32
            and 0 <= record.mode <= MAX_UINT8
            and 0 <= record.flags <= MAX_UINT8
        )
    elif isinstance(record, Message):
        sound = 0 <= record.flags <= MAX_UINT8 and 0 <= record.links <= MAX_UINT16
    elif isinstance(record, Link):
        sound = (
            0 <= record.link <= MAX_KEY
            and 0 <= record.family <= MAX_KEY
            and 0 <= record.detail <= MAX_UINT32
            and 0 <= record.position <= MAX_INT32
        )
    elif isinstance(record, PlacedLink):
        sound = 0 <= record.link <= MAX_INT32
    elif isinstance(record, Carried):
        sound = 0 <= record.messages <= MAX_UINT32 and all(
            0 <= key <= MAX_KEY for key in record.links
        )
    elif isinstance(record, Outcome):
        sound = (
            0 <= record.received <= MAX_AT
            and 0 <= record.recipient <= MAX_KEY
            and (not record.message or _MESSAGE.fullmatch(record.message) is not None)
        )
    else:
        sound = True
    if isinstance(record, Hit | Message):
        sound = sound and 0 <= record.recipient <= MAX_KEY
        sound = sound and _MESSAGE.fullmatch(record.message) is not None
    if isinstance(record, Hit | Message | Carried):
        sound = sound and 0 <= record.variant <= MAX_UINT8
    if not sound:
        raise RecordError("a value is out of range, or the message is no UUID")
    return record


def now_ms() -> int:
    """Returns the current time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
