"""What can be said of the tables without a browser; e2e/test_encodings.py compares with one."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rewriting.encoding_standard import LABELS, NAMES, characters, decode, percent_encode

OTHERS = sorted(NAMES - {"iso-2022-jp"})


def test_every_encoding_is_its_own_label() -> None:
    assert {name: LABELS[name] for name in NAMES} == {name: name for name in NAMES}
    assert all(label == label.lower().strip() and label.isascii() for label in LABELS)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("latin1", "windows-1252"),
        ("us-ascii", "windows-1252"),
        ("gb2312", "gbk"),
        ("ks_c_5601-1987", "euc-kr"),
        ("iso-8859-9", "windows-1254"),
        ("utf-16", "utf-16-le"),
    ],
)
def test_labels_of_mail(label: str, name: str) -> None:
    assert LABELS[label] == name


@pytest.mark.parametrize("name", OTHERS)
def test_ascii_is_ascii(name: str) -> None:
    text = "".join(map(chr, range(0x80)))
    data = text.encode(name) if name.startswith("utf-16") else text.encode()
    assert decode(name, data) == text


@given(st.sampled_from(OTHERS), st.binary(max_size=30))
@settings(max_examples=150)
def test_any_bytes_are_text_and_the_pieces_are_the_whole(name: str, data: bytes) -> None:
    text = decode(name, data)
    if not name.startswith("utf-16"):
        pieces = characters(name, data)
        assert b"".join(pieces) == data
        if name != "utf-8":
            assert "".join(decode(name, piece) for piece in pieces) == text


COMMON = {
    "euc-kr": ("cp949", "안녕하세요 가나다"),
    "big5": ("big5", "中文繁體"),
    "gbk": ("gbk", "中文简体"),
    "gb18030": ("gb18030", "中文简体, ö"),
    "euc-jp": ("euc_jp", "日本語の表、ア"),
    "shift_jis": ("cp932", "日本語の表、ア"),
    "windows-1252": ("cp1252", "Übergröße"),
    "koi8-r": ("koi8-r", "Привет"),
}


@pytest.mark.parametrize("name", COMMON)
def test_python_agrees_about_common_characters(name: str) -> None:
    codec, text = COMMON[name]
    data = text.encode(codec)
    assert decode(name, data) == text
    assert unquote_to_bytes(percent_encode(name, text)) == data


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("windows-1252", b"\x80\x81\xe9", "\u20ac\x81é"),  # C1 controls stay
        ("gbk", b"\x80", "\u20ac"),
        ("gb18030", b"\xa8\xbc", "\u1e3f"),
        ("big5", b"\xa1\x45", "\u2027"),
        ("big5", b"\x87\x7a", "㡵"),
        ("euc-jp", b"\xad\xa1", "\u2460"),  # NEC's row 13
        ("euc-jp", b"\x8f\xa2\xb7", "\uff5e"),
        ("euc-jp", b"\x8e\xb1", "ｱ"),
        ("shift_jis", b"\xa0\xb1", "\ufffdｱ"),
        ("koi8-u", b"\xae", "\u045e"),
        ("windows-1255", b"\xca", "\u05ba"),
        ("x-user-defined", b"\x80\xff", "\uf780\uf7ff"),
        ("utf-8", b"\xff\xc3\xa9", "\ufffdé"),
        ("shift_jis", b"\x81<", "\ufffd<"),  # a lead byte hides no markup
        ("euc-kr", b"\x81", "\ufffd"),
    ],
)
def test_where_the_standard_differs_from_python(name: str, data: bytes, text: str) -> None:
    assert decode(name, data) == text


@pytest.mark.parametrize(
    ("name", "query", "sent"),
    [
        ("utf-8", "a=é&b='\"<>#", "a=%C3%A9&b=%27%22%3C%3E%23"),
        ("utf-16-le", "é", "%C3%A9"),
        ("windows-1252", "é€ж", "%E9%80%26%231078%3B"),
        ("shift_jis", "表\xa5", "%95\\\\"),
        ("gbk", "中€\U0001f600", "%D6%D0%80%26%23128512%3B"),
        ("gb18030", "€", "%A2%E3"),
        ("big5", "中㡵", "%A4%A4%26%2314453%3B"),  # Hong Kong's are decoded only
        ("euc-jp", "日", "%C6%FC"),
        ("iso-2022-jp", "a日\xa5ｱ", "a%1B$BF|%1B(J\\%1B$B%%22%1B(B"),
        ("iso-2022-jp", "\x1bé", "%26%2365533%3B%26%23233%3B"),
    ],
)
def test_a_query_is_percent_encoded_after_encoding(name: str, query: str, sent: str) -> None:
    assert percent_encode(name, query) == sent


@given(st.sampled_from(OTHERS), st.text(max_size=12))
@settings(max_examples=100)
def test_a_query_is_plain_ascii_without_what_ends_a_url(name: str, query: str) -> None:
    sent = percent_encode(name, query)
    assert sent.isascii() and not set(sent) & set("\"'<># \r\n\t\0")
