"""The check finds what a faulty encoder could do, and passes what a right one does."""

import base64
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rewriting import transfer_encodings
from app.rewriting.proof import Change, flaw
from app.rewriting.transfer_encodings import Edit, Patch, applied

HEAD, TAIL = b"Subject: x\r\n\r\n", b"--b--\r\n"
BODY = b"one line\r\nanother\r\n"
EDIT = Edit(4, 8, b"LINE")


def change(
    body: bytes, edits: Sequence[Edit], encoding: str = "", marks: Sequence[bytes] = (b"b",)
) -> tuple[bytes, Change]:
    """A message with that body, and what a right encoder does to it."""
    read = transfer_encodings.body(encoding, body, b"\r\n")
    start = len(HEAD)
    patches = [
        patch._replace(start=patch.start + start, end=patch.end + start)
        for patch in read.patches(edits)
    ]
    made = Change(
        start,
        start + len(body),
        read.decoded,
        edits,
        patches,
        encoding,
        encoding,
        b"\r\n",
        tuple(marks),
    )
    return HEAD + body + TAIL, made


def result(message: bytes, made: Change) -> bytes:
    return applied(message, made.raw_edits())


ENCODED = {
    "": BODY,
    "8bit": BODY,
    "quoted-printable": BODY,
    "base64": base64.encodebytes(BODY).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_what_a_right_encoder_does_passes(encoding: str) -> None:
    message, made = change(ENCODED[encoding], [EDIT], encoding)
    assert result(message, made) != message
    assert flaw(message, result(message, made), [made]) == ""
    assert flaw(message, message, []) == ""


@pytest.mark.parametrize("encoding", ENCODED)
@given(place=st.integers(0, 60), byte=st.integers(0, 255))
@settings(max_examples=25)
def test_another_byte_anywhere_fails(encoding: str, place: int, byte: int) -> None:
    message, made = change(ENCODED[encoding], [EDIT], encoding)
    right = result(message, made)
    place %= len(right)
    wrong = right[:place] + bytes([byte]) + right[place + 1 :]
    assert bool(flaw(message, wrong, [made])) == (wrong != right)


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_patch_of_another_content_fails(encoding: str) -> None:
    message, made = change(ENCODED[encoding], [EDIT], encoding)
    _, other = change(ENCODED[encoding], [EDIT._replace(new=b"LIME")], encoding)
    wrong = made._replace(
        patches=[
            mine._replace(new=theirs.new)
            for mine, theirs in zip(made.patches, other.patches, strict=True)
        ]
    )
    assert "has different content at byte" in flaw(message, result(message, wrong), [wrong])


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (b"\n", "has a new bare LF"),
        (b"\r", "has a new bare CR"),
        (b"\0", "has a NUL"),
        (b"\xe9", "has a byte that is not ASCII"),
        (b"x" * 1000, "has a line of more than 998 bytes"),
        (b"\r\n--b\r\n", "has a boundary"),
    ],
)
def test_what_the_wire_must_not_carry_is_named_with_its_byte(new: bytes, says: str) -> None:
    message, made = change(BODY, [EDIT._replace(new=new)])
    found = flaw(message, result(message, made), [made])
    assert found.startswith(says) and " at byte " in found


def test_what_was_there_before_may_stay() -> None:
    for body in (b"one line\nanother\n", b"one line\0\r\n", b"one line\xe9\r\n"):
        message, made = change(body, [EDIT])
        assert flaw(message, result(message, made), [made]) == ""


def test_a_mark_is_a_boundary_at_the_beginning_of_a_line_only() -> None:
    message, made = change(BODY, [EDIT._replace(new=b"--b")])
    assert flaw(message, result(message, made), [made]) == ""


def test_an_edit_that_no_patch_carries_out_is_missed() -> None:
    message, made = change(BODY, [EDIT])
    wrong = made._replace(edits=[EDIT, Edit(12, 13, b"x")])
    assert flaw(message, result(message, wrong), [wrong]).startswith("lacks an edit at byte")


def test_patches_that_overlap_do_not_lead_back() -> None:
    message, made = change(BODY, [EDIT])
    patch: Patch = made.patches[0]
    wrong = made._replace(patches=[patch, patch])
    assert flaw(message, result(message, wrong), [wrong]) == "does not lead back to the original"
