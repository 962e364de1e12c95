"""Identifiers of messages, and the keys of newsletters and recipients."""

import os
from hashlib import blake2b

from app.model.records import now_ms


def new_id(at_ms: int | None = None) -> bytes:
    """Returns the 16 bytes of a new UUIDv7 (RFC 9562, section 5.7).

    It begins with the time, so ids sort by send time.
    """
    at = now_ms() if at_ms is None else at_ms
    random = bytearray(os.urandom(10))
    random[0] = 0x70 | random[0] & 0x0F
    random[2] = 0x80 | random[2] & 0x3F
    return at.to_bytes(6, "big") + random


def sent_at(message: str) -> int:
    """Returns when a message was sent, in milliseconds since 1970 UTC: its id is a UUIDv7."""
    return int(message[:12], 16)


def newsletter_key(workspace: str, newsletter_id: str) -> int:
    """Returns a newsletter's unsigned 64-bit key.

    It depends on no secret, because it must outlast every signing key.
    """
    name = f"{workspace}\0{newsletter_id}".encode()
    return int.from_bytes(blake2b(name, digest_size=8, person=b"newsletter").digest(), "big")


def recipient_key(secret: str, workspace: str, address: str) -> int:
    """Returns a recipient's unsigned 64-bit key, which only `secret` can link to a person.

    `address` is the email address. Case and surrounding spaces do not matter, as mail systems
    compare email addresses in practice.
    """
    name = f"{workspace}\0{address.strip().lower()}".encode()
    digest = blake2b(name, digest_size=8, key=secret.encode()[:64], person=b"recipient").digest()
    return int.from_bytes(digest, "big")
