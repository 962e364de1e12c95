"""Tracking modes: how much is kept of a message's opens and of its clicks, each set separately.

full: each hit, with its recipient. pseudonymous: each hit, under pseudonyms that lead to no email
address. aggregate: that a recipient opened or clicked, but not which: all recipients share one
token. off: no pixel, and links stay unchanged.

A message token's flags hold both modes: that of opens in bits 0 and 1, of clicks in bits 2 and 3.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal, NamedTuple, get_args

from msgspec.structs import replace

from app.model.ids import sent_at
from app.model.records import Hit

Mode = Literal["full", "pseudonymous", "aggregate", "off"]
Axis = Literal["opens", "clicks"]
MODES: tuple[Mode, ...] = get_args(Mode)
AXES: tuple[Axis, ...] = get_args(Axis)
FULL, PSEUDONYMOUS, AGGREGATE, OFF = range(len(MODES))
DAY_MS = 86_400_000


class Modes(NamedTuple):
    """The tracking modes of a message."""

    opens: Mode = "full"
    clicks: Mode = "full"

    @property
    def flags(self) -> int:
        """Returns the modes as the flags of a message token."""
        return MODES.index(self.opens) | MODES.index(self.clicks) << 2

    @property
    def personal(self) -> bool:
        """Returns whether any hit may lead to an email address; else none is recorded."""
        return "full" in self

    @property
    def two_tokens(self) -> bool:
        """Returns whether pixel and links of a mail have different message tokens."""
        return (self.opens == "aggregate") != (self.clicks == "aggregate") and "off" not in self

    def without(self, axes: Iterable[Axis]) -> "Modes":
        """Returns these modes with some axes switched off."""
        off = set(axes)
        return Modes(
            "off" if "opens" in off else self.opens, "off" if "clicks" in off else self.clicks
        )


def modes(flags: int) -> Modes:
    """Returns the modes of a token's flags: the inverse of `Modes.flags`.

    Tokens from before there were modes have 0, which is full.
    """
    return Modes(MODES[flags & 3], MODES[flags >> 2 & 3])


SHARED = Modes("aggregate", "aggregate").flags  # the flags of a token that all recipients share


def summarise_modes(flags: Iterable[int]) -> dict[Axis, str]:
    """Returns the common mode of many messages for each axis, or `mixed`."""
    distinct = [modes(bits) for bits in flags] or [Modes()]
    return {
        axis: str(distinct[0][n]) if len({pair[n] for pair in distinct}) == 1 else "mixed"
        for n, axis in enumerate(AXES)
    }


def aggregate_id(newsletter: int, at_ms: int) -> bytes:
    """Returns the 16-byte id that all messages of a newsletter on one day (UTC) share.

    It is a UUIDv8 (RFC 9562, section 5.8) in the layout of version 7, at the day's first
    millisecond. It sorts by time like the ids of messages, and its version shows that it is not the
    id of one message.
    """
    day = at_ms // DAY_MS * DAY_MS
    return _uuid(day, 0x80, blake2b(b"%d %d" % (newsletter, day), digest_size=10).digest())


def pseudonymous_id(secret: str, message: bytes) -> bytes:
    """Returns the pseudonym of a message's id, from which the message cannot be found.

    Only the day of its time is kept: the millisecond would identify the recorded message.
    """
    day = int.from_bytes(message[:6], "big") // DAY_MS * DAY_MS
    return _uuid(day, 0x70, _keyed_hash(secret, b"message", message, 10))


def pseudonym(secret: str, newsletter: int, recipient: int) -> int:
    """Returns the pseudonym of a recipient's key, a different one in each newsletter."""
    name = newsletter.to_bytes(8, "big") + recipient.to_bytes(8, "big")
    return int.from_bytes(_keyed_hash(secret, b"pseudonym", name, 8), "big")


def all_keys_of(secret: str, newsletters: Iterable[int], recipient: int) -> frozenset[int]:
    """Returns all keys under which a recipient's hits may be stored: the key and pseudonyms."""
    return frozenset({recipient, *(pseudonym(secret, key, recipient) for key in newsletters)})


def reduce_to_mode(hit: Hit, secret: str) -> Hit:
    """Returns a hit with only what its mode allows; the user agent stays until it is classified.

    `secret` is the service's key of pseudonyms.
    """
    if hit.mode == AGGREGATE:
        message = aggregate_id(hit.newsletter, sent_at(hit.message)).hex()
        return replace(hit, message=message, recipient=0, address="", variant=0)
    if hit.mode == PSEUDONYMOUS:
        message = pseudonymous_id(secret, bytes.fromhex(hit.message)).hex()
        recipient = pseudonym(secret, hit.newsletter, hit.recipient)
        return replace(hit, message=message, recipient=recipient, address="")
    return hit


def _keyed_hash(secret: str, purpose: bytes, name: bytes, size: int) -> bytes:
    if not secret:
        raise ValueError("secret: a key is required for pseudonyms")
    return blake2b(name, digest_size=size, key=secret.encode()[:64], person=purpose).digest()


def _uuid(at_ms: int, version: int, rest: bytes) -> bytes:
    own = bytearray(rest)
    own[0] = version | own[0] & 0x0F
    own[2] = 0x80 | own[2] & 0x3F
    return at_ms.to_bytes(6, "big") + own
