"""What the X-Mailwake fields of a message say, and how a wrong one is named."""

import email
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.messages.mail_headers import (
    OFF,
    DescriptionError,
    header,
    message_id,
    newsletter_of,
    own_data,
    recipient_of,
    tracking_of,
    variant_of,
    wants_unsubscribe,
)
from app.rewriting.header_fields import fields, without_own
from app.schemas.messages import NewsletterIn, TrackingIn


def test_a_newsletter_is_named_by_its_fields() -> None:
    assert newsletter_of({"newsletter": "spring"}) == NewsletterIn("spring")
    assert newsletter_of(
        {
            "newsletter": "spring",
            "name": "Spring sale",
            "tags": "shoes, , boots ,",
            "link-families": "/a/*, /b/*  host.example/**",
            "full-urls": " Yes ",
        }
    ) == NewsletterIn(
        "spring",
        "Spring sale",
        None,
        ("shoes", "boots"),
        ("/a/*", "/b/*", "host.example/**"),
        True,
    )


def test_empty_tags_clear_and_missing_ones_leave() -> None:
    assert newsletter_of({"newsletter": "n", "tags": ""}).tags == ()
    assert newsletter_of({"newsletter": "n"}).tags is None


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({}, "Newsletter"),
        ({"newsletter": ""}, "Newsletter"),
        ({"newsletter": "n" * 1000}, "Newsletter"),
        ({"newsletter": "n", "name": "a\x01b"}, "Name"),
        ({"newsletter": "n", "tags": "x" * 1000}, "Tags"),
        ({"newsletter": "n", "full-urls": "maybe"}, "Full-URLs"),
        ({"newsletter": "n", "link-families": "/a /**/b"}, "Link-Families"),
        ({"newsletter": "n", "link-families": " ".join(["/a"] * 51)}, "Link-Families"),
    ],
)
def test_a_wrong_field_of_a_newsletter_is_named(own: dict[str, str], field: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        newsletter_of(own)
    assert caught.value.field == f"X-Mailwake-{field}"


@pytest.mark.parametrize(
    ("track", "tracking"),
    [
        ("opens, clicks", TrackingIn()),
        ("OPENS", TrackingIn(True, False)),
        ("clicks=aggregate", TrackingIn(False, "aggregate")),
        ("opens=pseudonymous clicks=full", TrackingIn("pseudonymous", "full")),
        ("text", TrackingIn(False, True, True)),
        ("opens text", TrackingIn(True, True, True)),
        ("off", OFF),
        ("opens, off", OFF),
        ("pixel=top", TrackingIn(pixel="top")),
        ("pixel=top,url_text=leave,clicks", TrackingIn(False, True, False, "top", "leave")),
        ("", TrackingIn(False, False)),
    ],
)
def test_tracking_is_said_in_words(track: str, tracking: TrackingIn) -> None:
    assert tracking_of({"track": track}) == tracking


def test_tracking_that_is_not_said_is_opens_and_clicks() -> None:
    assert tracking_of({}) == TrackingIn()


@pytest.mark.parametrize(
    "track",
    ["open", "opens=some", "text=full", "off=now", "pixel", "pixel=middle", "url_text=", "=opens"],
)
def test_a_wrong_word_is_named_with_what_may_be_said(track: str) -> None:
    with pytest.raises(DescriptionError, match="must be one of") as caught:
        tracking_of({"track": track})
    assert caught.value.field == "X-Mailwake-Track"


@given(st.text("openscliktfu=, _", max_size=20))
@settings(max_examples=60)
def test_any_words_are_tracking_or_refused(track: str) -> None:
    try:
        assert isinstance(tracking_of({"track": track}), TrackingIn)
    except DescriptionError as error:
        assert error.field == "X-Mailwake-Track" and len(str(error)) < 200


def test_a_recipient_is_the_fields_or_the_first_of_to() -> None:
    message = b"To: Ann <ann@x.example>, bob@x.example\r\n\r\nHello"
    assert recipient_of(message, {}) == "ann@x.example"
    assert recipient_of(message, {"recipient": "carl@x.example"}) == "carl@x.example"
    for own in ({"recipient": "x" * 1000}, {}):
        with pytest.raises(DescriptionError) as caught:
            recipient_of(b"Subject: x\r\n\r\nHello", own)
        assert caught.value.field == "X-Mailwake-Recipient"


def test_a_variant_is_named_or_not() -> None:
    assert variant_of({}) is None
    assert variant_of({"variant": " B "}) == "B"
    for wrong in ("", "-", "x" * 51, "a\nb"):
        with pytest.raises(DescriptionError) as caught:
            variant_of({"variant": wrong})
        assert caught.value.field == "X-Mailwake-Variant"


def test_unsubscribe_fields_are_added_on_request_only() -> None:
    assert wants_unsubscribe({"unsubscribe": " ADD "})
    assert not wants_unsubscribe({"unsubscribe": "yes"})
    assert not wants_unsubscribe({})


def test_metadata_has_a_limit_of_its_own() -> None:
    with pytest.raises(DescriptionError) as caught:
        own_data([], {f"meta-{number}": "x" for number in range(21)})
    assert caught.value.field == "X-Mailwake-Meta"
    assert own_data([], {"meta-order": "A-1", "name": "x"}).metadata == {"order": "A-1"}


def test_a_message_without_message_id_has_none() -> None:
    head, _ = fields(b"Subject: x\r\n\r\nHello")
    assert message_id(head) == ""


def test_fields_that_are_written_are_read_again() -> None:
    written = header({"X-Mailwake-Newsletter": "n", "X-Mailwake-Track": "off"})
    assert written == b"X-Mailwake-Newsletter: n\r\nX-Mailwake-Track: off\r\n"
    rest, own = without_own(written + b"\r\nHello")
    assert own == {"newsletter": "n", "track": "off"}
    assert b"X-Mailwake" not in rest
    assert header({"A": "b"}, "\n") == b"A: b\n"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"<a@b.example>", "a@b.example"),
        (b" (comment) <a@b.example> ", "a@b.example"),
        (b"\r\n <folded@b.example>", "folded@b.example"),
        (b"a@b.example", "a@b.example"),
        (b"<first@a> <second@b>", "first@a"),
        (b'<"quoted"@b.example>', '"quoted"@b.example'),
        (b"<[1.2.3.4]@[5.6.7.8]>", "[1.2.3.4]@[5.6.7.8]"),
        (b"", ""),
        (b"<>", ""),
        (b"two words", ""),
        (b"<with blank@b>", ""),
        (b"<" + b"x" * 997 + b">", ""),
    ],
)
def test_a_message_id_is_read(field: bytes, expected: str) -> None:
    head, _ = fields(b"Message-ID: " + field + b"\r\nMessage-ID: <again@b>\r\n\r\nHello")
    assert own_data(head, {}).rfc_message_id == expected


