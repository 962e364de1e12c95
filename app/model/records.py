"""The records of the journal, one JSON line each."""

import time
from typing import Any, Literal

import msgspec

Kind = Literal["open", "click", "unsubscribe"]
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


Record = Hit | Message | Newsletter | Link | PlacedLink | Carried

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """Returns a record as one line of the journal, newline included."""
    return _encoder.encode(record) + b"\n"


def decode(line: bytes) -> Record:
    """Returns the record of a line. Raises msgspec.DecodeError if the bytes are not a record."""
    record: Record = _decoder.decode(line)
    return record


def now_ms() -> int:
    """Returns the current time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
