import binascii
import quopri
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rewriting import header_fields, mime, transfer_encodings
from app.rewriting.mime import Edit, Leaf
from tests.support.call_counter import calls

MARK = b"https://t.example/c/MESSAGE_TOKEN_0123456789_abcdefghijklmnopqrstuvwxyz-MESSAGE_TOKEN/LINK"


def every_href(_: Leaf, body: bytes) -> Sequence[Edit]:
    """A stand-in for the rewriter: each http address gives way to MARK."""
    return [
        Edit(match.start(), match.end(), MARK)
        for match in re.finditer(rb"https?://[^\s\"'<>]+", body)
    ]


def nothing(_: Leaf, __: bytes) -> Sequence[Edit]:
    return []


def rewritten(message: bytes, rewrite: mime.Rewrite = every_href) -> tuple[bytes, list[str]]:
    """The message and its notes."""
    done = mime.rewrite(message, rewrite)
    return done.message, [note.text for note in done.notes]


def decoded(leaf: Leaf, message: bytes) -> bytes:
    raw = message[leaf.start : leaf.end]
    if leaf.encoding == "base64":
        return binascii.a2b_base64(raw)
    if leaf.encoding == "quoted-printable":
        return quopri.decodestring(raw)
    return raw


def test_every_real_message_changes_in_its_leaves_only(shared: Path) -> None:
    changed = 0
    for path in sorted((shared / "mime").iterdir()):
        message = path.read_bytes()
        assert mime.rewrite(message, nothing).message == message, path.name
        new, notes = rewritten(message)
        before, after = list(mime.leaves(message)), list(mime.leaves(new))
        assert len(before) == len(after), path.name
        position = reached = 0
        for old_leaf, new_leaf in zip(before, after, strict=True):
            # Outside of the leaves: every byte, folding included.
            assert new[reached : new_leaf.start] == message[position : old_leaf.start], path.name
            position, reached = old_leaf.end, new_leaf.end
            try:
                body = decoded(old_leaf, message)
            except binascii.Error:
                assert notes
                continue
            if (b"BEGIN PGP" in body) or any(f"byte {old_leaf.start}:" in n for n in notes):
                continue
            expected = transfer_encodings.applied(body, every_href(old_leaf, body))
            assert decoded(new_leaf, new) == expected, path.name
            changed += expected != body
        assert new[reached:] == message[position:], path.name
    assert changed >= 20


def test_quoted_printable_lines_that_do_not_change_stay_as_they_were(shared: Path) -> None:
    seen = 0
    for path in sorted((shared / "mime").iterdir()):
        message = path.read_bytes()
        for leaf in mime.leaves(message):
            if leaf.encoding != "quoted-printable":
                continue
            raw = message[leaf.start : leaf.end]
            body = decoded(leaf, message)
            if not every_href(leaf, body):
                continue
            patches = transfer_encodings.body(leaf.encoding, raw, leaf.ending).patches(
                every_href(leaf, body)
            )
            new = transfer_encodings.applied(raw, [Edit(*patch[:3]) for patch in patches])
            kept = [line for line in raw.splitlines(True) if b"http" not in line.lower()]
            there = new.splitlines(True)
            share = sum(line in there for line in kept) / max(len(kept), 1)
            assert share > 0.5, path.name
            assert all(len(line.rstrip(b"\r\n")) <= 76 for line in there if line not in raw)
            seen += 1
    assert seen


def message(encoding: str, body: bytes) -> bytes:
    head = "Subject: x\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: "
    return f"{head}{encoding}\r\n\r\n".encode() + body


HTML = '<p>Gr\u00fc\u00dfe</p>\r\n<a href="https://example.com/?a=1&amp;b=2">= x</a>  \r\n'.encode()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("7bit", HTML),
        ("8bit", HTML),
        ("base64", binascii.b2a_base64(HTML * 9, newline=True)),
        ("quoted-printable", quopri.encodestring(HTML * 9)),
    ],
)
def test_every_transfer_encoding_carries_the_same_change(encoding: str, body: bytes) -> None:
    original = message(encoding, body)
    (leaf,) = mime.leaves(original)
    new, notes = rewritten(original)
    (new_leaf,) = mime.leaves(new)
    assert not notes
    body = decoded(leaf, original)
    assert decoded(new_leaf, new) == transfer_encodings.applied(body, every_href(leaf, body))
    assert MARK in decoded(new_leaf, new)


