"""Header fields, whatever they hold: read in linear time, or left as they are."""

import base64
import email.header
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages import mail_headers
from app.rewriting import header_fields, mime
from app.rewriting.header_fields import HeaderError, address, fields, text_of
from app.smtp import stream_rules
from tests.support.call_counter import calls

NASTY = [
    b"(" * 5_000,
    b"<" * 5_000,
    b'"' * 5_001,
    b"[" * 5_000,
    b"," * 5_000,
    b"@" * 5_000,
    b"\\" * 5_000,
    b"=?" * 5_000,
    b"=?utf-8?q?" * 5_000,
    b"=?utf-8?b?" + b"A" * 5_000,
    b"=?utf-8?q?a?= " * 20_000,
    b"=?iso-2022-jp?b?GyRC?= " * 2_000,
    b"=?utf-7?q?+2AA-?=",
    b"=?\xff?q?\xff?=",
    b"=?idna?q?xn--a?=",
    b"=?utf-8?b?====?=",
    b"\0",
    b"\r\n " * 5_000,
    b":;" * 5_000,
    b"a@b," * 20_000,
    b"\xff" * 5_000,
    b"=?unicode_escape?q?=5Cud800?=",
    b"(" * 900 + b")" * 900,
    b"a:" * 900,
    b"." * 5_000,
]
NAMES = (
    "To",
    "From",
    "List-Id",
    "Feedback-ID",
    "X-Mailwake-Name",
    "X-Mailwake-Track",
    "Content-Type",
    "Content-Disposition",
    "Content-Transfer-Encoding",
)


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_field_is_an_error(name: str, value: bytes) -> None:
    message = name.encode() + b": " + value + b"\r\nX-Mailwake-Newsletter: n\r\n\r\n<p>x</p>"
    without, own = header_fields.without_own(message)
    assert own["newsletter"] == "n"
    for text in own.values():
        text.encode("utf-8")  # no half of a character
    head, _ = fields(without)
    for describe in (
        lambda: mail_headers.recipient_of(without, own).encode("utf-8"),
        lambda: mail_headers.tracking_of(own),
        lambda: stream_rules.stream_of(head, own, "a@b.example", ()),
    ):
        try:
            describe()
        except mail_headers.DescriptionError as error:
            assert error.field.startswith("X-Mailwake-") and len(str(error)) < 500
    assert mime.rewrite(without, lambda *_: []).message == without


@pytest.mark.parametrize(
    "piece",
    [
        b"=?utf-8?q?a?= ",
        b"=?utf-8?q?a?=x",
        b"=?u?q?a?=",
        b"=?",
        b"(",
        b"a@b, ",
        b"\r\n a",
        b"<a@b>",
    ],
)
def test_work_is_linear_in_a_fields_length(piece: bytes) -> None:
    def work(number: int) -> int:
        value = piece * number

        def read() -> None:
            text_of(value)
            address([header_fields.Field("to", value, 0, 0)], "to")

        return calls(read)

    small = work(100)
    assert work(1_000) <= 12 * small + 1_000
    assert work(100_000) <= work(20_000) + 1_000  # bounded


def test_headers_past_the_limits_are_named() -> None:
    with pytest.raises(HeaderError, match="byte 0: a header of more than 10,000 fields"):
        fields(b"a: b\r\n" * 10_001 + b"\r\n")
    with pytest.raises(HeaderError, match="byte 0: a header of more than 1,000,000 bytes"):
        fields(b"a: " + b"b" * 1_000_000 + b"\r\n\r\n")
    part = b"--b\r\n" + b"a: b\r\n" * 10_001 + b"Content-Type: text/html\r\n\r\n<p>\r\n"
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part + b"--b--\r\n"
    (note,) = mime.rewrite(message, lambda *_: []).notes
    assert note.why == "unreadable" and "more than 10,000 fields: left unchanged" in note.text


def test_a_message_has_only_so_many_parts_and_levels() -> None:
    part = b"--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n"
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 2_000 + b"--b--\r\n"
    rewritten = mime.rewrite(message, lambda *_: [mime.Edit(0, 0, b"!")])
    assert rewritten.message.count(b"!<p>") == mime.MAX_PARTS - 1
    (note,) = rewritten.notes
    assert "a part after the first 1,000 was left unchanged" in note.text
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(60)
    )
    (note,) = mime.rewrite(deep + b"Content-Type: text/html\r\n\r\n<p>", lambda *_: []).notes
    assert "nested more than 50 deep was left unchanged" in note.text


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0?"), max_size=20),
            st.sampled_from(["q", "b", "plain"]),
        ),
        max_size=5,
    )
)
def test_encoded_words_are_read_as_they_were_written(words: list[tuple[str, str]]) -> None:
    written, expected, before = [], "", "plain"
    for text, form in words:
        if form == "plain":
            written.append("plain")
            expected += " plain" if written[1:] else "plain"
        else:
            data = text.encode("utf-8")
            quoted = quopri.encodestring(data, header=True).replace(b"=\n", b"").decode()
            quoted = quoted.replace(" ", "_").replace("\t", "=09")
            written.append(
                f"=?utf-8?{form}?{quoted if form == 'q' else base64.b64encode(data).decode()}?="
            )
            expected += text if before != "plain" or not written[1:] else f" {text}"
        before = form
    value = "\r\n ".join(written).encode()
    assert text_of(value) == expected
    if all(form != "plain" for _, form in words):
        library = str(email.header.make_header(email.header.decode_header(value.decode())))
        assert text_of(value) == library


