"""Signed tokens: a message token identifies message and recipient, a link token a link's target.

Both are payload and signature in base64url without padding, so a token is one word in a URL. The
signature is HMAC-SHA-256 cut to 128 bits (RFC 2104, section 5), used through itsdangerous. Tokens
contain no personal data and do not expire.
"""

import hashlib
import hmac
import re
import struct
import zlib
from base64 import urlsafe_b64encode
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hmac import compare_digest
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

from itsdangerous.signer import SigningAlgorithm

T = TypeVar("T")
VERSION = 1
LINK_VERSIONS = (2, 1)  # the first is written, all are read: links of every version keep working
SIGNATURE_BYTES = 16
MAX_REMEMBERED_LINKS = 4096  # about 16 MB with URLs of 2,000 characters
HEAD_BYTES = 3  # version (1) and key id (2)
HEAD_CHARACTERS = 4  # three bytes are four characters of base64url, whatever follows them
_MESSAGE = struct.Struct(">3sBB16sQQ")  # head, flags, variant, message id, newsletter, recipient
_LINK_1 = struct.Struct(">3sQHB")  # head, newsletter, position, codec; the URL follows
# head, newsletter, position, flags and codec (4 bits each), link, detail; the URL follows
_LINK = struct.Struct(">3sQHBQI")
_PLAIN, _DEFLATED = 0, 1
_LOCATION = re.compile(r"https?://[!-~]+", re.IGNORECASE)
# From base64url to binascii's alphabet; characters that are not base64url become invalid ones.
_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (
    b"",
    b"!",
    b"==",
    b"=",
)  # by length modulo 4; no number of bytes leaves a remainder of 1
# What autolinkers and quoting append to a URL: punctuation and spaces of any script, character
# references, soft breaks and escapes of quoted-printable (RFC 2045, section 6.7).
_DAMAGED = re.compile(
    r"([A-Za-z0-9_-]++)(?:[^\w&=%-]|=(?:0[AD]|20|3D)?"
    r"|&(?:amp;)*(?:(?:[gl]t|quot|apos|nbsp|hellip|[lr][ad]quo|[lr]squo|#x?[0-9a-f]{2,5})\b)?;?)*+",
    re.IGNORECASE,
)
# A compression dictionary of what URLs have in common. Changing it needs a new codec number.
_COMMON = (
    b".html?id=&utm_content=&utm_term=/category/product/collections/blog/news/account/index.php"
    b"&utm_campaign=&utm_medium=email&utm_source=newsletter?utm_source=.co.uk/.de/.org/.net/.com/"
    b"http://https://shop.https://www."
)


class BadTokenError(ValueError):
    """A token has a wrong form, version or signature."""


class MessageToken(NamedTuple):
    """The message and recipient of a hit. `message` is the UUID's 16 bytes.

    `newsletter` and `recipient` are unsigned 64-bit keys. `workspace` is not part of the token: it
    is the one whose key has signed it.
    """

    message: bytes
    newsletter: int
    recipient: int
    flags: int = 0
    variant: int = 0
    workspace: str = "default"

    def mode(self, kind: str) -> int:
        """Returns the tracking mode of opens or clicks, an index of MODES: two bits of `flags`."""
        return self.flags >> (2 if kind == "click" else 0) & 3


class LinkToken(NamedTuple):
    """A link and its URL: everything that a redirect needs.

    `position` counts the links of the mail from 0. `link` is the link's 64-bit key, `detail` the
    32-bit key of its label and topics, and `flags` are those of `identity`. All three are 0 in
    version 1 tokens, whose link follows from the URL.
    """

    newsletter: int
    position: int
    url: str
    link: int = 0
    detail: int = 0
    flags: int = 0


def read_damaged(read: Callable[[str], T], token: str) -> T:
    """Read a token, even if it was damaged in transit; returns what `read` returns.

    A damaged token is followed by other characters (`)`, `>`, `&quot;`, a soft break `=`, an
    ellipsis ...), or percent-encoded once more than the server has decoded. Its signature is
    verified like any other. Raises BadTokenError.
    """
    try:
        return read(token)
    except BadTokenError:
        match = _DAMAGED.fullmatch(unquote(token))
        if not match or match[1] == token:
            raise
        return read(match[1])


