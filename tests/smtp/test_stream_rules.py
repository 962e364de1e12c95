"""Which stream a mail belongs to: its own fields, rules of a file, its sender's domain."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.mail_headers import OFF, DescriptionError
from app.rewriting.header_fields import fields
from app.schemas.messages import TrackingIn
from app.smtp.stream_rules import Rule, Stream, StreamsError, from_file, stream_of

RULES = (
    Rule("shop-{list_id}", list_id="*.news.shop.example", name="News", tags=("news",)),
    Rule("receipts", feedback_id="*:receipt:*", track="opens"),
    Rule("parcels", sender="parcel@*", track="off"),
    Rule("both", sender="*@both.example", list_id="both"),
)


def mail(*headers: str) -> bytes:
    return "\r\n".join((*headers, "", "body", "")).encode()


def found(*headers: str, own: dict[str, str] | None = None, sender: str = "") -> Stream:
    return stream_of(fields(mail(*headers))[0], own or {}, sender, RULES)


@pytest.mark.parametrize(
    ("headers", "newsletter", "tracking"),
    [
        (["From: a@Shop.Example"], "shop.example", TrackingIn()),
        (["From: =?utf-8?q?J=C3=BCrgen?= <j@x.example>"], "x.example", TrackingIn()),
        (["List-ID: Weekly <week.news.shop.example>"], "shop-week.news.shop.example", TrackingIn()),
        (["List-Id: Week.News.Shop.Example"], "shop-week.news.shop.example", TrackingIn()),
        (["Feedback-ID: 42:receipt:shop"], "receipts", TrackingIn(True, False, False)),
        (["From: <Parcel@post.example>"], "parcels", OFF),
        (["From: x@both.example"], "both.example", TrackingIn()),
        (["From: x@both.example", "List-Id: <both>"], "both", TrackingIn()),
        (["Subject: nobody"], "envelope.example", TrackingIn()),
    ],
)
def test_rules_are_tried_in_order(
    headers: list[str], newsletter: str, tracking: TrackingIn
) -> None:
    stream = found(*headers, sender="bounce@envelope.example")
    assert (stream.newsletter.id, stream.tracking) == (newsletter, tracking)


def test_a_rule_gives_name_and_tags() -> None:
    stream = found("List-Id: <week.news.shop.example>")
    assert (stream.newsletter.name, stream.newsletter.tags) == ("News", ("news",))


def test_what_nobody_states_is_left_as_it_was() -> None:
    for stream in (found("From: a@shop.example"), found("Feedback-ID: 42:receipt:shop")):
        assert (stream.newsletter.name, stream.newsletter.tags) == (None, None)
    emptied = found("List-Id: <w.news.shop.example>", own={"tags": "", "name": ""}).newsletter
    assert (emptied.name, emptied.tags) == ("", ())
    named = found("From: a@b.example", own={"newsletter": "mine"}).newsletter
    assert (named.name, named.subject, named.tags) == (None, None, None)


def test_the_mails_own_fields_win() -> None:
    stream = found("From: parcel@x.example", own={"newsletter": "mine", "track": "clicks"})
    assert (stream.newsletter.id, stream.tracking) == ("mine", TrackingIn(False, True, False))
    assert found("From: parcel@x.example", own={"newsletter": "mine"}).tracking == OFF
    stream = found("From: a@x.example", own={"track": "pixel=top"})
    assert stream.tracking == TrackingIn(pixel="top")
    stream = found("From: a@x.example", own={"track": "clicks url_text=leave"})
    assert stream.tracking == TrackingIn(False, True, False, url_text="leave")
    stream = found("List-Id: <w.news.shop.example>", own={"tags": "a, b", "name": "Mine"})
    assert (stream.newsletter.name, stream.newsletter.tags) == ("Mine", ("a", "b"))


def test_a_variant_is_the_mails_own_or_the_rules_with_its_newsletter() -> None:
    rules = [Rule("offers", sender="*", variant="B")]
    head, _ = fields(mail("From: a@b.example"))
    for own, variant in (
        ({}, "B"),
        ({"variant": "C"}, "C"),
        ({"newsletter": "x"}, None),
        ({"newsletter": "x", "variant": " C "}, "C"),
    ):
        assert stream_of(head, own, "", rules).variant == variant
    assert stream_of(head, {}, "").variant is None


def test_nothing_at_all_is_a_stream_too() -> None:
    assert stream_of([], {}, "").newsletter.id == "unknown"


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"track": "all"}, "X-Mailwake-Track"),
        ({"track": "opens, pixel=middle"}, "X-Mailwake-Track"),
        ({"track": "url_text"}, "X-Mailwake-Track"),
        ({"newsletter": ""}, "X-Mailwake-Newsletter"),
        ({"tags": "x" * 101}, "X-Mailwake-Tags"),
        ({"name": "x" * 1001}, "X-Mailwake-Name"),
        ({"variant": "x" * 51}, "X-Mailwake-Variant"),
    ],
)
def test_a_wrong_field_is_named(own: dict[str, str], field: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        found("From: a@b.example", own=own)
    assert caught.value.field == field


@given(st.binary(max_size=400), st.text(max_size=50))
def test_any_bytes_belong_somewhere_or_are_refused_by_name(message: bytes, sender: str) -> None:
    try:
        stream = stream_of(fields(message)[0], {}, sender, RULES)
    except DescriptionError as error:
        assert error.field.startswith("X-Mailwake-")
    else:
        assert 1 <= len(stream.newsletter.id) <= 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[[stream]]\nnewsletter = 'x'",
            "stream 1: one of list_id, feedback_id, sender is required",
        ),
        ("[[stream]]\nsender = 'x'", "newsletter"),
        ("[[stream]]\nsender = 'x'\nnewsletter = 'y'\ntrack = 'all'", "stream 1: track: 'all'"),
        ("[[stream]]\nsender = 'x'\nnewsletter = 'y'\nvariant = ''", "variant"),
        ("[[stream]]\nsendr = 'x'\nnewsletter = 'y'", "sendr"),
        ("[stream", "streams.toml"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "streams.toml"
    path.write_text(text)
    with pytest.raises(StreamsError) as caught:
        from_file(path)
    assert says in str(caught.value) and str(path) in str(caught.value)


def test_a_right_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "streams.toml"
    path.write_text(
        "[[stream]]\nlist_id = '*'\nnewsletter = 'a'\ntags = ['x']\n"
        "[[stream]]\nsender = '*'\nnewsletter = 'b'\ntrack = 'off'\n"
    )
    assert from_file(path) == [
        Rule("a", list_id="*", tags=("x",)),
        Rule("b", sender="*", track="off"),
    ]
