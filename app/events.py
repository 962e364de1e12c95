"""The records that travel through the journal, one JSON line each, and the keys they carry."""

import os
import time
from hashlib import blake2b
from typing import Any, Literal

import msgspec

Kind = Literal["open", "click", "unsubscribe"]
NO_LINK = -1
NOBODY = 0  # the recipient of what is kept without saying whose it was
# What a row of a hit says where it is nobody's.
BLANK: dict[str, Any] = {
    "recipient": NOBODY, "address": "", "user_agent": "", "purpose": "", "fetch_mode": "", "asn": 0,
}  # fmt: skip


class Hit(msgspec.Struct, frozen=True, gc=False, tag_field="record", tag="hit", omit_defaults=True):
    """One request of a pixel, a link or an unsubscribe page, as it came in: nothing is judged yet.

    `at` is milliseconds since 1970 UTC; `message` is the UUID's 32 hex digits; `newsletter` and
    `recipient` are the 64-bit keys; `link` is the link's index in the mail, NO_LINK for an open;
    `mode` is how much of the hit may be kept, as `modes` counts.
    """

    kind: Kind
    at: int
    workspace: str
    newsletter: int
    message: str
    recipient: int
    link: int = NO_LINK
    url: str = ""
    variant: int = 0
    method: str = "GET"
    address: str = ""
    user_agent: str = ""
    purpose: str = ""
    fetch_mode: str = ""
    mode: int = 0


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


class Link(msgspec.Struct, frozen=True, tag_field="record", tag="link", omit_defaults=True):
    """A link's place in a newsletter; `link` counts all links of the mail from 0."""

    at: int
    workspace: str
    newsletter: int
    link: int
    url: str
    label: str = ""
    tags: tuple[str, ...] = ()


Record = Hit | Message | Newsletter | Link

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


def new_id(at_ms: int | None = None) -> bytes:
    """16 bytes of a UUIDv7 (RFC 9562, section 5.7): the time leads, so ids sort by send time."""
    at = now_ms() if at_ms is None else at_ms
    random = bytearray(os.urandom(10))
    random[0] = 0x70 | random[0] & 0x0F
    random[2] = 0x80 | random[2] & 0x3F
    return at.to_bytes(6, "big") + random


def sent_at(message: str) -> int:
    """When a message was sent, in milliseconds since 1970 UTC: its id is a UUIDv7."""
    return int(message[:12], 16)


def newsletter_key(workspace: str, newsletter_id: str) -> int:
    """The newsletter's unsigned 64-bit key. Not secret: it must outlive every signing key."""
    name = f"{workspace}\0{newsletter_id}".encode()
    return int.from_bytes(blake2b(name, digest_size=8, person=b"newsletter").digest(), "big")


def recipient_key(secret: str, workspace: str, address: str) -> int:
    """The recipient's unsigned 64-bit pseudonym: only who holds `secret` can link it to a person.

    The address is compared without case and outer space, as mail systems do in practice.
    """
    name = f"{workspace}\0{address.strip().lower()}".encode()
    digest = blake2b(name, digest_size=8, key=secret.encode()[:64], person=b"recipient").digest()
    return int.from_bytes(digest, "big")
