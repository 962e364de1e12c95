"""Transfer encodings: what was encoded stays encoded, whatever bodies are made of."""

import base64
import binascii
import quopri
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.rewriting import mime, smtp_lines, transfer_encodings
from app.rewriting.mime import Edit
from app.rewriting.transfer_encodings import TransferError

MARK = b"https://t.example/c/MESSAGE_TOKEN_0123456789_abcdefghijklmnopqrstuvwxyz-MESSAGE_TOKEN/LINK"
HEAD = b"Subject: x%sContent-Type: text/html; charset=utf-8%sContent-Transfer-Encoding: %s%s%s"
CRLF, LF = b"\r\n", b"\n"
CONTROLS = [bytes([code]) for code in (*range(32), 127, 0, 13, 10)]


def message(encoding: bytes, raw: bytes, ending: bytes = CRLF) -> bytes:
    return HEAD % (ending, ending, encoding, ending, ending) + raw


def raw_of(message: bytes) -> bytes:
    """The body of a message of one leaf."""
    return re.split(rb"(?<=\n)\r?\n", message, maxsplit=1)[1]


def edited(original: bytes, *edits: Edit) -> bytes:
    """The message with edits that pass the check."""
    rewritten = mime.rewrite(original, lambda *_: edits)
    assert rewritten.notes == []
    assert transfer_encodings.applied(original, rewritten.edits) == rewritten.message
    return rewritten.message


@st.composite
def quoted(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, list[Edit]]:
    """Content, the same in quoted-printable as some mailer might write it, its line ends, edits."""
    ending = draw(st.sampled_from([CRLF, LF]))
    pieces = st.sampled_from(
        [
            *CONTROLS,
            b" ",
            b"\t",
            b"=",
            b"=3D",
            b".",
            b"a",
            b"xyz" * 20,
            b"\xc3\xbc",
            b"\xff",
            b"END",
        ]
    )
    content, raw, places = b"", b"", [0]
    for piece in draw(st.lists(pieces, max_size=40)):
        if piece == b"END":
            if raw.endswith((b" ", b"\t")):  # lost on the way
                raw += b"=" + ending
            content, raw = content + ending, raw + ending
        else:
            for octet in piece:
                plain = 32 < octet < 127 and octet != 61
                if draw(st.booleans()) or not (plain or octet == 32):
                    form = draw(st.sampled_from([b"=%02X", b"=%02x"]))
                    raw += form % octet
                else:
                    raw += bytes([octet])
                content += bytes([octet])
            raw += b"=" + ending if draw(st.integers(0, 9)) == 0 else b""
        places.append(len(content))
    if raw.endswith((b" ", b"\t")):
        raw += b"=" + ending
    chosen = sorted(draw(st.lists(st.sampled_from(places), max_size=8)))
    new = st.sampled_from([b"", MARK, b"\r\n.\r\n", b"\0\r\n ", b" "])
    edits = [Edit(a, b, draw(new)) for a, b in zip(chosen[::2], chosen[1::2], strict=False)]
    return content, raw, ending, edits


@given(quoted())
def test_what_is_encoded_stays_encoded(case: tuple[bytes, bytes, bytes, list[Edit]]) -> None:
    content, raw, ending, edits = case
    assert quopri.decodestring(raw) == content
    new = raw_of(edited(message(b"quoted-printable", raw, ending), *edits))
    assert quopri.decodestring(new) == transfer_encodings.applied(content, edits)
    # Of all control bytes only tabs, and the ends of lines in their own style, are raw.
    assert not re.search(rb"[^\t\r\n -~]", new)
    assert new.count(LF) == new.count(ending) and new.count(b"\r") == new.count(CRLF)
    touched = [line for line in new.splitlines() if line not in raw.splitlines()]
    assert all(len(line) <= 76 for line in touched)
    assert not any(line.endswith((b" ", b"\t")) for line in touched)


@given(st.binary(max_size=300), st.sampled_from([CRLF, LF]), st.data())
def test_any_bytes_are_quoted_printable_to_somebody(
    raw: bytes, ending: bytes, data: st.DataObject
) -> None:
    raw = data.draw(st.sampled_from([raw, raw.replace(b"\x00", b"=").replace(b"\x01", b"\r\n")]))
    body = transfer_encodings.body("quoted-printable", raw, ending)
    assume(b"BEGIN PGP" not in body.decoded)
    places = sorted(data.draw(st.lists(st.integers(0, len(body.decoded)), max_size=6)))
    edits = [Edit(a, b, MARK) for a, b in zip(places[::2], places[1::2], strict=False)]
    rewritten = mime.rewrite(message(b"quoted-printable", raw), lambda *_: edits)
    new = raw_of(rewritten.message) if rewritten.edits else raw
    now, before = smtp_lines.faults(new), smtp_lines.faults(raw)
    assert now.cr <= before.cr and (now.nul == 0 or before.nul)
    if rewritten.unchanged:  # only where an edit cuts the end of a line in two
        ends = {m.start() + 1 for m in re.finditer(rb"\r\n", body.decoded)}
        assert ends & {place for edit in edits for place in edit[:2]}
    else:
        again = transfer_encodings.body("quoted-printable", new, ending)
        assert again.decoded == transfer_encodings.applied(body.decoded, edits)


