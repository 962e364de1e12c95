"""The records that travel through the journal, one JSON line each, and the keys they carry."""

import time
from typing import Any, Literal

import msgspec

Kind = Literal["open", "click", "unsubscribe"]
NO_LINK = -1
NOBODY = 0  # the recipient of what is kept without saying whose it was
# What a row of a hit says where it is nobody's.
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
    """One request of a pixel, a link or an unsubscribe page, as it came in: nothing is judged yet.

    `at` is milliseconds since 1970 UTC; `message` is the UUID's 32 hex digits; `newsletter` and
    `recipient` are the 64-bit keys; `position` is the link's in the mail, NO_LINK for an open, and
    `url` where it led; `link`, `detail` and `flags` are its token's. `mode` is how much of the hit
    may be kept, as `modes` counts.
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
    """One mail that went through the rewriter: the ledger, and the only place of addresses.

    `flags` are its token's; `address`, `metadata` (the mailer's own) and `rfc_message_id` (the
    Message-ID of RFC 5322 without its angle brackets) are empty where no hit may lead to a person.
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


class Newsletter(
    msgspec.Struct, frozen=True, tag_field="record", tag="newsletter", omit_defaults=True
):
    """What a mailer states of a newsletter or transactional stream; None leaves what was stated."""

    at: int
    workspace: str
    newsletter: int
    id: str
    name: str | None = None
    subject: str | None = None
    tags: tuple[str, ...] | None = None


class Link(msgspec.Struct, frozen=True, tag_field="record", tag="target", omit_defaults=True):
    """A link of a newsletter at one of its places.

    `link` and `family` are the keys of `identity`, `url` and `template` what they stand for, with
    secrets masked; `detail` is the key of `label` and `tags`. `position` counts from 0. With
    `is_family` the link itself stands for all of a family.
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
    """A link as version 0.1 wrote it into journals: `link` is its position."""

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
    """One line of the journal, newline included."""
    return _encoder.encode(record) + b"\n"


def decode(line: bytes) -> Record:
    """The record of a line. Raises msgspec.DecodeError when the bytes are no record."""
    record: Record = _decoder.decode(line)
    return record


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
