"""Which charset a piece of mail is in, and whether its markup can be read as ASCII bytes.

Labels mean what the Encoding standard says (encoding.spec.whatwg.org, section 4.2), since that is
how clients read mail: ISO-8859-1 is windows-1252, GB2312 is GB18030, and so on.

Reading bytes is safe where `<`, `>`, quotes, `=`, `/`, `-` and white space never stand for part of
another character. That holds for Shift_JIS, Big5, GBK, GB18030 and UHC, whose second bytes start at
0x40 (GB18030 also uses digits), and for all single-byte charsets that contain ASCII.
"""

import codecs
import re
from typing import NamedTuple

_MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "utf-8-sig": "utf-8",
    "utf-16": "utf-16-le",
    "utf-32": "utf-32-le",
}
_ALIASES = {
    "ks_c_5601-1987": "cp949",
    "x-sjis": "cp932",
    "x-gbk": "gb18030",
    "windows-874": "cp874",
    "x-x-big5": "big5hkscs",
    "iso-8859-8-i": "iso8859-8",
    "x-mac-cyrillic": "mac-cyrillic",
    "macintosh": "mac-roman",
    "unicode": "utf-16-le",
    "unicodefffe": "utf-16-be",
}
# Only these of Python's codecs are charsets of mail; EBCDIC's code pages fail a second test.
_BYTEWISE = re.compile(
    r"utf-8|cp\d+|iso8859-\d+|koi8-[rut]|mac-\w+|gb18030|big5\w*|euc_\w+|shift_\w+|kz1048|ptcp154"
)
# ASCII's bytes may be part of something else in these.
_WIDE = re.compile(r"utf-16\S*|utf-32\S*|utf-7|iso2022_\w+|hz|johab")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META = re.compile(
    rb"<meta\b[^>]{0,200}?\bcharset\s{0,9}=\s{0,9}[\"']?([\w.:-]{2,40})", re.IGNORECASE
)
_SIXTEEN = re.compile(rb"<\0[!-~]\0|\0<\0[!-~]")  # markup's first two characters
_ASCII = bytes(range(32, 127))


class Charset(NamedTuple):
    """`codec` is Python's name of it; `wide` says that bytes must be decoded before a scan."""

    codec: str
    wide: bool


def find(data: bytes, declared: str | None = None) -> Charset:
    """As declared by the mail's header, else by byte order mark, else by <meta>, else by trying.

    A declaration that the bytes refute does not count: UTF-16 without a single zero byte, or
    anything else where the bytes are marked as UTF-16.
    """
    marked = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    wide = marked is not None and marked != "utf-8"
    if declared and (known := lookup(declared)):
        sixteen = known.codec.startswith("utf-16")
        if sixteen and not wide and b"\0" in data:
            return _ordered(data, known)
        if not sixteen and not wide:
            return known
    if marked:
        return Charset(marked, wide)
    if _SIXTEEN.match(data):
        return _ordered(data, Charset("utf-16-le", True))
    meta = _META.search(data[:2048])
    if meta and (known := lookup(meta[1].decode("ascii", "replace"))):
        # Whoever could read the <meta> as ASCII is not reading UTF-16 (HTML standard, 13.2.3.2).
        return Charset("utf-8", False) if known.codec.startswith("utf-16") else known
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return Charset("cp1252", False)
    return Charset("utf-8", False)


def lookup(label: str) -> Charset | None:
    """The charset that a label means in mail, None for a label that names none we know."""
    label = label.strip(" \t\r\n\"'").lower()
    try:
        name = codecs.lookup(_ALIASES.get(label, label)).name
        name = _MEANT.get(name, name)
        if _WIDE.fullmatch(name):
            return Charset(name, True)
        if _BYTEWISE.fullmatch(name) and _ASCII.decode(name) == _ASCII.decode("ascii"):
            return Charset(name, False)
    except (LookupError, ValueError):
        pass
    return None


def _ordered(data: bytes, known: Charset) -> Charset:
    """UTF-16 without a mark: markup's first character is ASCII, so its zero byte tells."""
    return Charset("utf-16-be", True) if data[:1] == b"\0" else known
