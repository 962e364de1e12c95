"""Encodes and signs the bodies of webhooks (Standard Webhooks)."""

import base64
import hashlib
import hmac

import msgspec

from app.schemas.timestamps import Timestamp


def sent_as(event_type: str, at: Timestamp, data: msgspec.Struct) -> bytes:
    """Encode a body, which is the same at every attempt."""
    return msgspec.json.encode({"type": event_type, "timestamp": at, "data": data})


def headers(secret: str, event_id: str, at: int, sent: bytes) -> dict[str, str]:
    """Returns the headers with signature v1: HMAC-SHA-256 of id, timestamp and body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{event_id}.{at}.".encode() + sent, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        "content-type": "application/json",
        "user-agent": "Mailwake-Webhooks",
    }
