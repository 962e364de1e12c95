"""The Encoding standard: its labels, decoders and encoders (encoding.spec.whatwg.org).

Mail clients read as browsers do: ISO-8859-1 is windows-1252 with C1 controls, GB2312 is GB18030,
EUC-JP has NEC's row 13. Python's codecs read one character at a time, and the tables here say where
the standard's indexes differ; tests/e2e/test_encodings.py compares every character with Chromium.
"""

import re
from codecs import charmap_decode
from collections.abc import Mapping
from functools import lru_cache

# Section 4.2, names and labels; "replacement" is missing: it is for encodings that are not decoded.
_LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf8 x-unicode20utf8",
    "ibm866": "866 cp866 csibm866",
    "iso-8859-2": "csisolatin2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso-8859-3": "csisolatin3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso-8859-4": "csisolatin4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso-8859-5": (
        "csisolatincyrillic cyrillic iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988"
    ),
    "iso-8859-6": (
        "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6-e "
        "iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987"
    ),
    "iso-8859-7": (
        "csisolatingreek ecma-118 elot_928 greek greek8 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
        "iso_8859-7:1987 sun_eu_greek"
    ),
    "iso-8859-8": (
        "csiso88598e csisolatinhebrew hebrew iso-8859-8-e iso-ir-138 iso8859-8 iso88598 "
        "iso_8859-8 iso_8859-8:1988 visual"
    ),
    "iso-8859-8-i": "csiso88598i logical",
    "iso-8859-10": "csisolatin6 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso-8859-13": "iso8859-13 iso885913",
    "iso-8859-14": "iso8859-14 iso885914",
    "iso-8859-15": "csisolatin9 iso8859-15 iso885915 iso_8859-15 l9",
    "iso-8859-16": "",
    "koi8-r": "cskoi8r koi koi8 koi8_r",
    "koi8-u": "koi8-ru",
    "macintosh": "csmacintosh mac x-mac-roman",
    "windows-874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620",
    "windows-1250": "cp1250 x-cp1250",
    "windows-1251": "cp1251 x-cp1251",
    "windows-1252": (
        "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 "
        "iso88591 iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii x-cp1252"
    ),
    "windows-1253": "cp1253 x-cp1253",
    "windows-1254": (
        "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 "
        "l5 latin5 x-cp1254"
    ),
    "windows-1255": "cp1255 x-cp1255",
    "windows-1256": "cp1256 x-cp1256",
    "windows-1257": "cp1257 x-cp1257",
    "windows-1258": "cp1258 x-cp1258",
    "x-mac-cyrillic": "x-mac-ukrainian",
    "gbk": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 iso-ir-58 x-gbk",
    "gb18030": "",
    "big5": "big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc-jp": "cseucpkdfmtjapanese x-euc-jp",
    "iso-2022-jp": "csiso2022jp",
    "shift_jis": "csshiftjis ms932 ms_kanji shift-jis sjis windows-31j x-sjis",
    "euc-kr": (
        "cseuckr csksc56011987 iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 "
        "windows-949"
    ),
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    "x-user-defined": "",
}
LABELS: Mapping[str, str] = {
    label: name for name, labels in _LABELS.items() for label in (name, *labels.split())
}
NAMES = frozenset(_LABELS)

_CODECS = {
    "ibm866": "cp866",
    "iso-8859-8-i": "iso-8859-8",
    "macintosh": "mac-roman",
    "windows-874": "cp874",
    "x-mac-cyrillic": "mac-cyrillic",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc-kr": "cp949",
}
# One character of a multi-byte encoding: the bytes that the standard takes for it, valid or not.
_CHARACTERS = {
    name: re.compile(pattern, re.DOTALL)
    for name, pattern in {
        "gbk": rb"[\x81-\xfe](?:[0-9][\x81-\xfe][0-9]|[@-~\x80-\xff])?|.",
        "gb18030": rb"[\x81-\xfe](?:[0-9][\x81-\xfe][0-9]|[@-~\x80-\xff])?|.",
        "big5": rb"[\x81-\xfe][@-~\x80-\xff]?|.",
        "euc-kr": rb"[\x81-\xfe][@-~\x80-\xff]?|.",
        "euc-jp": rb"\x8f[\xa1-\xfe][\x80-\xff]?|[\x8e\x8f\xa1-\xfe][\x80-\xff]?|.",
        "shift_jis": rb"[\x81-\x9f\xe0-\xfc][@-~\x80-\xff]?|.",
    }.items()
}
_UTF8 = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|.", re.DOTALL
)
_BIG5_TRAILS = (*range(0x40, 0x7F), *range(0xA1, 0xFF))


