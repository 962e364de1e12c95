import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rewriting import smtp_lines
from app.rewriting.smtp_lines import (
    LINE_LIMIT,
    LONGEST_LINE,
    Faults,
    faults,
    has_long_line,
    line_lengths,
    refusal,
)

PIECES = st.lists(st.sampled_from([b"a" * 9, b"a", b"\r\n", b"\n", b"\r", b"\0"]), max_size=30).map(
    b"".join
)


@given(PIECES)
@settings(max_examples=60)
def test_faults_are_those_that_a_slow_search_finds(data: bytes) -> None:
    assert faults(data) == Faults(
        len(re.findall(rb"\r(?!\n)", data)), len(re.findall(rb"(?<!\r)\n", data)), data.count(0)
    )
    assert bool(refusal(data)) == any(faults(data))


@given(PIECES, st.integers(1, 25))
@settings(max_examples=60)
def test_a_long_line_is_one_of_the_lines(data: bytes, limit: int) -> None:
    assert has_long_line(data, limit) == (max(line_lengths(data)) > limit)


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\n"])
def test_the_limit_is_the_last_length_that_passes(end: bytes) -> None:
    assert not has_long_line(b"a" * LINE_LIMIT + end)
    assert has_long_line(b"a" * (LINE_LIMIT + 1) + end)
    assert not has_long_line(b"x\r\n" + b"a" * LINE_LIMIT + end)
    assert has_long_line(b"x\r\n" + b"a" * (LINE_LIMIT + 1) + end)


@pytest.mark.parametrize(
    ("data", "lengths"),
    [
        (b"", [0]),
        (b"ab", [2]),
        (b"ab\r\n", [2, 0]),
        (b"ab\nc", [2, 1]),
        (b"a\rb\r\r\n", [4, 0]),
    ],
)
def test_lengths_are_without_ends(data: bytes, lengths: list[int]) -> None:
    assert line_lengths(data) == lengths


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", ""),
        (b"a\r\n\r\nb\r\n", ""),
        (b"a\r\nb\nc\0", "554 5.6.0 a bare LF at byte 4: lines end with CR LF"),
        (b"\ra\r\n", "554 5.6.0 a bare CR at byte 0: lines end with CR LF"),
        (b"\r\r\n", "554 5.6.0 a bare CR at byte 0: lines end with CR LF"),
        (b"\n\r", "554 5.6.0 a bare LF at byte 0: lines end with CR LF"),
        (b"ab\0\r\n", "554 5.6.0 NUL at byte 2: lines end with CR LF"),
        (b"a" * LONGEST_LINE + b"\r\n", ""),
        (b"a" * (LONGEST_LINE + 1) + b"\r\n", "500 5.5.2 a line is longer than 100000 bytes"),
    ],
)
def test_a_refusal_names_code_fault_and_place(data: bytes, answer: str) -> None:
    assert refusal(data) == answer


@given(st.lists(st.sampled_from([b"a" * 9, b"a", b"\r\n", b"\n", b"\r"]), max_size=30))
def test_long_lines_are_found(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert smtp_lines.has_long_line(data, 10) == (max(smtp_lines.line_lengths(data)) > 10)
    faults = smtp_lines.faults(data)
    assert bool(smtp_lines.refusal(data)) == bool(faults.cr or faults.lf)
