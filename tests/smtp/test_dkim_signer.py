"""The DKIM signer: dkimpy, written by others, verifies every signature of ours."""

import base64
import hashlib
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from app.smtp.dkim_signer import SIGNED, DkimError, DkimSigner, relaxed_body
from tests.support.paths import SHARED

MIME = SHARED / "mime"
MAIL = b"From: news@shop.example\r\nTo: ann@example.com\r\nSubject: Hi\r\n\r\nHello\r\n"
Key = rsa.RSAPrivateKey | Ed25519PrivateKey


@cache
def key(algorithm: str) -> Key:
    return (
        rsa.generate_private_key(65537, 2048)
        if algorithm == "rsa"
        else Ed25519PrivateKey.generate()
    )


def pem(private: Key, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return private.private_bytes(Encoding.PEM, form, NoEncryption())


@cache
def signer(algorithm: str) -> DkimSigner:
    return DkimSigner(pem(key(algorithm)), "shop.example", "sel")


def record(algorithm: str) -> bytes:
    """The key as DNS has it."""
    public = key(algorithm).public_key()
    if isinstance(public, Ed25519PublicKey):
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        raw = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k={algorithm}; p=".encode() + base64.b64encode(raw)


class VerifyKey:
    """What dkimpy uses of PyNaCl, by cryptography."""

    def __init__(self, public: bytes, encoder: object) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public))

    def verify(self, message: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, message)
        except InvalidSignature as error:
            raise dkim.ValidationError(str(error)) from None


@pytest.fixture(autouse=True)
def _nacl(monkeypatch: pytest.MonkeyPatch) -> None:
    nacl = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=VerifyKey),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(BadSignatureError=dkim.ValidationError),
    )
    monkeypatch.setattr(dkim, "nacl", nacl, raising=False)


def verified(mail: bytes, algorithm: str) -> bool:
    names: list[bytes] = []

    def txt(name: bytes, timeout: int = 5) -> bytes:
        names.append(name)
        return record(algorithm)

    valid = bool(dkim.verify(mail, dnsfunc=txt))
    assert not valid or names == [b"sel._domainkey.shop.example."]
    return valid


def sent(mail: bytes) -> bytes:
    """A mail as SMTP transports it: it ends with a line's end."""
    return mail if mail.endswith(b"\n") else mail + b"\r\n"


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_dkimpy_verifies_and_notices_every_change(algorithm: str) -> None:
    mail = signer(algorithm).field(MAIL) + MAIL
    assert verified(mail, algorithm)
    for old, new in (
        (b"Hello", b"hello"),
        (b"Subject: Hi", b"Subject: Ho"),
        (b"news@", b"spam@"),
        (b"\r\n\r\n", b"\r\nFrom: mallory@example.com\r\n\r\n"),  # oversigned
        (b"t=", b"t=1"),
    ):
        assert old in mail
        assert not verified(mail.replace(old, new, 1), algorithm), old
    # What relaxed canonicalization allows.
    assert verified(mail.replace(b"Subject: Hi", b"SUBJECT:\r\n\t Hi  "), algorithm)
    assert verified(mail.replace(b"Hello", b"Hello \t") + b"\r\n\r\n", algorithm)


@pytest.mark.skipif(not MIME.is_dir(), reason="../shared/mime is not there")
@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_dkimpy_verifies_the_corpus(algorithm: str) -> None:
    """Every mail that dkimpy can sign, we sign, and dkimpy verifies it; others we refuse, too."""
    signed = refused = 0
    for path in sorted(MIME.iterdir()):
        if path.suffix in (".md", ".json"):
            continue
        raw = path.read_bytes()
        for mail in (sent(raw), sent(re.sub(rb"\r\n|(?<!\r)\n", b"\r\n", raw))):
            theirs = signed_fields_of_dkimpy(mail)
            if theirs is None:
                with pytest.raises(DkimError):
                    signer(algorithm).field(mail)
                refused += 1
                continue
            field = signer(algorithm).field(mail)
            assert signed_fields(field) == theirs, path.name
            if not re.search(rb"(?im)^dkim-signature[ \t]*:", mail):  # dkimpy verifies the first
                assert verified(field + mail, algorithm), path.name
                signed += 1
    assert signed > 100, (signed, refused)


def signed_fields_of_dkimpy(mail: bytes) -> list[bytes] | None:
    """The names in `h=` of dkimpy's signature, None if it cannot sign."""
    pkcs1 = pem(key("rsa"), PrivateFormat.TraditionalOpenSSL)
    try:
        field = dkim.sign(
            mail, b"sel", b"shop.example", pkcs1, canonicalize=(b"relaxed", b"relaxed")
        )
    except (dkim.DKIMException, IndexError):
        return None
    return signed_fields(field)


def signed_fields(field: bytes) -> list[bytes]:
    value = re.sub(rb"\s", b"", field)
    return value.partition(b";h=")[2].partition(b";")[0].split(b":")