@given(
    st.lists(
        st.sampled_from([b"=", b" ", b"\t", b"\r\n", b"\n", b"a", "ü".encode(), b".", b"x" * 90]),
        max_size=60,
    ),
    st.data(),
)
def test_any_edit_of_quoted_printable_arrives(pieces: list[bytes], data: st.DataObject) -> None:
    body = b"".join(pieces)
    raw = quopri.encodestring(body)
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    edits = [Edit(a, b, MARK) for a, b in zip(places[::2], places[1::2], strict=False)]
    original = message("quoted-printable", raw)
    (leaf,) = mime.leaves(original)
    body = decoded(leaf, original)
    within = {place for place in range(1, len(body)) if body[place - 1 : place + 1] == b"\r\n"}
    edits = [e for e in edits if e.end <= len(body) and not within & {e.start, e.end}]
    new, notes = rewritten(original, lambda *_: edits)
    (new_leaf,) = mime.leaves(new)
    assert not notes
    assert decoded(new_leaf, new) == transfer_encodings.applied(body, edits)


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_message_that_stays_as_it_is(data: bytes) -> None:
    assert mime.rewrite(data, nothing).message == data


SIGNED = b"""Content-Type: multipart/mixed; boundary=o\r
\r
--o\r
Content-Type: multipart/signed; boundary=s; protocol="application/pgp-signature"\r
\r
--s\r
Content-Type: text/html\r
\r
<a href="https://example.com/signed">\r
--s--\r
--o\r
Content-Type: text/html\r
Content-Disposition: attachment; filename=x.html\r
\r
<a href="https://example.com/attached">\r
--o\r
Content-Type: message/rfc822\r
\r
Content-Type: text/html\r
\r
<a href="https://example.com/forwarded">\r
--o\r
Content-Type: text/calendar\r
\r
URL:https://example.com/calendar\r
--o\r
Content-Type: text/x-amp-html\r
\r
<a href="https://example.com/amp">\r
--o\r
Content-Type: application/pkcs7-mime\r
\r
https://example.com/smime\r
--o\r
\r
-----BEGIN PGP MESSAGE-----\r
https://example.com/pgp\r
--o--\r
"""


def test_what_is_signed_attached_forwarded_or_special_stays() -> None:
    new, notes = rewritten(SIGNED)
    assert new == SIGNED
    assert notes == [
        f"byte {SIGNED.index(b'--s')}: multipart/signed was left unchanged",
        f"byte {SIGNED.index(b'https://example.com/smime')}: application/pkcs7-mime was left"
        " unchanged",
        f"byte {SIGNED.index(b'-----BEGIN')}: text/plain was left unchanged: it contains a PGP"
        " block",
    ]


def test_an_unknown_transfer_encoding_is_left_alone_and_noted() -> None:
    original = message("uuencode", b"https://example.com/")
    assert rewritten(original) == (
        original,
        ["byte 91: text/html was left unchanged: unknown transfer encoding 'uuencode'"],
    )


@pytest.mark.parametrize(
    "value", [b'text/html; a="%s', b"text/html%s", b'text/html; a="\\%s', b"text/html; a=b%s"]
)
def test_a_fields_parameters_end_somewhere(value: bytes) -> None:
    # The standard library's time grows with their number's square.
    def work(number: int) -> int:
        original = b"Content-Type: " + value % (b";x=" * number) + b"\r\n\r\n<p>"
        read: list[object] = []
        made = calls(lambda: read.append(rewritten(original, nothing)))
        assert read == [(original, [])]
        return made

    assert work(20_000) <= work(200)


