import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rewriting import iso2022
from app.rewriting.iso2022 import Masked
from tests.rewriting.test_fuzzing import ISO_2022


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain <b>", "plain <b>"),
        (b"\x1b$B-!%F%9%H\x1b(B", "\u2460テスト"),  # NEC's row 13
        (b"\x1b$@%F%9%H\x1b(J", "テスト"),
        (b"\x1b(J\\~\x1b(B\\~", "\xa5\u203e\\~"),
        (b"\x1b(IC=D\x1b(B", "ﾃｽﾄ"),
        (b"\x1b$(D0!\x1b(B", "丂"),
        (b"\x1b$)C\x0e>H3g\x0fa", "안녕a"),
        (b"\x1b$)A\x0eVPND\x0f", "中文"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_raw_and_masked_bytes_read_the_same(data: bytes, text: str) -> None:
    assert iso2022.decode(data) == text
    assert iso2022.decode(iso2022.mask(data).html) == text


def test_halves_of_characters_are_no_markup() -> None:
    data = b'<p>\x1b$B<>!"\x1b(B</p>'
    masked = iso2022.mask(data)
    assert masked.html.count(b"<") == 2 and masked.html.count(b">") == 2
    assert masked.html[:3] == b"<p>" and masked.html[-4:] == b"</p>"
    assert masked.reset == b""


@pytest.mark.parametrize(
    ("data", "reset"),
    [
        (b"x", b""),
        (b"\x1b$B%F", b"\x1b(B"),
        (b"\x1b(J", b"\x1b(B"),
        (b"\x1b$B%F\x1b(B", b""),
        (b"\x1b$)C\x0e>H", b"\x0f"),
        (b"\x1b$)C\x0e>H\n", b""),  # RFC 1557: a line begins in ASCII
        (b"\x0e", b""),  # nothing is designated
    ],
)
def test_what_ends_in_another_set_says_how_to_return(data: bytes, reset: bytes) -> None:
    assert iso2022.mask(data).reset == reset
    assert iso2022.mask(data + reset).reset == b""


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"abc", b""),
        (b"\x1b$B%F\x1b(B", b"\x1b(B"),
        (b"\x1b$)C\x1b$B%F", b"\x1b$B\x1b$)C"),
        (b"\x1b$)C\x1b$)A", b"\x1b$)A"),
    ],
)
def test_the_last_designations_are_kept(data: bytes, kept: bytes) -> None:
    found = iso2022.designations(data)
    assert sorted(found.split(b"\x1b")) == sorted(kept.split(b"\x1b"))


@given(ISO_2022)
@settings(max_examples=80)
def test_masking_keeps_every_byte_but_for_its_high_bit(data: bytes) -> None:
    masked, _ = iso2022.mask(data)
    assert len(masked) == len(data)
    for before, after in zip(data, masked, strict=True):
        assert after == before or after & 0x80
        if after < 0x80:
            assert after == before


@given(st.binary(max_size=40).filter(lambda data: b"\x1b" not in data))
@settings(max_examples=40)
def test_without_an_escape_only_ascii_is_kept(data: bytes) -> None:
    expected = bytes(byte if byte < 0x80 else 0xFF for byte in data)
    assert iso2022.mask(data) == Masked(expected, b"")
