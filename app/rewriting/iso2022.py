"""Reads ISO-2022-JP, -KR and the like: bytes that look like markup but are halves of characters.

Escape sequences designate what follows (ISO/IEC 2022; RFC 1468, RFC 1557, RFC 1922). `mask` sets
the high bit of all bytes that are not ASCII, so that markup can be found at its original
offsets; `decode` reads a piece of either form.
"""

import re
from codecs import charmap_decode
from collections.abc import Iterator
from typing import NamedTuple

from app.rewriting import encoding_standard

# G0: ESC ( F, ESC $ F, ESC $ ( F; G1, for text between SO and SI: ESC ) F, ESC $ ) F.
_DESIGNATION = re.compile(rb"\x1b(?:\$[()]?|[()])[@-Z]")
_RAW = re.compile(rb"(" + _DESIGNATION.pattern + rb"|[\x0e\x0f])|[^\x1b\x0e\x0f\n]++|.", re.DOTALL)
_EITHER = re.compile(
    rb"([\x1b\x9b](?:[$\xa4][()\xa8\xa9]?|[()\xa8\xa9])[@-Z\xc0-\xda]|[\x0e\x0f\x8e\x8f])"
    rb"|[^\x1b\x9b\x0e\x0f\x8e\x8f]++|.",
    re.DOTALL,
)
_LOW = bytes(byte & 0x7F for byte in range(256))
_HIGH = bytes(byte | 0x80 if 0x21 <= byte <= 0x7E else byte for byte in range(256))
_ESCAPED = bytes(byte | 0x80 for byte in range(256))
_ASCII = bytes(byte if byte < 0x80 else 0xFF for byte in range(256))
_YEN, _OVERLINE = b"\xdc", b"\xfe"  # where ASCII has \ and ~
_ROMAN = _ASCII.replace(b"\\", _YEN).replace(b"~", _OVERLINE)
_SINGLE = "".join(
    chr(b) if b < 0x80 else {_YEN[0]: "\xa5", _OVERLINE[0]: "\u203e"}.get(b, "\ufffd")
    for b in range(256)
)
_ENCODINGS = {b"@": "euc-jp", b"B": "euc-jp", b"D": "euc-jp", b"A": "gb18030", b"C": "euc-kr"}


class Masked(NamedTuple):
    """Masked bytes of the same number; those below 0x80 are ASCII.

    `reset` must precede ASCII that is inserted at the end.
    """

    html: bytes
    reset: bytes


def mask(html: bytes) -> Masked:
    """Set the high bit of escape sequences, and of bytes that they designate as not ASCII."""
    if b"\x1b" not in html:
        return Masked(html.translate(_ASCII), b"")
    out: list[bytes] = []
    g0 = g1 = b""
    shifted = False
    for match in _RAW.finditer(html):
        token = match[0]
        if match[1] and (len(token) > 1 or g1):
            out.append(token.translate(_ESCAPED))
            if len(token) == 1:
                shifted = token == b"\x0e"
            elif b")" in token:
                g1 = token
            else:
                g0 = token
            continue
        shifted = shifted and token != b"\n"  # RFC 1557: a line begins and ends in ASCII
        state = g1 if shifted else g0
        other = b"$" in state or state[-1:] == b"I"
        out.append(token.translate(_HIGH if other else _ROMAN if state[-1:] == b"J" else _ASCII))
    reset = b"\x0f" if shifted else b""
    return Masked(b"".join(out), reset + (b"" if g0 in (b"", b"\x1b(B") else b"\x1b(B"))


def decode(data: bytes) -> str:
    """Returns the text of raw or masked bytes that begin outside of any two-byte character."""
    return "".join(_texts(data))


def designations(data: bytes) -> bytes:
    """Returns the last designations of G0 and G1 in raw bytes, to keep when these are removed."""
    return b"".join({b")" in token: token for token in _DESIGNATION.findall(data)}.values())


def _texts(data: bytes) -> Iterator[str]:
    g0, g1 = b"", b"\x1b$)C"
    shifted = False
    for match in _EITHER.finditer(data):
        token = match[0].translate(_LOW) if match[1] else match[0]
        if match[1] and len(token) == 1:
            shifted = token == b"\x0e"
        elif match[1] and b")" in token:
            g1 = token
        elif match[1]:
            g0 = token
        else:
            yield _text(g1 if shifted else g0, token)


def _text(state: bytes, data: bytes) -> str:
    if b"$" in state:
        pairs = data.translate(_LOW).translate(_HIGH)
        if state[-1:] == b"D":  # JIS X 0212
            pairs = re.sub(rb"[\xa1-\xfe]{2}", b"\x8f\\g<0>", pairs)
        return encoding_standard.decode(_ENCODINGS.get(state[-1:], "ascii"), pairs)
    if state[-1:] == b"I":
        return encoding_standard.decode("shift_jis", data.translate(_LOW).translate(_HIGH))
    if state[-1:] == b"J":
        data = data.replace(b"\\", _YEN).replace(b"~", _OVERLINE)
    return charmap_decode(data, "strict", _SINGLE)[0]