@pytest.mark.parametrize("octet", [*range(32), 127])
def test_each_control_byte_of_a_touched_line_stays_encoded(octet: int) -> None:
    raw = b'a=%02X.=0D=0A<a href=3D"https://x.example/">=%02x</a>\r\n' % (octet, octet)
    at = raw.replace(b"=3D", b"=").replace(b"=0D=0A", b"\r\n").index(b"https") - 2
    new = raw_of(edited(message(b"quoted-printable", raw), Edit(at, at + 18, MARK)))
    assert new.replace(b"=\r\n", b"") == raw.replace(b"https://x.example/", MARK)


def test_lines_that_no_edit_touches_stay_byte_for_byte() -> None:
    raw = (
        b"=c3=BC one \t \r\n" + b"y" * 200 + b"\r\nlink here=20\r\n= odd =zz\xff\r\n" + b"=\r\n" * 3
    )
    at = transfer_encodings.body("quoted-printable", raw, CRLF).decoded.index(b"link")
    new = raw_of(edited(message(b"quoted-printable", raw), Edit(at, at + 4, b"b=c")))
    assert new == raw.replace(b"link", b"b=3Dc")


@pytest.mark.parametrize(
    ("raw", "start", "end", "new"),
    [
        (b"x=zz41y", 2, 4, b"x=3D41y"),
        (b"x=4zz1y", 3, 5, b"x=3D41y"),
        (b"x=zz\r\ny", 2, 4, b"x=3D\r\ny"),
        (b"x=zz", 2, 4, b"x=3D"),
        (b"x=3D4zz1y", 3, 5, b"x=3D41y"),
    ],
)
def test_a_literal_equals_sign_never_begins_an_escape(
    raw: bytes, start: int, end: int, new: bytes
) -> None:
    original = message(b"quoted-printable", raw)
    assert raw_of(edited(original, Edit(start, end, b""))) == new


@pytest.mark.parametrize("raw", [b"ab \t", b"ab \r\ncd", b"ab=20"])
def test_blanks_that_ended_a_line_mean_what_they_meant(raw: bytes) -> None:
    """Some readers take raw ones away (RFC 2045, section 6.7, rule 3), and still do or do not."""
    original = message(b"quoted-printable", raw)
    assert raw_of(edited(original, Edit(1, 1, b"!"))) == b"a!" + raw[1:]
    if raw.startswith(b"ab "):  # a blank that did not end its line, and now does, is encoded
        assert raw_of(edited(message(b"quoted-printable", b"a b"), Edit(2, 3, b""))) == b"a=20"


def test_soft_line_breaks_end_as_the_lines_do() -> None:
    for ending in (CRLF, LF):
        one_line = message(b"quoted-printable", b"<p>one line", ending)
        new = edited(one_line, Edit(3, 3, MARK * 2))
        assert raw_of(new).count(b"=" + ending) >= 2
        assert new.count(LF) == new.count(ending)
    lone = message(
        b"quoted-printable", b"a\r\nb\nc\r\n"
    )  # the majority does not count: CRLF is safe
    assert smtp_lines.faults(edited(lone, Edit(3, 4, MARK * 2))).lf == 1


