"""Which charset a piece of mail is in, and whether its markup can be read as ASCII bytes.

Labels mean what the Encoding standard says (encoding.spec.whatwg.org, section 4.2), since that is
how clients read mail: ISO-8859-1 is windows-1252, GB2312 is GB18030, and so on.
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
    "utf-16": "utf-16-le",
}
_ALIASES = {"ks_c_5601-1987": "cp949", "x-sjis": "cp932", "x-gbk": "gb18030", "utf8": "utf-8",
            "windows-874": "cp874", "x-x-big5": "big5hkscs", "unicode": "utf-16-le"}  # fmt: skip
# ASCII's bytes may be part of something else in these.
_WIDE = ("utf-16", "utf-32", "utf-7", "iso2022", "hz", "johab")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META = re.compile(
    rb"<meta\b[^>]{0,200}?\bcharset\s{0,9}=\s{0,9}[\"']?([\w.:-]{2,40})", re.IGNORECASE
)


class Charset(NamedTuple):
    """`codec` is Python's name of it; `wide` says that bytes must be decoded before a scan."""

    codec: str
    wide: bool


def find(data: bytes, declared: str | None = None) -> Charset:
    """By byte order mark, else as declared by the mail's header, else by <meta>, else by trying."""
    for bom, codec in _BOMS:
        if data.startswith(bom):
            return Charset(codec, codec != "utf-8")
    if declared and (known := _lookup(declared)):
        return known
    if data[:2] in (b"<\0", b"\0<"):
        return Charset("utf-16-le" if data[:1] == b"<" else "utf-16-be", True)
    meta = _META.search(data[:2048])
    if meta and (known := _lookup(meta[1].decode("ascii"))):
        # Whoever could read the <meta> as ASCII is not reading UTF-16.
        return Charset("utf-8", False) if known.codec.startswith("utf-16") else known
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return Charset("cp1252", False)
    return Charset("utf-8", False)


def _lookup(label: str) -> Charset | None:
    label = label.strip(" \t\"'").lower()
    try:
        name = codecs.lookup(_ALIASES.get(label, label)).name
        letters = bytes(range(32, 127))
        name = _MEANT.get(name, name)
        readable = letters.decode(name) == letters.decode("ascii")
    except (LookupError, ValueError, TypeError):
        return None
    if name.startswith(_WIDE):
        return Charset(name, True)
    return Charset(name, False) if readable else None