def _run(first: int, characters: str) -> dict[bytes, str]:
    """Returns characters that follow each other in Big5 under one lead byte."""
    lead, place = first >> 8, _BIG5_TRAILS.index(first & 0xFF)
    trails = _BIG5_TRAILS[place : place + len(characters)]
    return {bytes((lead, trail)): c for trail, c in zip(trails, characters, strict=True)}


def _zipped(pairs: str, characters: str) -> dict[bytes, str]:
    return dict(zip(map(bytes.fromhex, pairs.split()), characters, strict=True))


# Characters of the standard's indexes that Python's codec lacks or maps differently.
_GB_OTHERS = _zipped(
    "80 8135F437 A3A0 A6D9 A6DA A6DB A6DC A6DD A6DE A6DF A6EC A6ED A6F3 A8BC FE59 FE61 FE66 FE67 "
    "FE6D FE7E FE90 FEA0",
    "\N{EURO SIGN}\ue7c7\u3000\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16\ufe17\ufe18\ufe19\u1e3f"
    "\u9fb4\u9fb5\u9fb6\u9fb7\u9fb8\u9fb9\u9fba\u9fbb",
)
_BIG5_OTHERS = {
    **_run(
        0x877A,
        "㡵𡵓𣚞𦀡㻬𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇垳䤯呌䄱𣚎"
        "堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋",
    ),
    **_run(0x92AF, "兙兛兝兞"),
    **_run(0xA3C0, "".join(map(chr, range(0x2400, 0x2420))) + "\u2421\N{EURO SIGN}"),
    **_zipped(
        "A27E A2A1 A2A2 A2A3 8E69 8E6F 8E7E 8EAB 8EB4 8ECD 8ED0 8F57 8F69 8F6E 8FCB 8FCC 8FFE "
        "906D 907A 90DC 90F1 91BF 9244 92C8 92D1 9447 94CA 95D9 9644 96ED 96FC 9B76 9B78 9B7B "
        "9BC6 9BDE 9BEC 9BF6 9C42 9C53 9C62 9C68 9C6B 9C77 9CBC 9CBD 9CD0 9D57 9D5A 9DC4 9EA9 "
        "9EEF 9EFD 9F60 9F66 9FCB 9FD8 A063 A077 A0D5 A0DF A0E4 A145 A14E A1C2 A1E3 A1F2 A1F3 "
        "A1FE A240 A241 A242 A244 A246 A247 C6CF C6D3 C6D5 C6D7 C6DE C6DF FA5F FA66 FABD FAC5 "
        "FAD5 FB48 FBB8 FBF3 FBF9 FC4F FC6C FCB9 FCE2 FCF1 FDB7 FDB8 FDBB FDF1 FE52 FE6F FEAA "
        "FEDD",
        "\u256d\u256e\u2570\u256f箸簆糎緒縝者耨菁蒨萏覦覩起都銹靜響鼖蔃鍮瑹浧禛邗靝瀞嬨爁矗纇駖釔"
        "惞澶輶侻營鄄鷰菏尐秣婧輋筑拐恢痹汊鬮鼗僭弌蠏拎瑨煢牐\u2027\ufe51\xaf\uff5e\u2295\u2299"
        "\uff0f\uff3c\u2215\ufe68\uffe5\uffe0\uffe1廴无癶隶〃仝倩偽包卄卿嘅婷幵廐彘悤撐晴杞沜渝港"
        "煮猪瑜瓩砉",
    ),
}
_OTHERS: Mapping[str, Mapping[bytes, str]] = {
    "gb18030": _GB_OTHERS,
    "gbk": _GB_OTHERS,
    "big5": _BIG5_OTHERS,
    "euc-jp": {b"\x8f\xa2\xb7": "\uff5e"},
    "shift_jis": dict.fromkeys((b"\xa0", b"\xfd", b"\xfe", b"\xff"), "\ufffd"),
    "koi8-u": {b"\xae": "\u045e", b"\xbe": "\u040e"},
    "windows-1255": {b"\xca": "\u05ba"},
}
# Half-width forms U+FF61 to U+FF9F, which ISO-2022-JP encodes as these.
_FULL_WIDTH = dict(
    enumerate(
        "。「」、・ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホ"
        "マミムメモヤユヨラリルレロワン゛゜",
        0xFF61,
    )
)
# What the URL standard percent-encodes in the query of an http(s) URL (section 1.3).
_UNSAFE = re.compile(rb"[^!$%&(-;=?-~]")


