"""How much is kept of the opens and of the clicks of a message, each by itself.

full: each hit, with whose message it was. pseudonymous: each hit, under pseudonyms that lead to no
address. aggregate: that somebody opened or clicked, not who: all recipients share one token.
off: no pixel, links stay as they are.

A message token's flags carry both: bits 0 and 1 the opens', bits 2 and 3 the clicks'.
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
DAY_MS = 86_400_000  # milliseconds


class Modes(NamedTuple):
    """Those of a message."""

    opens: Mode = "full"
    clicks: Mode = "full"

    @property
    def flags(self) -> int:
        """As a message token carries them."""
        return MODES.index(self.opens) | MODES.index(self.clicks) << 2

    @property
    def personal(self) -> bool:
        """Whether hits may lead to an address at all; else the ledger holds none."""
        return "full" in self

    @property
    def two_tokens(self) -> bool:
        """Whether pixel and links of a mail carry different ones."""
        return (self.opens == "aggregate") != (self.clicks == "aggregate") and "off" not in self

    def without(self, axes: Iterable[Axis]) -> "Modes":
        """With some axes off."""
        off = set(axes)
        return Modes(
            "off" if "opens" in off else self.opens, "off" if "clicks" in off else self.clicks
        )


def modes(flags: int) -> Modes:
    """The inverse of `Modes.flags`; a token from before modes has 0, which is full."""
    return Modes(MODES[flags & 3], MODES[flags >> 2 & 3])


SHARED = Modes("aggregate", "aggregate").flags  # of a token that all recipients share


def summarise_modes(flags: Iterable[int]) -> dict[Axis, str]:
    """In a word what holds of many messages: their mode, or mixed."""
    found = [modes(one) for one in flags] or [Modes()]
    return {
        axis: str(found[0][n]) if len({one[n] for one in found}) == 1 else "mixed"
        for n, axis in enumerate(AXES)
    }


def aggregate_id(newsletter: int, at_ms: int) -> bytes:
    """16 bytes that stand for all messages which a newsletter sent on one day (UTC).

    A UUIDv8 (RFC 9562, section 5.8) in the layout of version 7, at the day's first millisecond:
    periods sort it as they sort messages, and its version tells that it is nobody's own.
    """
    day = at_ms // DAY_MS * DAY_MS
    return _uuid(day, 0x80, blake2b(b"%d %d" % (newsletter, day), digest_size=10).digest())


def pseudonymous_id(secret: str, message: bytes) -> bytes:
    """What stands for a message id where nothing may lead back to it. Of its time the day is kept:
    the millisecond would find the message in the ledger.
    """
    day = int.from_bytes(message[:6], "big") // DAY_MS * DAY_MS
    return _uuid(day, 0x70, _keyed(secret, b"message", message, 10))


def pseudonym(secret: str, newsletter: int, recipient: int) -> int:
    """What stands for a recipient's key: another one in each newsletter."""
    name = newsletter.to_bytes(8, "big") + recipient.to_bytes(8, "big")
    return int.from_bytes(_keyed(secret, b"pseudonym", name, 8), "big")


def all_keys_of(secret: str, newsletters: Iterable[int], recipient: int) -> frozenset[int]:
    """All that hits of a recipient may be kept under: the key, and its pseudonyms."""
    return frozenset({recipient, *(pseudonym(secret, one, recipient) for one in newsletters)})


def reduce_to_mode(hit: Hit, secret: str) -> Hit:
    """A hit with no more in it than its mode allows; the agent stays until there is a verdict.

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


def _keyed(secret: str, purpose: bytes, name: bytes, size: int) -> bytes:
    if not secret:
        raise ValueError("secret: a key is required for pseudonyms")
    return blake2b(name, digest_size=size, key=secret.encode()[:64], person=purpose).digest()


def _uuid(at_ms: int, version: int, rest: bytes) -> bytes:
    own = bytearray(rest)
    own[0] = version | own[0] & 0x0F
    own[2] = 0x80 | own[2] & 0x3F
    return at_ms.to_bytes(6, "big") + own
