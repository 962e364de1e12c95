"""Builds the hit of a request, with only those parts of the request that may be kept."""

from collections.abc import Mapping

from app.model.records import Hit, Kind, now_ms
from app.tracking.tokens import LinkToken, MessageToken

AGENT_BYTES = 512  # kept of a User-Agent header
# First to last; an assistant's Signature-Agent contains a URL.
PURPOSES = (b"sec-purpose", b"purpose", b"x-moz", b"x-purpose", b"signature-agent")
Headers = Mapping[bytes, bytes]


def hit(
    method: str,
    headers: Headers,
    address: str,
    kind: Kind,
    token: MessageToken,
    target: LinkToken,
) -> Hit:
    """Returns the hit of a request, whose headers may contain any bytes.

    `address` is the IP address, already reduced to what may be kept.
    """
    mode = token.mode(kind)
    # Most requests have none of these fields, so one call answers for all.
    purpose = b"" if headers.keys().isdisjoint(PURPOSES) else _purpose(headers)
    # By position: keywords take msgspec 1.4 us more, half of the total cost of a hit.
    # tests/tracking/test_hit_from_request.py checks that each value is in its field.
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
        purpose[:64].decode("latin-1"),
        headers.get(b"sec-fetch-mode", b"")[:32].decode("latin-1"),
        mode,
        target.link,
        target.detail,
        target.flags,
    )


def _purpose(headers: Headers) -> bytes:
    return next((headers[name] for name in PURPOSES if headers.get(name)), b"")