def decode(name: str, data: bytes) -> str:
    """Returns text of a standard encoding other than ISO-2022-JP, or of a Python codec.

    Invalid bytes become as many U+FFFD as the standard requires.
    """
    if name.startswith("utf-"):
        return data.decode(name, "replace")
    if data.isascii():
        return data.decode("ascii")
    characters = _CHARACTERS.get(name)
    if characters is None:
        return charmap_decode(data, "strict", _table(name))[0]
    return "".join([_character(name, match) for match in characters.findall(data)])


def characters(name: str, data: bytes) -> list[bytes]:
    """Returns the pieces that `decode` reads as one character each."""
    if name != "utf-8" and name not in _CHARACTERS:
        return [bytes([byte]) for byte in data]
    return _CHARACTERS.get(name, _UTF8).findall(data)


def percent_encode(name: str, query: str) -> str:
    """Returns a URL's query as browsers send it from a document in that encoding.

    URL standard, 1.3, "percent-encode after encoding": a character that the encoding lacks becomes
    a character reference, percent-encoded.
    """
    if name.startswith("utf-"):
        data = query.encode("utf-8", "replace")
    elif name == "iso-2022-jp":
        data = _iso_2022_jp(query)
    else:
        data = b"".join([_encoded(name, c) or _reference(c) for c in query])
    return _UNSAFE.sub(_octet, data).decode("ascii")


@lru_cache(128)
def _table(name: str) -> str:
    """Returns the characters of a single-byte encoding's 256 bytes."""
    if name == "x-user-defined":
        return "".join(chr(byte if byte < 0x80 else 0xF700 + byte) for byte in range(256))
    return "".join(_character(name, bytes([byte])) for byte in range(256))


@lru_cache(16384)
def _character(name: str, data: bytes) -> str:
    """Returns the character of some bytes, U+FFFD for invalid ones."""
    if other := _OTHERS.get(name, {}).get(data):
        return other
    try:
        if name == "euc-jp" and len(data) == 2 and data[0] != 0x8E:
            return _to_shift_jis(data).decode("cp932")
        return data.decode(_CODECS.get(name, name))
    except ValueError:
        pass
    if len(data) == 1:  # no part of Windows' code pages, but of the standard's
        return chr(data[0]) if data[0] < 0xA0 and name.startswith("windows-") else "\ufffd"
    return "\ufffd" + (chr(data[1]) if len(data) == 2 and data[1] < 0x80 else "")


@lru_cache(16384)
def _encoded(name: str, character: str) -> bytes | None:
    """Returns the bytes of a character, None if the encoding lacks it."""
    if character < "\x80":
        return character.encode("ascii")
    if name not in _CHARACTERS:
        byte = _table(name).find(character)
        return None if byte < 0 or character == "\ufffd" else bytes([byte])
    if name in ("shift_jis", "euc-jp"):
        if character in "\xa5\u203e":
            return b"\\" if character == "\xa5" else b"~"
        character = "\uff0d" if character == "\u2212" else character
    data = _inverse(name).get(character) or _by_python(name, character)
    return data if data and (name[:2] == "gb" or _character(name, data) == character) else None