@st.composite
def chunked(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Contents, and each in base64 of its own, the last perhaps without its padding."""
    contents = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=6))
    raw = b""
    for number, content in enumerate(contents):
        text = base64.b64encode(content)
        ends = text.endswith(b"=")
        if number == len(contents) - 1 and draw(st.booleans()):
            text = text.rstrip(b"=")
        width = draw(st.sampled_from([4, 7, 76, 1000]))
        ending = draw(st.sampled_from([CRLF, LF, CRLF + b" "]))
        lines = [text[place : place + width] for place in range(0, len(text), width)]
        raw += ending.join(lines) + (ending if draw(st.booleans()) or not ends else b"")
    return contents, raw


def in_chunks(raw: bytes) -> bytes:
    """Another way to read it: four characters at a time, each group by itself."""
    text = re.sub(rb"[ \t\r\n]", b"", raw)
    groups = [text[place : place + 4].ljust(4, b"=") for place in range(0, len(text), 4)]
    return b"".join(map(base64.b64decode, groups))


@given(chunked(), st.data())
def test_base64_in_chunks_loses_nothing(
    case: tuple[list[bytes], bytes], data: st.DataObject
) -> None:
    contents, raw = case
    content = b"".join(contents)
    assume(b"BEGIN PGP" not in content)  # which would be left unchanged
    assert in_chunks(raw) == content
    places = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    edits = [Edit(a, b, MARK) for a, b in zip(places[::2], places[1::2], strict=False)]
    new = raw_of(edited(message(b"base64", raw), *edits))
    assert in_chunks(new) == transfer_encodings.applied(content, edits)
    assert max(map(len, new.splitlines()), default=0) <= 998


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"PHA+\r\n_____\r\nfooter of a list server\r\n", "is truncated at byte 6"),
        (b"PHA+PA==\r\nfooter", "is truncated"),
        (b"PHA+P\r\n", "has 5 characters at byte 0"),
        (b"AA==" * 1_001, "more than 1,000 chunks"),
        (b"PHA+\xfc", "is truncated at byte 4"),
    ],
)
def test_what_is_no_base64_stays_with_a_note(raw: bytes, why: str) -> None:
    if b"footer" in raw and b"_" not in raw:
        raw += b"!"
    original = message(b"base64", raw)
    rewritten = mime.rewrite(original, lambda *_: [Edit(0, 0, MARK)])
    assert rewritten.message == original
    assert [note.why for note in rewritten.notes] == ["unreadable"]
    assert why in rewritten.notes[0].text
    with pytest.raises(TransferError):
        transfer_encodings.body("base64", raw, CRLF)


@given(
    st.lists(
        st.sampled_from([CRLF, LF, b"\r", b"<p>", b"x" * 900, MARK, b"\0", b"\xff"]), max_size=20
    ),
    st.sampled_from([b"7bit", b"8bit", b"quoted-printable", b"base64"]),
    st.booleans(),
    st.data(),
)
def test_mixed_line_ends_never_get_worse(
    pieces: Sequence[bytes], encoding: bytes, fold: bool, data: st.DataObject
) -> None:
    content = b"".join(pieces)
    raw = {b"quoted-printable": quopri.encodestring, b"base64": base64.encodebytes}.get(
        encoding, bytes
    )(content)
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + len(piece))
    body = transfer_encodings.body(encoding.decode(), raw, CRLF)
    ends = [end for end in ends if body.decoded[end - 1 : end + 1] != CRLF]
    places = sorted(data.draw(st.lists(st.sampled_from(ends or [0]), max_size=6)))
    edits = [Edit(a, b, MARK) for a, b in zip(places[::2], places[1::2], strict=False)]
    original = message(encoding, raw)
    rewritten = mime.rewrite(original, lambda *_: edits, fold)
    now, before = smtp_lines.faults(rewritten.message), smtp_lines.faults(original)
    assert now.cr <= before.cr
    assert now.lf <= before.lf or CRLF not in raw
    assert now.nul == 0 or before.nul
    assert not fold or max(smtp_lines.line_lengths(rewritten.message)) <= max(
        [998, *smtp_lines.line_lengths(original)]
    )
    leaf = mime.leaves(rewritten.message)[0]
    again = transfer_encodings.body(leaf.encoding, raw_of(rewritten.message), CRLF)
    assert again.decoded == transfer_encodings.applied(
        body.decoded, () if rewritten.unchanged else edits
    )


def test_the_cases_of_other_mailers(shared: Path) -> None:
    """Those of ../shared/cases whose bytes were changed, or lost."""
    folder = shared / "cases" / "rewriter"

    def every_href(_: object, body: bytes) -> Sequence[Edit]:
        places = re.finditer(rb'https://[^"]+', body)
        return [Edit(place.start(), place.end(), MARK) for place in places]

    for name in ("01-qp-encoded-line-ends", "02-qp-encoded-end-of-data"):
        original = (folder / f"{name}.eml").read_bytes()
        new = mime.rewrite(original, every_href).message
        assert MARK[:60] in new.replace(b"=\r\n", b"")
        assert smtp_lines.refusal(original) == smtp_lines.refusal(new) == ""
        (leaf,) = mime.leaves(original)
        content = quopri.decodestring(original[leaf.start :])
        assert quopri.decodestring(new[leaf.start :]) == transfer_encodings.applied(
            content, every_href(leaf, content)
        )
    original = (folder / "03-base64-tail-lost.eml").read_bytes()
    rewritten = mime.rewrite(original, every_href)
    assert rewritten.message == original
    assert "its base64 is truncated at byte" in rewritten.notes[0].text
    without_footer = original[: original.index(b"_____")]
    new = mime.rewrite(without_footer, every_href).message
    assert in_chunks(raw_of(new)) == in_chunks(raw_of(without_footer)).replace(
        b"https://x.example/a", MARK
    )


def test_python_agrees_about_single_chunks() -> None:
    raw = base64.encodebytes(bytes(range(256)))
    assert transfer_encodings.body("base64", raw, CRLF).decoded == binascii.a2b_base64(raw)
