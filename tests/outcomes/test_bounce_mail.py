"""What mail servers send back is read; what names no mail, or is broken, is not."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.consent.suppressions import ALL, Suppressions
from app.model.records import encode
from app.outcomes.bounce_mail import (
    MAX_BYTES,
    MAX_NAMED_BYTES,
    MAX_PARTS,
    MAX_WORDED_BYTES,
    PROVIDER,
    read,
)
from app.outcomes.provider_events import ProviderEvent
from app.storage.clickhouse import Storage
from tests.support.bounces import Returned, dsn, feedback, reply, worded
from tests.support.reported import Mailing, outcome, sent

OF = Returned("boots.1@shop.example", "ann@example.com")
OURS = "0192f3c4-a5b6-7c8d-9e0f-1a2b3c4d5e6f"


def one(mail: bytes) -> ProviderEvent:
    (event,) = read(mail)
    return event


@pytest.mark.parametrize(
    ("action", "status", "diagnostic", "kind", "permanent"),
    [
        ("failed", "5.1.1", "smtp; 550 5.1.1 unknown", "bounced", True),
        ("failed", "5.2.2", "smtp; 552 5.2.2 mailbox full", "bounced", False),
        ("failed", "5.7.1", "smtp; 554 5.7.1 spam", "bounced", False),
        ("failed", "4.4.7", "smtp; 451 timeout", "bounced", False),
        ("failed", "5.4.4", "X-Postfix; Host or domain name not found", "bounced", True),
        ("failed", "5.0.0", "smtp; 550 unknown user", "bounced", True),
        ("failed", "5.0.0", "smtp; 552 5.2.2 full", "bounced", False),
        ("failed", "5.0.0", "", "bounced", True),
        ("delayed", "4.4.1", "smtp; timeout", "deferred", False),
        ("delivered", "2.0.0", "smtp; 250 ok", "delivered", False),
        ("relayed", "2.0.0", "smtp; 250 ok", "sent", False),
        ("unknown", "2.0.0", "", "other", False),
    ],
)
def test_a_delivery_report(
    action: str, status: str, diagnostic: str, kind: str, permanent: bool
) -> None:
    for headers_only in (False, True):
        event = one(dsn(OF, action, status, diagnostic, headers_only))
        assert (event.meaning.kind, event.meaning.permanent) == (kind, permanent)
        assert (event.recipient, event.rfc_message_id) == (OF.recipient, OF.rfc_message_id)
        assert (event.code, event.at) == (status, 1795856400.0)
    assert one(dsn(OF)).text == "550 5.1.1 unknown"


def test_our_own_id_in_the_returned_mail() -> None:
    assert one(dsn(OF._replace(ours=OURS))).message_id == OURS
    assert one(dsn(OF._replace(ours=OURS, rfc_message_id=""))).message_id == OURS


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("abuse", "complained"), ("fraud", "complained"), ("not-spam", "other"), ("x", "other")],
)
def test_a_feedback_report(kind: str, expected: str) -> None:
    event = one(feedback(OF, kind))
    assert (event.meaning.kind, event.code) == (expected, kind)
    assert (event.recipient, event.rfc_message_id) == (OF.recipient, OF.rfc_message_id)
    assert one(feedback(OF, names_recipient=False)).recipient == ""


def test_an_id_of_the_complaint_feedback_loop() -> None:
    mail = feedback(OF).replace(b"Subject: Boots", b"CFBL-Feedback-ID: shop:%s" % OURS.encode())
    assert one(mail).message_id == ""  # another sender's words
    named = b"CFBL-Feedback-ID: %s" % OURS.encode()
    assert one(feedback(OF).replace(b"Subject: Boots", named)).message_id == OURS


def test_an_automatic_reply() -> None:
    event = one(reply(OF))
    assert (event.meaning.kind, event.recipient) == ("autoresponded", OF.recipient)
    assert event.rfc_message_id == OF.rfc_message_id
    assert read(reply(OF, "no")) == []


def test_a_report_is_no_automatic_reply() -> None:
    """Postfix and Exim mark their reports with the same Auto-Submitted as a mailbox its reply."""
    marked = worded(OF).replace(b"Subject:", b"Auto-Submitted: auto-replied\r\nSubject:", 1)
    assert [event.meaning.kind for event in read(marked)] == ["bounced"]
    cut = dsn(OF).partition(b"--b\r\nContent-Type: message/delivery-status")[0]
    assert read(cut + b"--b--\r\n", OURS) == []


def test_a_report_in_words() -> None:
    event = one(worded(OF))
    assert (event.meaning.kind, event.meaning.permanent) == ("bounced", True)
    assert (event.recipient, event.code) == (OF.recipient, "5.1.1")
    assert event.rfc_message_id == OF.rfc_message_id
    # Words of a person, who is no mail system, are no report.
    assert read(worded(OF).replace(b"MAILER-DAEMON@", b"bob@")) == []
    assert read(worded(OF).replace(b"Return-Path: <>", b"Return-Path: <bob@mta.example>")) == []


def test_the_return_path_names_the_message() -> None:
    """It decides, whatever the report says, and then nothing else has to name the message."""
    nameless = Returned("", OF.recipient)
    for mail in (dsn(nameless), feedback(nameless), worded(nameless), dsn(OF)):
        (event,) = read(mail, OURS)
        assert event.message_id == OURS and event.meaning.kind in ("bounced", "complained")
        if mail != dsn(OF):
            assert read(mail) == []
    (event,) = read(reply(nameless).replace(b"In-Reply-To: <>\r\n", b""), OURS)
    assert (event.message_id, event.meaning.kind) == (OURS, "autoresponded")
    # A mail system has no name of its own there, but also no return path.
    local = worded(nameless).replace(b"MAILER-DAEMON@", b"postverwalter@")
    assert [event.code for event in read(local, OURS)] == ["5.1.1"]
    for path in (b"", b"Return-Path: <bob@mta.example>\r\n"):
        assert read(local.replace(b"Return-Path: <>\r\n", path), OURS) == []


def test_words_are_looked_for_at_the_beginning_only() -> None:
    """flufl.bounce would take half a minute for 5 MB of lines."""
    late = worded(OF).replace(b"Hi. This", b"x\r\n" * MAX_WORDED_BYTES + b"Hi. This")
    assert read(late) == []
    early = worded(OF).replace(b"<p>Boots</p>", b"x\r\n" * MAX_WORDED_BYTES)
    assert [event.code for event in read(early)] == ["5.1.1"]
    after = dsn(OF).replace(b"I'm sorry.", b"x\r\n" * MAX_NAMED_BYTES)
    assert len(read(after)) == 1 and read(after, OURS) == []


def test_a_hostile_mail_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    for sender in (b" " * 1000, b"<" * 100_000, b"a@b.example " * 1000):
        read(worded(OF).replace(b"From: MAILER-DAEMON@mta.example", b"From:" + sender), OURS)
    assert caplog.records == []


def test_the_same_mail_has_the_same_ids() -> None:
    assert read(dsn(OF)) == read(dsn(OF))
    other = dsn(OF._replace(recipient="bob@example.com"))
    assert one(dsn(OF)).id != one(other).id


def test_a_report_that_names_no_mail_is_none() -> None:
    nameless = Returned("", OF.recipient)
    assert read(dsn(nameless)) == read(feedback(nameless)) == []


WHOLE = dsn(OF)
MALFORMED = {
    "nothing": b"",
    "no header": b"\r\n\r\n",
    "only a header": WHOLE.split(b"\r\n\r\n")[0],
    "no boundary": WHOLE.replace(b'boundary="b"', b""),
    "another boundary": WHOLE.replace(b'boundary="b"', b'boundary="c"'),
    "no end": WHOLE[: WHOLE.index(b"Action")],
    "no action": WHOLE.replace(b"Action: failed\r\n", b""),
    "no recipient": WHOLE.replace(b"Final-Recipient", b"Final"),
    "an empty recipient": WHOLE.replace(b"rfc822; ann@example.com", b"rfc822;"),
    "no groups": WHOLE.replace(b"Reporting-MTA: dns; mta.example\r\n", b"\r\n" * 50),
    "a status as base64": WHOLE.replace(
        b"message/delivery-status\r\n",
        b"message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n",
    ),
    "an unknown charset": WHOLE.replace(b"text/plain", b'text/plain; charset="x\xff"'),
    "NUL bytes": WHOLE.replace(b"failed", b"fai\0led"),
    "bytes that are no text": WHOLE.replace(b"Boots", b"\xff\xfe\x80" * 100),
    "a date that is none": WHOLE.replace(b"Sat, 28 Nov 2026", b"Someday, 99 Foo 99999"),
    "a long line": WHOLE.replace(b"I'm sorry.", b"x" * 1_000_000),
    "many parts": WHOLE.replace(
        b"I'm sorry.", b"\r\n".join([b"x\r\n--b\r\nContent-Type: text/plain\r\n"] * 2000)
    ),
    "many groups": WHOLE.replace(
        b"Diagnostic-Code", b"\r\nFinal-Recipient: rfc822; a@b\r\nAction: failed\r\n\r\n" * 3000
    ),
    "deep nesting": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(3000)
    ),
    "mails in mails": b"Content-Type: message/rfc822\r\n\r\n" * 3000,
    "a huge field": b"Subject: " + b"x" * 2_000_000 + b"\r\n" + WHOLE,
    "half of it": WHOLE[: len(WHOLE) // 2],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_report_is_read_or_ignored(name: str) -> None:
    assert len(MALFORMED) >= 20
    assert {event.message_id for event in read(MALFORMED[name], OURS)} <= {OURS}
    events = read(MALFORMED[name])
    assert len(events) <= 101
    for event in events:
        assert event.rfc_message_id == OF.rfc_message_id
        assert abs(event.at - time.time()) < 86_400 * 365


@settings(max_examples=300)
@given(st.data())
def test_any_bytes_changed_are_read_or_ignored(data: st.DataObject) -> None:
    mail = bytearray(data.draw(st.sampled_from([dsn(OF), feedback(OF), reply(OF)])))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(mail) - 1))
        mail[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not mail:
            return
    for event in read(bytes(mail)):
        assert event.rfc_message_id or event.message_id
    for event in read(b"Return-Path: <>\r\n" + bytes(mail), OURS):
        assert event.message_id == OURS


def test_bounds_are_those_of_a_mail() -> None:
    assert MAX_PARTS < 1000 and MAX_BYTES < 10_000_000


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("nodemailer_mailparser__test_fixtures_delivery-status.eml", [("bounced", "5.1.1")]),
        ("mailgun_flanker__tests_fixtures_messages_bounce_zed.eml", [("bounced", "5.1.1")]),
        ("mailgun_flanker__tests_fixtures_messages_bounce_office365.eml", [("bounced", "5.1.10")]),
        (
            "mailgun_flanker__tests_fixtures_messages_bounce_mailbox-full.eml",
            [("bounced", "5.2.2")],
        ),
        ("mailgun_flanker__tests_fixtures_messages_bounce_no-mx.eml", [("deferred", "4.4.4")]),
        ("mailgun_flanker__tests_fixtures_messages_complaints_aol.eml", [("complained", "abuse")]),
        (
            "mailgun_flanker__tests_fixtures_messages_complaints_yahoo.eml",
            [("complained", "abuse")],
        ),
        (
            "jstedfast_MimeKit__UnitTests_TestData_messages_feedback-report.txt",
            [("complained", "abuse")],
        ),
        (
            "mailgun_flanker__tests_fixtures_messages_bounce_gmail-invalid-address.eml",
            [("bounced", "5.1.0")],
        ),
        (
            "mikel_mail__spec_fixtures_emails_multipart_report_emails_multi_address_bounce1.eml",
            [("bounced", "5.1.1")] * 5,
        ),
    ],
)
def test_reports_of_real_servers(shared: Path, file: str, expected: list[tuple[str, str]]) -> None:
    events = read((shared / "mime" / file).read_bytes())
    assert [(event.meaning.kind, event.code) for event in events] == expected


def test_no_other_real_mail_is_a_report(shared: Path) -> None:
    words = ("bounce", "delivery-status", "report", "complaints", "mimepart_without_con")
    others = [
        path
        for path in sorted((shared / "mime").iterdir())
        if not any(word in path.name for word in words)
    ]
    assert len(others) > 100
    assert [path.name for path in others if read(path.read_bytes())] == []


def test_a_forged_report_suppresses_nobody(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage)
    victim, other = sent(mailing, 51, rfc_message_id="a@shop"), sent(mailing, 52)
    mailing.load(encode(victim), encode(other))
    made_up: dict[str, Any] = {
        "rfc_message_id": f"made.up.{mailing.key}@shop",
        "provider": PROVIDER,
    }
    theirs: dict[str, Any] = {"rfc_message_id": f"a{mailing.key}@shop", "provider": PROVIDER}
    mailing.load(outcome("bounced", recipient=51, permanent=True, **made_up))
    mailing.load(outcome("complained", recipient=52, **theirs))
    assert Suppressions(mailing.state).of(51) == Suppressions(mailing.state).of(52) == set()
    mailing.load(encode(sent(mailing, 53, rfc_message_id=f"a{mailing.key}@shop")))
    mailing.load(outcome("bounced", recipient=53, permanent=True, **theirs))
    assert Suppressions(mailing.state).of(53) == {ALL}