def test_what_is_between_encoded_words() -> None:
    assert text_of(b"=?utf-8?q?a?= =?utf-8?q?b?=") == "ab"  # RFC 2047, section 8
    assert text_of(b"=?utf-8?q?a_b?= c =?iso-8859-1*en?Q?=FC?=") == "a b c ü"
    assert text_of(b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=") == "ü"
    assert text_of(b"=?no-such?q?a?= b") == "=?no-such?q?a?= b"


@pytest.mark.parametrize(
    ("value", "email"),
    [
        (b"Ann <ann@x.example>, bob@x.example", "ann@x.example"),
        (b'"Ann, B." <ann@x.example>', "ann@x.example"),
        (b"=?utf-8?q?=3Cevil=40x.example=3E=2C?= <ann@x.example>", "ann@x.example"),
        (b"=?utf-8?q?ann=40x.example?=", "ann@x.example"),
        (b"undisclosed-recipients:;", ""),
        (b"list: ann@x.example, b@x.example;", "ann@x.example"),
        (b"((((" * 2_000 + b" <ann@x.example>", ""),
        (b"ann@x.example" + b", bob@x.example" * 1_000, "ann@x.example"),
        (b"", ""),
    ],
)
def test_the_first_address_of_a_field(value: bytes, email: str) -> None:
    assert address([header_fields.Field("to", value, 0, 0)], "to") == email


PARAMETERS = [
    b"text/html",
    b"; charset=utf-8",
    b'; charset="utf-8"',
    b"; format=flowed",
    b"; delsp=yes",
    b'; name="a.html"',
    b"; x=(a comment)",
    b'; y="a; b"',
]


@given(
    st.lists(st.sampled_from(PARAMETERS[1:]), max_size=5),
    st.sampled_from([b"\r\n", b"\n"]),
    st.data(),
)
def test_a_field_means_the_same_wherever_it_is_folded(
    parameters: list[bytes], ending: bytes, data: st.DataObject
) -> None:
    value = b"".join([data.draw(st.sampled_from([b"text/html", b"text/plain"])), *parameters])
    places = [place for place in range(len(value)) if value[place : place + 1] == b" "]
    chosen = data.draw(st.lists(st.sampled_from(places), unique=True)) if places else []
    folded = value
    for place in sorted(chosen, reverse=True):
        blanks = data.draw(st.sampled_from([b" ", b"\t", b"  "])) if value.count(b'"') < 3 else b" "
        folded = folded[:place] + ending + blanks + folded[place + 1 :]
    template = b"Subject: x" + ending + b"Content-Type: %s" + ending * 2 + b"<p>"
    (plain,) = mime.leaves(template % value)
    (leaf,) = mime.leaves(template % folded)
    assert leaf._replace(start=0, end=0, named=(0, 0)) == plain._replace(
        start=0, end=0, named=(0, 0)
    )
    assert leaf.flowed == (b"format=flowed" in value)
    assert leaf.delsp == (leaf.flowed and b"delsp=yes" in value)


def test_a_header_whose_first_field_is_indented_says_nothing() -> None:
    message = b" Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n<p>"
    done = mime.rewrite(message, lambda *_: [mime.Edit(0, 0, b"x")])
    assert done.message == message
    assert "first header field is indented was left unchanged" in done.notes[0].text
    assert mime.leaves(b" within a field\r\nContent-Type: text/html\r\n\r\n<p>")


@pytest.mark.parametrize(
    "kind", ["X-BE2; 12", "application-x-gzip; name=a", "text/html/x", "text", ""]
)
def test_a_content_type_that_is_none_is_left_alone(kind: str) -> None:
    message = f"Content-Type: {kind}\r\n\r\n<p>".encode()
    done = mime.rewrite(message, lambda *_: [mime.Edit(0, 0, b"x")])
    assert done.message == message
    assert f"content type {kind.partition(';')[0]!r} was left unchanged" in done.notes[0].text
    assert [leaf.kind for leaf in mime.leaves(b"Subject: x\r\n\r\n<p>")] == ["text/plain"]


@given(st.integers(1, 30), st.sampled_from([b" ", b"\t"]))
def test_a_boundary_may_be_folded_too(lines: int, blank: bytes) -> None:
    value = b"multipart/mixed;" + (b"\r\n" + blank) * lines + b'boundary="b c"'
    message = b"Content-Type: " + value + b"\r\n\r\n--b c\r\n\r\ntext\r\n--b c--\r\n"
    (leaf,) = mime.leaves(message)
    assert message[leaf.start : leaf.end] == b"text"