@pytest.mark.parametrize(
    "fields_alone",
    [
        b"Content-Type: text/html\r\nSubject: x\r\n",
        b"Content-Type: text/html\r\n\r\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n--b--",
    ],
)
def test_nothing_is_put_among_the_fields(fields_alone: bytes) -> None:
    assert rewritten(fields_alone, lambda *_: [Edit(0, 0, MARK)]) == (fields_alone, [])


PGP = b"<p>-----BEGIN PGP MESSAGE-----</p> https://example.com/"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("7bit", PGP),
        ("base64", binascii.b2a_base64(PGP)),
        ("base64", binascii.b2a_base64(PGP[:5]) + binascii.b2a_base64(PGP[5:])),
        ("quoted-printable", PGP.replace(b"BEGIN", b"BEG=\r\nIN")),
        ("quoted-printable", PGP.replace(b"-----", b"=2D----")),
        ("base64", binascii.b2a_base64(PGP.decode().encode("utf-16"))),
    ],
)
def test_a_pgp_block_is_seen_in_every_encoding(encoding: str, body: bytes) -> None:
    original = message(encoding, body)
    done = mime.rewrite(original, every_href)
    assert done.message == original
    assert [note.why for note in done.notes] == ["sealed"]


def multipart(kind: str, *parts: str) -> bytes:
    lines = [f"Content-Type: multipart/{kind}; boundary=b", ""]
    for part in parts:
        lines += ["--b", f"Content-Type: {part}", "", "<p>https://example.com/</p>"]
    return "\r\n".join([*lines, "--b--", ""]).encode()


NAMED = 'text/html\r\nContent-Disposition: inline; filename="x.html"'


@pytest.mark.parametrize(
    ("kind", "parts", "shown"),
    [
        ("mixed", ["text/html", "text/html"], [0, 1]),
        ("mixed", ["text/plain", NAMED], [0]),
        ("mixed", ["text/plain", "text/html; name=x.html"], [0]),
        ("mixed", ["text/plain", "text/html; name*0=x; name*1=.html"], [0]),
        ("mixed", ["text/plain", "text/html; name*=utf-8''%C3%BC.html"], [0]),
        ("mixed", ["text/plain", 'text/html; name=""'], [0, 1]),
        ("mixed", [NAMED, "text/html"], [0, 1]),  # the first is the body whatever its name
        ("mixed", [NAMED.replace("inline", "attachment"), "text/html"], [1]),
        ("alternative", ["text/plain", "text/html; name=x.html"], [0]),
        ("related", ["text/html", "text/html"], [0]),
        ("related", ["text/html", 'multipart/mixed; boundary="c"\r\n\r\n--c'], [0, 1]),
    ],
)
def test_what_readers_show_as_attachments_is_left_alone(
    kind: str, parts: list[str], shown: list[int]
) -> None:
    """RFC 8621, section 4.1.4."""
    original = multipart(kind, *parts)
    new, notes = rewritten(original)
    pieces = new.split(b"--b\r\n")[1:]
    assert [number for number, piece in enumerate(pieces) if MARK in piece] == shown
    assert not notes


@pytest.mark.parametrize(
    ("field", "encoding"),
    [
        ("8bits", "8bit"),
        ("7-bit", "7bit"),
        ("Quoted-Printable;", "quoted-printable"),
        ("base64 (as RFC 2045 has it)", "base64"),
        ("quoted printable", "quoted printable"),
        ("x-uuencode", "x-uuencode"),
        ("", ""),
    ],
)
def test_spellings_of_transfer_encodings(field: str, encoding: str) -> None:
    (leaf,) = mime.leaves(message(field, b""))
    assert leaf.encoding == encoding


def doubled(data: bytes, edits: Sequence[Edit], offset: int = 0) -> bytes:
    return data + b"".join(edit.new for edit in edits)


