"""Verifies the signatures of mail providers' requests.

A request that is sent again with its signature changes nothing: each event counts once.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from app.model.errors import UNREADABLE

TOLERANCE_SECONDS = 300  # between a Standard Webhooks signature and now
MIN_SECRET_CHARS = 8


class KeyFormatError(ValueError):
    """A provider's key is not in the form in which the provider shows it; the message says why."""


Headers = Mapping[str, str]  # by names in lower case
Verify = Callable[[bytes, Headers], bool]


def sendgrid(key: str) -> Verify:
    """ECDSA of timestamp and body, by the public key that SendGrid shows.

    https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    """
    public = _public_key(key)
    if not isinstance(public, EllipticCurvePublicKey):
        raise KeyFormatError("must be the verification key of a signed event webhook")

    def verify(body: bytes, headers: Headers) -> bool:
        signature = base64_bytes(headers.get("x-twilio-email-event-webhook-signature", ""))
        stamp = headers.get("x-twilio-email-event-webhook-timestamp", "").encode()
        try:
            public.verify(signature, stamp + body, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return bool(stamp)

    return verify


def mailgun(key: str) -> Verify:
    """HMAC-SHA-256 of timestamp and token, which are in the body, by the webhook signing key.

    https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
    """
    secret = _secret(key)

    def verify(body: bytes, _: Headers) -> bool:
        try:
            signed = msgspec.json.decode(body, type=_MailgunBody).signature
        except (*UNREADABLE, RecursionError):
            return False
        digest = hmac.new(secret, f"{signed.timestamp}{signed.token}".encode(), hashlib.sha256)
        return hmac.compare_digest(digest.hexdigest().encode(), signed.signature.encode())

    return verify


class _MailgunSignature(msgspec.Struct):
    timestamp: str
    token: str
    signature: str


class _MailgunBody(msgspec.Struct):
    signature: _MailgunSignature


def resend(key: str) -> Verify:
    """HMAC-SHA-256 of id, timestamp and body (Standard Webhooks), by a secret `whsec_...`.

    https://resend.com/docs/webhooks/verify-webhooks-requests
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    secret = base64_bytes(key.removeprefix("whsec_"))
    if not key.startswith("whsec_") or len(secret) < MIN_SECRET_CHARS:
        raise KeyFormatError("must be whsec_ followed by base64")

    def verify(body: bytes, headers: Headers) -> bool:
        event, stamp, signatures = (
            headers.get(f"svix-{name}", "") or headers.get(f"webhook-{name}", "")
            for name in ("id", "timestamp", "signature")
        )
        try:
            if abs(time.time() - int(stamp)) > TOLERANCE_SECONDS:
                return False
        except ValueError:
            return False
        signed = f"{event}.{stamp}.".encode() + body
        digest = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
        return any(
            hmac.compare_digest(b"v1," + digest, signature.encode())
            for signature in signatures.split()
        )

    return verify


def postal(key: str) -> Verify:
    """RSA of the body by the server's key, which `postal default-dkim-record` shows as p=.

    SHA-256 in X-Postal-Signature-256; servers before version 3.2 sign with SHA-1 only.
    https://docs.postalserver.io/developer/webhooks
    """
    public = _public_key(key)
    if not isinstance(public, RSAPublicKey):
        raise KeyFormatError("must be the p= of `postal default-dkim-record`")

    def verify(body: bytes, headers: Headers) -> bool:
        strong = headers.get("x-postal-signature-256", "")
        if strong:
            return verify_rsa(public, base64_bytes(strong), body, sha256=True)
        return verify_rsa(
            public, base64_bytes(headers.get("x-postal-signature", "")), body, sha256=False
        )

    return verify


# Providers that sign, with the form of their key; SES is verified by sns.py. The others send an
# API key of the scope `outcomes` by HTTP authentication.
SIGNED: Mapping[str, Callable[[str], Verify]] = {
    "sendgrid": sendgrid,
    "mailgun": mailgun,
    "resend": resend,
    "postal": postal,
}


def verify_rsa(public: RSAPublicKey, signature: bytes, signed: bytes, *, sha256: bool) -> bool:
    """Returns whether an RSA signature (PKCS #1 v1.5) is right.

    SHA-1 is what older senders use; forging a signature would need a second preimage.
    """
    hash_ = SHA256() if sha256 else SHA1()  # noqa: S303  # nosec B303
    try:
        public.verify(signature, signed, PKCS1v15(), hash_)
    except InvalidSignature:
        return False
    return True


def _public_key(key: str) -> object:
    try:
        return load_der_public_key(base64_bytes(key))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFormatError("must be a public key in base64") from error


def _secret(key: str) -> bytes:
    if len(key) < MIN_SECRET_CHARS:
        raise KeyFormatError(f"must have at least {MIN_SECRET_CHARS} characters")
    return key.encode()


def base64_bytes(text: str) -> bytes:
    """Returns the bytes of base64 text, none if it is not base64."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""
