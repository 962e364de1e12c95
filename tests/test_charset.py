import codecs

import pytest

from app import charset
from app.charset import Charset

UTF8, WESTERN = Charset("utf-8", False), Charset("cp1252", False)


@pytest.mark.parametrize(
    ("label", "codec", "wide"),
    [
        ("UTF-8", "utf-8", False),
        (" 'ISO-8859-1' ", "cp1252", False),
        ("us-ascii", "cp1252", False),
        ("gb2312", "gb18030", False),
        ("ks_c_5601-1987", "cp949", False),
        ("Shift_JIS", "cp932", False),
        ("big5", "big5hkscs", False),
        ("x-sjis", "cp932", False),
        ("iso-8859-15", "iso8859-15", False),
        ("macintosh", "mac-roman", False),
        ("ISO-2022-JP", "iso2022_jp", True),
        ("utf-7", "utf-7", True),
        ("hz-gb-2312", "hz", True),
        ("unicode", "utf-16-le", True),
        ("johab", "johab", True),
    ],
)
def test_labels_mean_what_clients_take_them_for(label: str, codec: str, wide: bool) -> None:
    assert charset.lookup(label) == Charset(codec, wide)


@pytest.mark.parametrize(
    "label",
    ["", "x-unheard-of", "cp037", "rot13", "base64", "unicode_escape", "punycode", "é", "a\0b"],
)
def test_what_is_no_charset_of_mail_is_not_known(label: str) -> None:
    assert charset.lookup(label) is None


@pytest.mark.parametrize(
    ("data", "declared", "found"),
    [
        (b"\xe9", "iso-8859-5", Charset("iso8859-5", False)),
        (b"\xe9", "x-unheard-of", WESTERN),
        (b"\xe9", None, WESTERN),
        ("é".encode(), None, UTF8),
        (codecs.BOM_UTF8 + b"<meta charset=koi8-r>", None, UTF8),
        (codecs.BOM_UTF8, "koi8-r", Charset("koi8-r", False)),
        (b"<META content='text/html; charset=koi8-r'>", None, Charset("koi8-r", False)),
        (b"<meta charset=utf-16>", None, UTF8),
        (b"<p>x", "utf-16", UTF8),
        (codecs.BOM_UTF16_LE + b"<\0", "utf-8", Charset("utf-16-le", True)),
        (codecs.BOM_UTF16_BE + b"\0<", "utf-16le", Charset("utf-16-be", True)),
        (b"\0<\0p\0>", None, Charset("utf-16-be", True)),
        (b"<\0p\0>\0", None, Charset("utf-16-le", True)),
        (b"\0<\0p\0>", "utf-16", Charset("utf-16-be", True)),
    ],
)
def test_header_then_mark_then_meta_then_trial(
    data: bytes, declared: str | None, found: Charset
) -> None:
    assert charset.find(data, declared) == found


# https://encoding.spec.whatwg.org/#indexes: what a scan of bytes looks for must be itself.
@pytest.mark.parametrize(
    "codec", ["cp932", "euc_jp", "big5hkscs", "gb18030", "cp949", "cp1252", "koi8-r"]
)
def test_markup_bytes_are_never_part_of_another_character(codec: str) -> None:
    for lead in range(0x80, 0x100):
        for byte in b"<>\"'=/-! \t\r\n\f":
            text = bytes([lead, byte, 32, 32]).decode(codec, "replace")
            assert chr(byte) in text.removesuffix(" "), (codec, lead, byte)