@pytest.mark.parametrize("encoding", ["7bit", "quoted-printable", "base64"])
@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("_QUOTED", re.compile(rb"never")),
        ("_wrapped", lambda text, ending: text + b"\n"),
        ("_wrapped", lambda text, ending: text.replace(b"=", b"", 1)),
        ("_octet", lambda match: b"\0"),
        ("applied", doubled),
        ("applied", lambda data, edits, offset=0: data[:-1]),
    ],
)
def test_a_fault_of_an_encoder_sends_the_original(
    monkeypatch: pytest.MonkeyPatch, encoding: str, place: str, fault: object
) -> None:
    body = b"\x01\r\n" + PGP[-20:] + b"\xff"
    encoded = {"base64": binascii.b2a_base64(body), "quoted-printable": quopri.encodestring(body)}
    original = message(encoding, encoded.get(encoding, body))
    edit = Edit(3, 23, b"\x01\n=" + MARK)
    assert mime.rewrite(original, lambda *_: [edit]).edits or encoding == "7bit"
    monkeypatch.setattr(transfer_encodings, place, fault)
    done = mime.rewrite(original, lambda *_: [edit])
    if done.message == original:
        assert "unproven" in [note.why for note in done.notes]
        assert done.edits == () and len(done.unchanged) == 1
    else:  # where the fault lies in an encoder that this one does not use
        assert encoding != "quoted-printable" and place != "applied"


@pytest.mark.parametrize(
    ("edits", "fault"),
    [
        ([Edit(5, 8, b""), Edit(4, 9, b"")], "does not lead back"),
        ([Edit(5, 4, b"")], "does not lead back"),
        ([Edit(5, 10_000, b"")], "does not lead back"),
        ([Edit(0, 0, b"\n")], "has a new bare LF at byte"),
        ([Edit(0, 0, b"\r")], "has a new bare CR at byte"),
        ([Edit(0, 0, b"\0")], "has a NUL at byte"),
        ([Edit(0, 0, b"\xff")], "has a byte that is not ASCII at byte"),
        ([Edit(0, 0, b"\r\n--b\r\n")], "has a boundary at byte"),
        ([Edit(0, 0, b"--b--\r\n")], "has a boundary at byte"),
    ],
)
def test_a_fault_of_the_rewriter_sends_the_original(edits: list[Edit], fault: str) -> None:
    original = multipart("mixed", "text/html", "text/html")
    done = mime.rewrite(original, lambda *_: edits)
    assert done.message == original and len(done.unchanged) == 2
    (note,) = done.notes
    assert note.why == "unproven" and fault in note.text


def test_lines_that_become_too_long_are_folded() -> None:
    short, long = b"<p>" + b"x" * 950 + b"\r\n", b"y" * 2_000 + b"\r\n"
    for body, fold, encodings in (
        (short, False, ["quoted-printable"]),
        (long, False, ["7bit"]),  # it was too long before
        (long, True, ["quoted-printable"]),
        (long + short, False, ["quoted-printable"]),
    ):
        original = message("7bit", body)
        at = len(body) - len(short) if body.endswith(short) else 0
        done = mime.rewrite(original, lambda *_, at=at: [Edit(at, at, MARK)], fold)
        assert not done.notes
        assert [leaf.encoding for leaf in mime.leaves(done.message)] == encodings
        (leaf,) = mime.leaves(done.message)
        assert decoded(leaf, done.message) == body[:at] + MARK + body[at:]
    # Without any field before it, too.
    bare = mime.rewrite(b"\r\n" + short, lambda *_: [Edit(0, 0, MARK)])
    assert bare.message.startswith(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n")


def test_own_headers_are_read_and_removed_and_no_other_byte() -> None:
    original = (
        b"From: a@example.com\r\nX-Mailwake-Newsletter: spring\r\n  sale\r\n"
        b"Subject: folded\r\n here\r\nx-mailwake-tags: =?utf-8?q?gr=C3=BCn?=, b\r\n\r\n"
        b"X-Mailwake-Body: stays"
    )
    new, own = header_fields.without_own(original)
    assert new == (b"From: a@example.com\r\nSubject: folded\r\n here\r\n\r\nX-Mailwake-Body: stays")
    assert own == {"newsletter": "spring  sale", "tags": "grün, b"}
