"""Identifiers of messages, and the keys that stand for newsletters and recipients."""

import os
from hashlib import blake2b

from app.model.records import (
    now_ms,
)


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