BLANKS = st.sampled_from([b"", b" ", b"\t", b"  \t ", b"\r\n ", b"\r\n\t", b" \r\n  "])
WORDS = st.lists(
    st.one_of(st.sampled_from([b"a", b"B;c=", b"<x@y.example>", "ü".encode()]), BLANKS)
)
NAMES = st.sampled_from([*sorted(SIGNED), b"Subject", b"X-Other", b"Received", b"FROM"])


@st.composite
def mails(draw: st.DrawFn) -> bytes:
    """Mails with folded, repeated and empty fields, and bodies of blanks and empty lines."""
    fields = draw(st.lists(st.tuples(NAMES, WORDS.map(b"".join)), max_size=12))
    fields.insert(draw(st.integers(0, len(fields))), (b"From", b" news@shop.example"))
    head = b"".join(name + b":" + value + b"x\r\n" for name, value in fields)
    pieces = st.sampled_from(
        [b"a", b"b ", b" ", b"\t", b"   ", b"\r\n", b"\r\n\r\n", b"\r", b"=20"]
    )
    body = b"".join(draw(st.lists(pieces)))
    return sent(head + b"\r\n" + body if body else head + b"\r\n")


@given(mail=mails(), algorithm=st.sampled_from(["rsa", "ed25519"]))
def test_dkimpy_verifies_what_hypothesis_makes(mail: bytes, algorithm: str) -> None:
    field = signer(algorithm).field(mail)
    assert signed_fields(field) == signed_fields_of_dkimpy(mail)
    assert verified(field + mail, algorithm)


@given(body=st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\n", b"\r"])).map(b"".join))
def test_a_relaxed_body_stays_as_it_is(body: bytes) -> None:
    relaxed = relaxed_body(body)
    assert relaxed_body(relaxed) == relaxed
    assert not re.search(rb"[ \t]\r\n|[ \t]{2}|\t|(?<!\r)\n|\A\r\n\Z|\r\n\r\n\Z", relaxed)
    assert re.sub(rb"[ \t\r\n]", b"", relaxed) == re.sub(rb"[ \t\r\n]", b"", body)


def test_the_field_is_folded() -> None:
    many = b"".join(name + b": x\r\n" for name in sorted(SIGNED)) + b"\r\nHello\r\n"
    for algorithm in ("rsa", "ed25519"):
        field = signer(algorithm).field(many)
        lines = field.split(b"\r\n")
        assert lines.pop() == b"" and len(lines) > 5
        assert all(len(line) <= 78 for line in lines)
        assert all(line.startswith(b" ") for line in lines[1:])
        assert re.search(rb"v=1; a=%b-sha256; c=relaxed/relaxed;" % algorithm.encode(), field)
        assert {*signed_fields(field)} == SIGNED and signed_fields(field).count(b"from") == 2


def test_blanks_take_no_longer_than_letters() -> None:
    """dkimpy's time grows with the square of such a run, so it cannot verify this one."""
    body = b" " * 2_000_000 + b"x" + b" \t" * 1_000_000 + b"\r\n" * 500_000
    field = signer("ed25519").field(
        b"From: a@b.example\r\nSubject:" + b" " * 500_000 + b"\r\n\r\n" + body
    )
    digest = base64.b64encode(hashlib.sha256(b" x\r\n").digest())
    assert b" bh=" + digest + b";" in field


def test_empty_bodies() -> None:
    empty = base64.b64encode(hashlib.sha256(b"").digest())  # RFC 6376, section 3.4.4
    for mail in (b"From: a@b.example", b"From: a@b.example\r\n\r\n", b"From: a@b.example\n\n \n\n"):
        assert b" bh=" + empty in signer("ed25519").field(mail)


@pytest.mark.parametrize(
    ("mail", "says"),
    [
        (b"Subject: x\r\n\r\n", "no From field"),
        (b"", "no From field"),
        (b"From: a@b.example\r\nno field\r\n\r\n", "a line of its header is no field: b'no field'"),
        (b"From: a@b.example\r\nTo : x\r\n\r\n", "is no field"),
    ],
)
def test_a_header_that_cannot_be_signed(mail: bytes, says: str) -> None:
    with pytest.raises(DkimError, match=says):
        signer("rsa").field(mail)


def bad_keys() -> Iterator[tuple[bytes, str]]:
    private = key("ed25519")
    locked = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    other = dsa.generate_private_key(2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    short = subprocess.run(["openssl", "genrsa", "768"], capture_output=True, check=True).stdout
    yield short, "an RSA key must have at least 1024 bits"
    yield b"", "not a private key in PEM format"
    yield Path(__file__).read_bytes(), "not a private key in PEM format"
    yield locked, "without a password"
    yield other, "must be an RSA or an Ed25519 key"


def test_bad_keys_are_refused() -> None:
    for given_key, says in bad_keys():
        with pytest.raises(DkimError, match=says):
            DkimSigner(given_key, "shop.example", "sel")


def test_keys_of_both_forms_and_domains_of_any_script() -> None:
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        field = DkimSigner(pem(key("rsa"), form), "bücher.example", "sel").field(MAIL)
        assert b"d=xn--bcher-kva.example;\r\n i=@xn--bcher-kva.example;" in field
