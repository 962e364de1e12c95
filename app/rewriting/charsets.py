"""Determines the charset of mail, and how markup in it can be read as bytes.

Labels mean what the Encoding standard says (encoding.spec.whatwg.org, section 4.2), since that is
how clients read mail; labels that it lacks mean what Python says, since mail has more of them.

Reading bytes is safe where `<`, `>`, quotes, `=`, `/`, `-` and white space are never part of
another character. That holds for Shift_JIS, Big5, GBK, GB18030 and UHC, whose second bytes start at
0x40 (GB18030 also uses digits), and for all single-byte charsets that contain ASCII.
"""

import codecs
import encodings
import pkgutil
import re
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import Literal, NamedTuple

from app.rewriting import encoding_standard, iso2022

Form = Literal["ascii", "iso2022", "utf-16", "unread"]

# What Python calls charsets that the standard knows by another name, or has merged with one.
_MERGED = {
    "big5hkscs": "big5",
    "cp932": "shift_jis",
    "cp949": "euc-kr",
    "cp950": "big5",
    "euc_jis_2004": "euc-jp",
    "euc_jisx0213": "euc-jp",
    "euc_jp": "euc-jp",
    "euc_kr": "euc-kr",
    "gb2312": "gbk",
    "shift_jis_2004": "shift_jis",
    "shift_jisx0213": "shift_jis",
    "utf-8-sig": "utf-8",
}
_ISO_2022 = re.compile(
    r"(?:cs)?iso-?2022[-_]?(?:jp|kr|cn)[-\w]*|(?:cp|windows-)5022[0-2]|x-windows-iso2022jp"
)
# No browser reads these; ASCII's bytes may be part of other characters.
_UNREAD = re.compile(
    r"(?:unicode-1-1-)?utf-?7|hz(?:-gb-2312)?|johab|(?:cp|ms)1361|utf-?32.*|replacement"
)
# Python's single-byte codecs; EBCDIC's code pages fail a second test.
_SINGLE = re.compile(r"cp\d{3,4}|iso8859-\d+|koi8-[rut]|mac-\w+|kz1048|ptcp154|hp-roman8")
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
MAX_LABEL_CHARS = 40  # of a charset; the longest that exist have half
_PYTHON = frozenset(module.name for module in pkgutil.iter_modules(encodings.__path__))


class Charset(NamedTuple):
    """`name` is the Encoding standard's, or a codec of Python's.

    `form` says how markup is found in it: in the bytes as they are, behind escape sequences
    (ISO-2022), in their decoded text, or not at all.
    """

    name: str
    form: Form = "ascii"

    def decode(self, data: bytes) -> str:
        """Returns text as a mail client reads it; in charsets that are not read, as Python does."""
        if self.name == "utf-8":  # as most are
            return data.decode("utf-8", "replace")
        if self.form == "iso2022":
            return iso2022.decode(data)
        if self.form == "unread":
            try:
                return data.decode(self.name, "replace")
            except LookupError:
                return "\ufffd"
        return encoding_standard.decode(self.name, data)

    def percent_encode(self, query: str) -> str:
        """Returns a URL's query as browsers send it from a document in this charset."""
        japanese = self.name == "iso-2022-jp"
        plain = self.form == "ascii" or japanese
        return encoding_standard.percent_encode(self.name if plain else "utf-8", query)


UTF8 = Charset("utf-8")


def find(data: bytes, declared: str | None = None, html: bool = True) -> Charset:
    """Returns the charset of the header, else of a byte order mark, else of <meta>, else by trial.

    A declaration that the bytes refute does not count: UTF-16 without a single zero byte, or
    anything else where the bytes are marked as UTF-16.
    """
    marked = None
    if data[:1] in (b"\xef", b"\xff", b"\xfe"):
        marked = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    wide = marked is not None and marked != "utf-8"
    if declared and (known := lookup(declared)):
        if known.form == "utf-16" and not wide and b"\0" in data:
            return _ordered(data, known)
        if known.form != "utf-16" and not wide:
            return known
    if marked:
        return Charset(marked, "utf-16" if wide else "ascii")
    if _SIXTEEN.match(data):
        return _ordered(data, Charset("utf-16-le", "utf-16"))
    meta = _META.search(data, 0, 2048) if html else None
    if meta and (known := lookup(meta[1].decode("ascii", "replace"))):
        # A <meta> that can be read as ASCII is not in UTF-16 (HTML standard, 13.2.3.2).
        return UTF8 if known.form == "utf-16" else known
    if data.isascii():
        return UTF8
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return Charset("windows-1252")
    return UTF8


def lookup(label: str) -> Charset | None:
    """Returns the charset of a label in mail, None for an unknown label."""
    label = label.strip(" \t\r\n\"'").lower()
    if _UNREAD.fullmatch(label):
        return Charset(label, "unread")
    name = encoding_standard.LABELS.get(label)
    if name is None and _ISO_2022.fullmatch(label):
        korean_or_chinese = "kr" in label or "cn" in label
        return Charset("iso-2022" if korean_or_chinese else "iso-2022-jp", "iso2022")
    name = name or _by_python(label)
    if name is None:
        return None
    if name == "iso-2022-jp":
        return Charset(name, "iso2022")
    return Charset(name, "utf-16" if name.startswith("utf-16") else "ascii")


def _by_python(label: str) -> str | None:
    """Returns Python's name of a charset; rot13 and the like, codecs but not charsets, are none."""
    # Only names that Python has: it searches its files for any other, and remembers each.
    name = normalize_encoding(label[:MAX_LABEL_CHARS])
    name = aliases.get(name) or aliases.get(name.replace(".", "_")) or name
    if name not in _PYTHON:
        return None
    try:
        name = codecs.lookup(name).name
        name = encoding_standard.LABELS.get(name, _MERGED.get(name, name))
        if name in encoding_standard.NAMES:
            return name
        if _SINGLE.fullmatch(name) and _ASCII.decode(name) == _ASCII.decode("ascii"):
            return name
    except (LookupError, ValueError):
        pass
    return None


def _ordered(data: bytes, known: Charset) -> Charset:
    """Returns unmarked UTF-16's byte order: the zero byte of markup's first ASCII character."""
    return Charset("utf-16-be", "utf-16") if data[:1] == b"\0" else known