class Hmac128(SigningAlgorithm):
    """HMAC-SHA-256 cut to its first 128 bits.

    What depends on the key alone is hashed once: that is most of the work for so few bytes.
    """

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        """Returns the 16-byte signature of `value` by `key`, which has at most 64 bytes."""
        inner, outer = _hmac_states(key)
        within = inner.copy()
        within.update(value)
        around = outer.copy()
        around.update(within.digest())
        return around.digest()[:SIGNATURE_BYTES]

    def verify_signature(self, key: bytes, value: bytes, sig: bytes) -> bool:
        """Compare signatures in constant time, with two calls fewer than the inherited method."""
        return compare_digest(self.get_signature(key, value), sig)


@lru_cache(256)
def _hmac_states(key: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """Returns the inner and outer hash of RFC 2104, section 2, before any text is added."""
    if len(key) > 64:
        raise ValueError("key: must have at most 64 bytes")
    padded = key.ljust(64, b"\0")
    return (
        hashlib.sha256(bytes(byte ^ 0x36 for byte in padded)),
        hashlib.sha256(bytes(byte ^ 0x5C for byte in padded)),
    )


_algorithm = Hmac128()


class Signer:
    """Signs and verifies payloads for one purpose (salt) with a list of keys.

    The first key signs, all verify. The head of the payload (version and key id) selects the keys
    to try. The first of `versions` is written, all are read.
    """

    def __init__(
        self, keys: Sequence[str], salt: str, versions: Sequence[int] = (VERSION,)
    ) -> None:
        if not keys:
            raise ValueError("keys: at least one is required")
        self._keys: dict[bytes, list[bytes]] = {}
        prefix = b"mailwake " + salt.encode()
        derived = [hmac.digest(key.encode(), prefix, "sha256") for key in keys]
        for key in derived:
            for version in versions:
                self._keys.setdefault(_head(key, version), []).append(key)
        self._key = derived[0]
        self.head = _head(derived[0], versions[0])
        self.heads = frozenset(self._keys)

    def sign(self, payload: bytes) -> str:
        """Returns the token of a payload, which must begin with `head`."""
        signature = _algorithm.get_signature(self._key, payload)
        return urlsafe_b64encode(payload + signature).rstrip(b"=").decode("ascii")

    def verify(self, token: str | bytes) -> bytes:
        """Returns the payload of a token signed by one of the keys. Raises BadTokenError."""
        text = token.encode("ascii", "replace") if isinstance(token, str) else token
        text = text.translate(_STANDARD) + _PADDING[len(text) & 3]
        try:
            raw = a2b_base64(text)
        except ValueError:
            raise BadTokenError("not base64url") from None
        # Decoders ignore invalid characters and spare bits: accept the canonical spelling only.
        if b2a_base64(raw, newline=False) != text:
            raise BadTokenError("not base64url")
        payload, signature = raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
        for key in self._keys.get(payload[:HEAD_BYTES], ()):
            if _algorithm.verify_signature(key, payload, signature):
                return payload
        raise BadTokenError("unknown version or key, or a bad signature")


def _head(key: bytes, version: int) -> bytes:
    """Returns the version and the key's id."""
    return bytes((version,)) + hashlib.sha256(key).digest()[:2]


class Tokens:
    """Creates and reads all tokens of one workspace with its signing keys.

    `read_link(token)` returns a LinkToken or raises BadTokenError, like the other readers.

    `link(LinkToken)` returns a link's token, the same for every recipient of the newsletter. It
    raises ValueError if the link's position exceeds 65,535, or if a Location header may not contain
    the URL: only http(s) in visible ASCII is allowed. A redirect needs no further check.
    """

    def __init__(self, keys: Sequence[str], workspace: str = "default") -> None:
        self.workspace = workspace
        self._message = Signer(keys, "message")
        self._link = Signer(keys, "link", LINK_VERSIONS)
        self._unsubscribe = Signer(keys, "unsubscribe")
        # All recipients of a newsletter have the same few links. Forged tokens are not remembered.
        self.read_link = lru_cache(MAX_REMEMBERED_LINKS)(self._read_link)
        self.link = lru_cache(MAX_REMEMBERED_LINKS)(self._sign_link)

    def message(self, token: MessageToken) -> str:
        """Returns the token for a message's pixel and click URLs (71 characters)."""
        return self._message.sign(_pack(token, self._message.head))

    def read_message(self, token: str | bytes) -> MessageToken:
        """Read a message token. Raises BadTokenError."""
        return _unpack(self._message.verify(token), self.workspace)

    def unsubscribe(self, token: MessageToken) -> str:
        """Returns the token for a message's unsubscribe URL."""
        return self._unsubscribe.sign(_pack(token, self._unsubscribe.head))

    def read_unsubscribe(self, token: str | bytes) -> MessageToken:
        """Read an unsubscribe token. Raises BadTokenError."""
        return _unpack(self._unsubscribe.verify(token), self.workspace)

    def heads(self) -> Mapping[str, set[str]]:
        """Returns the first HEAD_CHARACTERS of this workspace's tokens, by purpose."""
        signers = {
            "message": self._message,
            "link": self._link,
            "unsubscribe": self._unsubscribe,
        }
        return {
            purpose: {urlsafe_b64encode(head).decode("ascii") for head in signer.heads}
            for purpose, signer in signers.items()
        }

    def _sign_link(self, token: LinkToken) -> str:
        if not _LOCATION.fullmatch(token.url):
            raise ValueError("url: must be http(s) in visible ASCII")
        if not 0 <= token.position <= 0xFFFF:
            raise ValueError("position: must be less than 65,536")
        if not 0 <= token.flags <= 0xF:
            raise ValueError("flags: must fit into four bits")
        url = token.url.encode("ascii")
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=_COMMON)
        packed = packer.compress(url) + packer.flush()
        codec, body = (_DEFLATED, packed) if len(packed) < len(url) else (_PLAIN, url)
        head = _LINK.pack(
            self._link.head,
            token.newsletter,
            token.position,
            token.flags << 4 | codec,
            token.link,
            token.detail,
        )
        return self._link.sign(head + body)

    def _read_link(self, token: str) -> LinkToken:
        """Read a link token. Raises BadTokenError."""
        payload = self._link.verify(token)
        layout = _LINK_1 if payload[0] == VERSION else _LINK
        if len(payload) < layout.size:
            raise BadTokenError("too short")
        _, newsletter, position, kind, *rest = layout.unpack_from(payload)
        link, detail = rest or (0, 0)
        flags, codec = divmod(kind, 16)
        body = payload[layout.size :]
        # It cannot be a decompression bomb: we have signed it, and its size was bounded then.
        if codec == _DEFLATED:
            body = zlib.decompressobj(-15, zdict=_COMMON).decompress(body)
        return LinkToken(newsletter, position, body.decode("ascii"), link, detail, flags)


