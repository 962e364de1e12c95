"""The hit that a request makes, with no more of the request than may be kept."""

from collections.abc import Mapping

from app.model.records import Hit, Kind, now_ms
from app.tracking.tokens import (
    LinkToken,
    MessageToken,
)

AGENT_BYTES = 512  # of a user agent that are kept
Headers = Mapping[bytes, bytes]


def hit(
    method: str,
    headers: Headers,
    address: str,
    kind: Kind,
    token: MessageToken,
    target: LinkToken,
) -> Hit:
    """Returns the hit that a request is; its headers may hold any bytes."""
    mode = token.mode(kind)
    purpose = headers.get(b"sec-purpose") or headers.get(b"purpose") or headers.get(b"x-purpose")
    # By position: keywords take msgspec 1.4 us more, half of what a hit costs in all.
    # tests/tracking/test_hits.py holds each value to its field.
    return Hit(
        kind,
        now_ms(),
        token.workspace,
        token.newsletter,
        token.message.hex(),
        token.recipient,
        target.position,
        target.url,
        token.variant,
        method,
        "" if mode else address,
        headers.get(b"user-agent", b"")[:AGENT_BYTES].decode("latin-1"),
        (purpose or b"")[:64].decode("latin-1"),
        headers.get(b"sec-fetch-mode", b"")[:32].decode("latin-1"),
        mode,
        target.link,
        target.detail,
        target.flags,
    )
