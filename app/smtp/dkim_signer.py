"""Signs mails with DKIM (RFC 6376): rsa-sha256, or ed25519-sha256 (RFC 8463), relaxed/relaxed."""

import hashlib
import re
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.rewriting import header_fields

# The fields that RFC 6376, section 5.4.1, recommends to sign, and those that describe the content.
SIGNED = frozenset(
    b"from sender reply-to subject date message-id to cc mime-version content-type"
    b" content-transfer-encoding content-id content-description resent-date resent-from"
    b" resent-sender resent-to resent-cc resent-message-id in-reply-to references list-id list-help"
    b" list-unsubscribe list-subscribe list-post list-owner list-archive".split()
)
OVERSIGNED = b"from"  # signed once more than it occurs, so that none can be added (section 8.15)
MIN_RSA_BITS = 1024  # verifiers ignore signatures by smaller keys (RFC 8301, section 3.2)
LINE = 72  # bytes of a folded line
_FOLDING = re.compile(rb"\r?\n(?=[ \t])")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_NAME = re.compile(rb"[!-9;-~]+")


class DkimError(ValueError):
    """A key or a mail that cannot be used; the message says why."""


class DkimSigner:
    """Signs mails with one key, of a domain and a selector. Raises DkimError for a bad key."""

    def __init__(self, pem: bytes, domain: str, selector: str) -> None:
        self._key = _key_of(pem)
        algorithm = b"rsa" if isinstance(self._key, RSAPrivateKey) else b"ed25519"
        ascii_domain = domain.encode("idna")
        self._begin = (
            b"v=1; a=%b-sha256; c=relaxed/relaxed; d=%b;\r\n i=@%b; q=dns/txt; s=%b; t="
            % (algorithm, ascii_domain, ascii_domain, selector.encode("ascii"))
        )

    def field(self, mail: bytes) -> bytes:
        """Returns the DKIM-Signature field to put before a mail.

        Takes time linear in the length of the mail. Raises DkimError for a header that cannot be
        signed.
        """
        end, begin = header_fields.blank(mail) or (len(mail), len(mail))
        signed: defaultdict[bytes, list[bytes]] = defaultdict(list)
        names: list[bytes] = []
        for name, value in _fields(mail[:end]):
            if name in SIGNED:
                names.append(name)
                signed[name].append(value)
        if OVERSIGNED not in signed:
            raise DkimError("it has no From field")  # which must be signed (section 5.4)
        names += [OVERSIGNED] * len(signed[OVERSIGNED])
        body_hash = b64encode(hashlib.sha256(relaxed_body(mail[begin:])).digest())
        unsigned = b"%b%d;\r\n h=%b;\r\n bh=%b;\r\n b=" % (
            self._begin,
            time.time(),
            _folded(names),
            body_hash,
        )
        # Of fields with the same name, the last one is signed first (section 5.4.2). A name without
        # a field adds nothing.
        lines = [b"%b:%b\r\n" % (name, signed[name].pop()) for name in names if signed[name]]
        lines.append(b"dkim-signature:" + unsigned.replace(b"\r\n", b""))
        signature = b64encode(self._signature(b"".join(lines)))
        pieces = [signature[start : start + LINE] for start in range(0, len(signature), LINE)]
        return b"DKIM-Signature: %b%b\r\n" % (unsigned, b"\r\n ".join(pieces))

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(data, PKCS1v15(), SHA256())
        return self._key.sign(hashlib.sha256(data).digest())  # RFC 8463, section 3


def _key_of(pem: bytes) -> RSAPrivateKey | Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DkimError(f"not a private key in PEM format without a password ({error})") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise DkimError(f"an RSA key must have at least {MIN_RSA_BITS} bits")
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise DkimError("the key must be an RSA or an Ed25519 key")


def _fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields name and value of each header field, relaxed (section 3.4.2). Raises DkimError."""
    for line in _FOLDING.sub(b"", head).replace(b"\r\n", b"\n").split(b"\n"):
        name, _, value = line.partition(b":")
        if len(name) < len(line) and _NAME.fullmatch(name):
            yield name.lower(), _single_spaced(value).strip(b" ")
        elif line and not line.startswith(b"From "):  # as an mbox file begins a mail
            raise DkimError(f"a line of its header is no field: {line[:80]!r}")


def relaxed_body(body: bytes) -> bytes:
    """Returns a body in relaxed form (section 3.4.4)."""
    if body.count(b"\n") != body.count(b"\r\n"):
        body = _BARE_LF.sub(b"\r\n", body)
    text = _single_spaced(body if body.endswith(b"\r\n") else body + b"\r\n")
    text = text.replace(b" \r\n", b"\r\n")
    kept = text.rstrip(b"\r\n")
    if (bare := text.rfind(b"\r\r", len(kept))) >= 0:  # a CR that ends no line is text
        kept = text[: bare + 1]
    return kept + b"\r\n" if kept else b""


def _single_spaced(text: bytes) -> bytes:
    """Returns the text with one space for each run of spaces and tabs."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:  # halves the longest run each time
        text = text.replace(b"  ", b" ")
    return text


def _folded(names: Iterable[bytes]) -> bytes:
    """Returns the value of `h=`, in lines of LINE bytes."""
    lines = [b""]
    for name in names:
        if len(lines[-1]) + len(name) > LINE:
            lines.append(b"")
        lines[-1] += name + b":"
    return b"\r\n ".join(lines)[:-1]