class TokenReaders:
    """Reads the tokens of several workspaces; a token's head selects the keys to try."""

    def __init__(self, workspaces: Iterable[Tokens]) -> None:
        self._by_head: dict[tuple[str, str], list[Tokens]] = {}
        for tokens in workspaces:
            for purpose, heads in tokens.heads().items():
                for head in heads:
                    self._by_head.setdefault((purpose, head), []).append(tokens)

    def read_message(self, token: str) -> MessageToken:
        """Read a message token. Raises BadTokenError."""
        return self._read("message", token, lambda tokens: tokens.read_message(token))

    def read_link(self, token: str) -> LinkToken:
        """Read a link token. Raises BadTokenError."""
        return self._read("link", token, lambda tokens: tokens.read_link(token))

    def read_unsubscribe(self, token: str) -> MessageToken:
        """Read an unsubscribe token. Raises BadTokenError."""
        return self._read("unsubscribe", token, lambda tokens: tokens.read_unsubscribe(token))

    def _read(self, purpose: str, token: str, read: Callable[[Tokens], T]) -> T:
        for tokens in self._by_head.get((purpose, token[:HEAD_CHARACTERS]), ()):
            try:
                return read(tokens)
            except BadTokenError:
                continue  # keys of two workspaces may have the same id
        raise BadTokenError("unknown workspace, or a bad signature")


def _pack(token: MessageToken, head: bytes) -> bytes:
    message, newsletter, recipient, flags, variant, _ = token
    return _MESSAGE.pack(head, flags, variant, message, newsletter, recipient)


def _unpack(payload: bytes, workspace: str) -> MessageToken:
    if len(payload) != _MESSAGE.size:
        raise BadTokenError("wrong length")
    _, flags, variant, message, newsletter, recipient = _MESSAGE.unpack(payload)
    return MessageToken(message, newsletter, recipient, flags, variant, workspace)