def _by_python(name: str, character: str) -> bytes | None:
    """Returns the bytes of Python's codec, None for those the standard's encoder never returns."""
    try:
        if name == "euc-jp":
            return _from_shift_jis(character.encode("cp932"))
        data = character.encode(_CODECS.get(name, name))
    except UnicodeEncodeError:
        return None
    never = {
        "gbk": len(data) == 4 or data in (b"\xa3\xa0", b"\xa8\xbc"),
        "gb18030": data in (b"\xa3\xa0", b"\xa8\xbc"),
        "big5": data[0] < 0xA1,  # Hong Kong's are decoded only
        "shift_jis": 0xF0 <= data[0] <= 0xF9,  # so are those of private use
    }
    return None if never.get(name) else data


@lru_cache(8)
def _inverse(name: str) -> Mapping[str, bytes]:
    """Returns the characters that Python's codec lacks or encodes as other bytes."""
    inverse: dict[str, bytes] = {}
    if name == "shift_jis":  # IBM's rows, not NEC's copy of them in rows 89 to 92
        for lead in (0xFA, 0xFB, 0xFC):
            for trail in range(0x40, 0xFD):
                character = _character(name, bytes((lead, trail)))
                if (_by_python(name, character) or b"\0")[0] in (0xED, 0xEE):
                    inverse[character] = bytes((lead, trail))
    for data, character in _OTHERS.get(name, {}).items():
        known = _by_python(name, character)
        differs = known is None or data < known or _character(name, known) != character
        if {
            "gbk": len(data) < 4 and data != b"\xa3\xa0",
            "gb18030": len(data) > 1 and data != b"\xa3\xa0",
            "big5": data[0] >= 0xA1 and differs,
        }.get(name):
            inverse[character] = data
    return inverse


def _to_shift_jis(data: bytes) -> bytes:
    """Convert two bytes of EUC-JP, each from 0xA1. Raises ValueError for others."""
    row, cell = data[0] - 0xA1, data[1] - 0xA1
    lead, trail = row // 2, row % 2 * 94 + cell
    if row < 0 or not 0 <= cell < 94:
        raise ValueError
    return bytes((lead + (0x81 if lead < 31 else 0xC1), trail + (0x40 if trail < 63 else 0x41)))


def _from_shift_jis(data: bytes) -> bytes | None:
    if len(data) == 1:
        return b"\x8e" + data
    lead = data[0] - (0x81 if data[0] < 0xA0 else 0xC1)
    trail = data[1] - (0x40 if data[1] < 0x7F else 0x41)
    row = lead * 2 + trail // 94
    return bytes((0xA1 + row, 0xA1 + trail % 94)) if row < 94 else None


def _iso_2022_jp(text: str) -> bytes:
    """Encode by section 12.2.2: escapes change between ASCII (B), Roman (J) and JIS X 0208 ($B)."""
    out: list[bytes] = []
    state = b"(B"

    def enter(charset: bytes) -> None:
        nonlocal state
        if state != charset:
            out.append(b"\x1b" + charset)
            state = charset

    for character in text.translate(_FULL_WIDTH):
        data = _encoded("euc-jp", character)
        if character in "\xa5\u203e":
            enter(b"(J")
        elif data and len(data) == 2:
            enter(b"$B")
            data = bytes(byte & 0x7F for byte in data)
        elif state != b"(J" or not data or character in "\\~":
            enter(b"(B")
        out.append(data if data and character not in "\x0e\x0f\x1b" else _reference(character))
    enter(b"(B")
    return b"".join(out)


def _reference(character: str) -> bytes:
    code = 0xFFFD if character in "\x0e\x0f\x1b" else ord(character)
    return b"%%26%%23%d%%3B" % code


def _octet(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])
