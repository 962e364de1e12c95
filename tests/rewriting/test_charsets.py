import codecs
import encodings

import pytest

from app.rewriting import charsets
from app.rewriting.charsets import Charset, Form

UTF8, WESTERN = Charset("utf-8"), Charset("windows-1252")


@pytest.mark.parametrize(
    ("label", "name", "form"),
    [
        ("UTF-8", "utf-8", "ascii"),
        (" 'ISO-8859-1' ", "windows-1252", "ascii"),
        ("us-ascii", "windows-1252", "ascii"),
        ("gb2312", "gbk", "ascii"),
        ("gb_2312-80", "gbk", "ascii"),
        ("ks_c_5601-1987", "euc-kr", "ascii"),
        ("ks_c_5601-1989", "euc-kr", "ascii"),
        ("cp949", "euc-kr", "ascii"),
        ("Shift_JIS", "shift_jis", "ascii"),
        ("windows-31j", "shift_jis", "ascii"),
        ("cp932", "shift_jis", "ascii"),
        ("big5", "big5", "ascii"),
        ("cn-big5", "big5", "ascii"),
        ("cp950", "big5", "ascii"),
        ("koi", "koi8-r", "ascii"),
        ("iso-8859-15", "iso-8859-15", "ascii"),
        ("macintosh", "macintosh", "ascii"),
        ("IBM850", "cp850", "ascii"),
        ("ISO-2022-JP", "iso-2022-jp", "iso2022"),
        ("iso-2022-jp-2004", "iso-2022-jp", "iso2022"),
        ("cp50221", "iso-2022-jp", "iso2022"),
        ("iso-2022-kr", "iso-2022", "iso2022"),
        ("utf-7", "utf-7", "unread"),
        ("hz-gb-2312", "hz-gb-2312", "unread"),
        ("johab", "johab", "unread"),
        ("UTF-32LE", "utf-32le", "unread"),
        ("unicode", "utf-16-le", "utf-16"),
        ("utf-16", "utf-16-le", "utf-16"),
        ("utf-16be", "utf-16-be", "utf-16"),
    ],
)
def test_labels_mean_what_clients_take_them_for(label: str, name: str, form: Form) -> None:
    assert charsets.lookup(label) == Charset(name, form)


@pytest.mark.parametrize(
    "label",
    ["", "x-unheard-of", "cp037", "rot13", "base64", "unicode_escape", "punycode", "é", "a\0b"],
)
def test_what_is_no_charset_of_mail_is_not_known(label: str) -> None:
    assert charsets.lookup(label) is None


@pytest.mark.parametrize(
    ("data", "declared", "found"),
    [
        (b"\xe9", "iso-8859-5", Charset("iso-8859-5")),
        (b"\xe9", "x-unheard-of", WESTERN),
        (b"\xe9", None, WESTERN),
        ("é".encode(), None, UTF8),
        (codecs.BOM_UTF8 + b"<meta charset=koi8-r>", None, UTF8),
        (codecs.BOM_UTF8, "koi8-r", Charset("koi8-r")),
        (b"<META content='text/html; charset=koi8-r'>", None, Charset("koi8-r")),
        (b"<meta charset=utf-16>", None, UTF8),
        (b"<p>x", "utf-16", UTF8),
        (codecs.BOM_UTF16_LE + b"<\0", "utf-8", Charset("utf-16-le", "utf-16")),
        (codecs.BOM_UTF16_BE + b"\0<", "utf-16le", Charset("utf-16-be", "utf-16")),
        (b"\0<\0p\0>", None, Charset("utf-16-be", "utf-16")),
        (b"<\0p\0>\0", None, Charset("utf-16-le", "utf-16")),
        (b"\0<\0p\0>", "utf-16", Charset("utf-16-be", "utf-16")),
    ],
)
def test_header_then_mark_then_meta_then_trial(
    data: bytes, declared: str | None, found: Charset
) -> None:
    assert charsets.find(data, declared) == found


# https://encoding.spec.whatwg.org/#indexes: what a scan of bytes looks for must be itself.
@pytest.mark.parametrize(
    "name", ["shift_jis", "euc-jp", "big5", "gb18030", "euc-kr", "windows-1252", "koi8-r"]
)
def test_markup_bytes_are_never_part_of_another_character(name: str) -> None:
    for lead in range(0x80, 0x100):
        for byte in b"<>\"'=/-! \t\r\n\f":
            text = Charset(name).decode(bytes([lead, byte, 32, 32]))
            assert chr(byte) in text.removesuffix(" "), (name, lead, byte)


def test_python_does_not_look_for_charsets_that_it_does_not_have() -> None:
    """It would read its folders for each, and remember each for good."""
    before = len(encodings._cache)
    for number in range(100):
        assert charsets.lookup(f"x-unheard-of-{number}") is None
        assert charsets.lookup("koi8" + "-" * number + "r") in (Charset("koi8-r"), None)
    assert len(encodings._cache) <= before + 1
