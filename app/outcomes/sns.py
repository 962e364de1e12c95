"""Reads notifications of Amazon SNS, by which Amazon SES reports, and confirms subscriptions.

A notification names the certificate that has signed it. Only certificates that SNS's own hosts
serve by https are accepted, and only topics that the operator has configured: anybody can let SNS
sign notifications of a topic of their own.
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import Literal
from urllib.parse import urlsplit

import httpx2
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from app.model.errors import UNREADABLE
from app.outcomes.provider_events import NotEventsError
from app.outcomes.provider_signatures import base64_bytes, verify_rsa

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64_000
MAX_CERTIFICATES = 20  # SNS has one for each region, and replaces it about once a year
_HOST = re.compile(r"sns\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?")
# What is signed, in this order, each name and value on a line of its own.
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message",
        "MessageId",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ),
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]
Fetch = Callable[[str], Awaitable[bytes]]


class SnsError(Exception):
    """A notification is not one of a configured topic; the message says why."""


class Notification(msgspec.Struct, frozen=True, rename="pascal"):
    """What SNS posts; unknown fields are ignored."""

    type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
    message: str
    message_id: str
    timestamp: str
    topic_arn: str
    signature: str
    signature_version: str
    signing_cert_url: str = msgspec.field(name="SigningCertURL")
    subject: str | None = None
    token: str | None = None
    subscribe_url: str | None = msgspec.field(default=None, name="SubscribeURL")


_decode = msgspec.json.Decoder(Notification).decode


async def fetch(url: str) -> bytes:
    """Returns what a URL of SNS answers. Raises SnsError."""
    try:
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as client,
            client.stream("GET", url, follow_redirects=False) as answer,
        ):
            content = b""
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    raise SnsError("SNS has answered with too much")
            if answer.status_code != 200:
                raise SnsError(f"SNS has answered {answer.status_code}")
            return content
    except httpx2.HTTPError as error:
        raise SnsError(f"SNS cannot be reached: {type(error).__name__}") from None


class SnsTopics:
    """Accepts the notifications of some topics, given by their ARNs."""

    def __init__(self, fetch: Fetch = fetch) -> None:
        self._fetch = fetch
        self._keys: OrderedDict[str, RSAPublicKey] = OrderedDict()

    async def accept(self, body: bytes, topics: Collection[str]) -> tuple[str, bytes | None]:
        """Returns a notification's topic, and its message; None if there is nothing to read.

        A subscription is confirmed. Raises SnsError, and NotEventsError if it is no notification.
        """
        try:
            notification = _decode(body)
        except (*UNREADABLE, RecursionError) as error:
            raise NotEventsError(f"the body is not a notification of SNS: {error}") from None
        if notification.topic_arn not in topics:
            raise SnsError("the topic is not configured")
        await self._verify(notification)
        if notification.type == "SubscriptionConfirmation":
            url = notification.subscribe_url or ""
            _check_url(url)
            await self._fetch(url)
        if notification.type != "Notification":
            return notification.topic_arn, None
        return notification.topic_arn, notification.message.encode("utf-8", "surrogatepass")

    async def _verify(self, notification: Notification) -> None:
        public = await self._key(notification.signing_cert_url)
        signed = _string_to_sign(notification)
        version = notification.signature_version
        right = version in ("1", "2") and verify_rsa(
            public, base64_bytes(notification.signature), signed, sha256=version == "2"
        )
        if not right:
            raise SnsError("the signature is wrong")

    async def _key(self, url: str) -> RSAPublicKey:
        """Returns the public key of a certificate, which is fetched once."""
        _check_url(url)
        if not urlsplit(url).path.endswith(".pem"):
            raise SnsError("the certificate's URL is not one of SNS")
        if url not in self._keys:
            content = await self._fetch(url)
            try:
                certificate = await asyncio.to_thread(load_pem_x509_certificate, content)
            except ValueError:
                raise SnsError("the certificate cannot be read") from None
            public = certificate.public_key()
            if not isinstance(public, RSAPublicKey):
                raise SnsError("the certificate has no RSA key")
            self._keys[url] = public
            while len(self._keys) > MAX_CERTIFICATES:
                self._keys.popitem(last=False)
        return self._keys[url]


def _check_url(url: str) -> None:
    """Raises SnsError for a URL that is not https on a host of SNS."""
    try:
        parts = urlsplit(url)
        trusted = (
            parts.scheme == "https"
            and _HOST.fullmatch(parts.netloc) is not None
            and url.isascii()
            and url.isprintable()
        )
    except ValueError:
        trusted = False
    if not trusted:
        raise SnsError("a URL is not one of SNS")


def _string_to_sign(notification: Notification) -> bytes:
    values = {
        "Message": notification.message,
        "MessageId": notification.message_id,
        "Subject": notification.subject,
        "SubscribeURL": notification.subscribe_url,
        "Timestamp": notification.timestamp,
        "Token": notification.token,
        "TopicArn": notification.topic_arn,
        "Type": notification.type,
    }
    lines = [
        f"{name}\n{value}\n"
        for name in _SIGNED[notification.type]
        if (value := values[name]) is not None
    ]
    return "".join(lines).encode("utf-8", "surrogatepass")
