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
    return Hit(
        kind=kind,
        at=now_ms(),
        workspace=token.workspace,
        newsletter=token.newsletter,
        message=token.message.hex(),
        recipient=token.recipient,
        position=target.position,
        url=target.url,
        variant=token.variant,
        method=method,
        address="" if mode else address,
        user_agent=headers.get(b"user-agent", b"")[:AGENT_BYTES].decode("latin-1"),
        purpose=(purpose or b"")[:64].decode("latin-1"),
        fetch_mode=headers.get(b"sec-fetch-mode", b"")[:32].decode("latin-1"),
        mode=mode,
        link=target.link,
        detail=target.detail,
        flags=target.flags,
    )