KEYS = st.from_regex(r"[a-z0-9_.-]{1,64}", fullmatch=True)

VALUES = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"), max_size=60
).map(str.strip)


@given(st.dictionaries(KEYS, VALUES, max_size=20))
def test_fields_say_the_metadata(metadata: dict[str, str]) -> None:
    head = "".join(f"X-Mailwake-META-{key.upper()}: {value}\r\n" for key, value in metadata.items())
    message, own = without_own(f"{head}To: a@example.com\r\n\r\nHello".encode())
    assert message == b"To: a@example.com\r\n\r\nHello"
    found = own_data(fields(message)[0], own).metadata
    assert set(found) == set(metadata)
    for key, value in metadata.items():
        assert found[key] == value or "=?" in value


@given(st.text(max_size=70), st.text(max_size=510))
def test_metadata_is_taken_as_documented_or_refused(key: str, value: str) -> None:
    good = bool(
        re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", key)
        and len(value) <= 500
        and not re.search(r"[\x00-\x1f\x7f-\x9f]", value)
    )
    try:
        found = own_data([], {f"meta-{key}": value}).metadata
    except DescriptionError as error:
        assert not good and error.field == f"X-Mailwake-Meta-{key}"
    else:
        assert good and found == {key: value}


def test_message_ids_of_real_mail_are_read(shared: Path) -> None:
    """As Python's own parser reads them, but for one with blanks and comments within (obsolete)."""
    count = 0
    for path in sorted((shared / "mime").iterdir()):
        content = path.read_bytes()
        head, _ = fields(content)
        whole = email.message_from_bytes(content)["Message-ID"]
        if whole is None or not any(field.name == "message-id" for field in head):
            continue
        expected = "".join(str(whole).split()).strip("<>")
        found = own_data(head, {}).rfc_message_id
        assert found == expected or (found == "" and "(blah)" in expected), path
        count += found != ""
    assert count > 50
