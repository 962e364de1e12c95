"""Signed tokens: who a mail went to (message) and where a link leads (link).

Both are base64url of payload and signature without padding, so a token is one word in a URL. The
signature is HMAC-SHA-256 cut to 128 bits (RFC 2104, section 5), made and compared by itsdangerous.
Nothing personal is inside; nothing expires.
"""

import hashlib
import hmac
import re
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import NamedTuple

from itsdangerous.signer import SigningAlgorithm

VERSION = 1
SIGNATURE = 16
_HEAD = struct.Struct(">BH")  # version, key id
_MESSAGE = struct.Struct(">BHBB16sQQ")  # head, flags, variant, message id, newsletter, recipient
_LINK = struct.Struct(">BHQHB")  # head, newsletter, index, codec; the URL follows
_PLAIN, _DEFLATED = 0, 1
_LOCATION = re.compile(r"https?://[!-~]+", re.IGNORECASE)
# What URLs have in common; a change of these bytes needs a new codec number.
_COMMON = (
    b".html?id=&utm_content=&utm_term=/category/product/collections/blog/news/account/index.php"
    b"&utm_campaign=&utm_medium=email&utm_source=newsletter?utm_source=.co.uk/.de/.org/.net/.com/"
    b"http://https://shop.https://www."
)


class BadTokenError(ValueError):
    """A token whose form, version or signature is wrong."""


class MessageToken(NamedTuple):
    """Whom a hit counts for. `message` is the UUID's 16 bytes, keys are unsigned 64 bit."""

    message: bytes
    newsletter: int
    recipient: int
    flags: int = 0
    variant: int = 0


class LinkToken(NamedTuple):
    """Where a link leads: good for a redirect with nothing else at hand."""

    newsletter: int
    link: int
    url: str


class Hmac128(SigningAlgorithm):
    """HMAC-SHA-256 cut to its first 128 bits."""

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        """16 bytes for `value` under `key`."""
        return hmac.digest(key, value, "sha256")[:SIGNATURE]


_algorithm = Hmac128()


class Signer:
    """Signs and verifies payloads for one purpose (salt) with a list of keys.

    The first key signs, all verify; the key id inside the payload picks the one to try.
    """

    def __init__(self, keys: Sequence[str], salt: str) -> None:
        if not keys:
            raise ValueError("keys: at least one is needed")
        self._keys: dict[int, list[bytes]] = {}
        prefix = b"mailwake " + salt.encode()
        derived = [hmac.digest(key.encode(), prefix, "sha256") for key in keys]
        for key in derived:
            self._keys.setdefault(_key_id(key), []).append(key)
        self._key = derived[0]
        self.key_id = _key_id(derived[0])

    def sign(self, payload: bytes) -> str:
        """The token of a payload that starts with version and `key_id`."""
        signature = _algorithm.get_signature(self._key, payload)
        return urlsafe_b64encode(payload + signature).rstrip(b"=").decode("ascii")

    def verify(self, token: str | bytes) -> bytes:
        """The payload of a token that one of the keys signed. Raises BadTokenError."""
        text = token.encode("ascii", "replace") if isinstance(token, str) else token
        try:
            raw = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
        except ValueError:
            raise BadTokenError("not base64url") from None
        # Decoders skip foreign characters and spare bits: only the one canonical spelling counts.
        if urlsafe_b64encode(raw).rstrip(b"=") != text or len(raw) < _HEAD.size + SIGNATURE:
            raise BadTokenError("not base64url")
        payload, signature = raw[:-SIGNATURE], raw[-SIGNATURE:]
        version, key_id = _HEAD.unpack_from(payload)
        if version != VERSION:
            raise BadTokenError("unknown version")
        for key in self._keys.get(key_id, ()):
            if _algorithm.verify_signature(key, payload, signature):
                return payload
        raise BadTokenError("bad signature")


def _key_id(key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(key).digest()[:2], "big")


class Tokens:
    """All tokens of one workspace, made and read with its signing keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._message = Signer(keys, "message")
        self._link = Signer(keys, "link")
        self._unsubscribe = Signer(keys, "unsubscribe")

    def message(self, token: MessageToken) -> str:
        """The token for pixel and click URLs of one message (71 characters)."""
        return self._message.sign(_pack(token, self._message.key_id))

    def read_message(self, token: str | bytes) -> MessageToken:
        """Raises BadTokenError."""
        return _unpack(self._message.verify(token))

    def unsubscribe(self, token: MessageToken) -> str:
        """The token for the unsubscribe URL of one message."""
        return self._unsubscribe.sign(_pack(token, self._unsubscribe.key_id))

    def read_unsubscribe(self, token: str | bytes) -> MessageToken:
        """Raises BadTokenError."""
        return _unpack(self._unsubscribe.verify(token))

    def link(self, token: LinkToken) -> str:
        """The token of a link, the same for every recipient of the newsletter.

        Raises ValueError when the link's index passes 65,535, or when the URL is not what a
        Location header may carry: http(s), visible ASCII only. A redirect needs no further check.
        """
        if not _LOCATION.fullmatch(token.url):
            raise ValueError("url: must be http(s) in visible ASCII")
        if not 0 <= token.link <= 0xFFFF:
            raise ValueError("link: a mail has room for 65,536 links")
        url = token.url.encode("ascii")
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=_COMMON)
        packed = packer.compress(url) + packer.flush()
        codec, body = (_DEFLATED, packed) if len(packed) < len(url) else (_PLAIN, url)
        head = _LINK.pack(VERSION, self._link.key_id, token.newsletter, token.link, codec)
        return self._link.sign(head + body)

    def read_link(self, token: str | bytes) -> LinkToken:
        """Raises BadTokenError."""
        payload = self._link.verify(token)
        if len(payload) < _LINK.size:
            raise BadTokenError("too short")
        _, _, newsletter, index, codec = _LINK.unpack_from(payload)
        body = payload[_LINK.size :]
        if codec == _DEFLATED:  # signed by us, so no bomb: the size was bounded when it was made
            body = zlib.decompressobj(-15, zdict=_COMMON).decompress(body)
        return LinkToken(newsletter, index, body.decode("ascii"))


def _pack(token: MessageToken, key_id: int) -> bytes:
    return _MESSAGE.pack(
        VERSION,
        key_id,
        token.flags,
        token.variant,
        token.message,
        token.newsletter,
        token.recipient,
    )


def _unpack(payload: bytes) -> MessageToken:
    if len(payload) != _MESSAGE.size:
        raise BadTokenError("wrong length")
    _, _, flags, variant, message, newsletter, recipient = _MESSAGE.unpack(payload)
    return MessageToken(message, newsletter, recipient, flags, variant)
