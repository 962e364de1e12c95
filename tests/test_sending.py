"""What mailers do: dry runs, whole messages, templates, streams, and the client for all of it."""

import base64
import json
import re
from collections.abc import Iterator

import pytest

from app.client import Mailwake, MailwakeError
from app.schemas import LineError, MessageOut, TokenOut
from tests.service import Service, paths, tracked_urls

HTML = (
    '<body><a href="https://example.com/?a=1&amp;b=2">One</a> <a href="mailto:a@example.com">M</a>'
    "</body>"
)


@pytest.fixture
def mailwake(service: Service) -> Iterator[Mailwake]:
    with Mailwake(service.url, service.api_key) as client:
        yield client


def test_a_dry_run_answers_and_records_nothing(service: Service, mailwake: Mailwake) -> None:
    answer = mailwake.rewrite("dry", "a@example.com", HTML, dry_run=True)
    assert [(link.tracked, link.reason) for link in answer.links] == [
        (True, None),
        (False, "other_scheme"),
    ]
    assert tracked_urls(answer.html)
    service.drained()
    assert service.client.get("/v1/newsletters/dry").status_code == 404


def test_the_client_names_the_field(mailwake: Mailwake) -> None:
    with pytest.raises(MailwakeError) as caught:
        mailwake.rewrite("", "a@example.com", HTML)
    assert (caught.value.problem.status, caught.value.problem.field) == (422, "newsletter.id")


MESSAGE = b"""\
From: Shop <shop@example.com>\r
To: Ann <ann@example.com>\r
X-Mailwake-Newsletter: whole\r
X-Mailwake-Name: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
X-Mailwake-Tags: a, b\r
Subject: folded\r
 subject\r
MIME-Version: 1.0\r
Content-Type: multipart/alternative; boundary="b"\r
\r
--b\r
Content-Type: text/plain; charset=utf-8\r
\r
https://example.com/plain\r
--b\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
<p>Gr=C3=BC=C3=9Fe</p>\r
<a href=3D"https://example.com/">x</a>\r
--b--\r
"""


def test_a_whole_message_comes_back_with_its_leaves_rewritten(
    service: Service, mailwake: Mailwake
) -> None:
    new = mailwake.rewrite_mime(MESSAGE)
    head, _, body = new.partition(b"\r\n\r\n")
    assert b"x-mailwake" not in head.lower()
    assert b"Subject: folded\r\n subject\r\n" in head
    assert b"https://example.com/plain" in body
    assert b"<p>Gr=C3=BC=C3=9Fe</p>\r\n" in body
    html = re.sub(rb"=\r\n", b"", body).replace(b"=3D", b"=").decode()
    click, pixel = sorted(paths(tracked_urls(html)))
    assert service.client.get(click).headers["location"] == "https://example.com/"
    service.client.get(pixel)
    service.drained()
    found = service.get("/v1/newsletters/whole")
    assert (found["name"], found["tags"], found["messages"]) == ("Gr\u00fc\u00dfe", ["a", "b"], 1)
    assert service.stats("whole")["clicks"]["all"]["total"] == 1


def test_a_whole_message_gets_unsubscribe_fields_when_it_asks(mailwake: Mailwake) -> None:
    new = mailwake.rewrite_mime(b"X-Mailwake-Unsubscribe: add\r\n" + MESSAGE)
    assert new.startswith(b"List-Unsubscribe: <http")
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFrom: Shop" in new


def test_a_dry_run_of_a_whole_message_reports(service: Service) -> None:
    report = service.client.post("/v1/rewrite/mime?dry_run=1", content=MESSAGE).json()
    assert [(link["url"], link["tracked"]) for link in report["links"]] == [
        ("https://example.com/", True)
    ]
    assert "List-Unsubscribe" in report["headers"]


def test_tracking_that_is_off_leaves_a_whole_message_as_it_is(mailwake: Mailwake) -> None:
    new = mailwake.rewrite_mime(b"X-Mailwake-Track: off\r\n" + MESSAGE)
    plain = re.sub(rb"(?m)^X-Mailwake-.*\r\n", b"", MESSAGE)
    assert new == plain


def test_text_links_are_tracked_when_asked_for(mailwake: Mailwake) -> None:
    new = mailwake.rewrite_mime(b"X-Mailwake-Track: text\r\n" + MESSAGE)
    assert b"https://example.com/plain" not in new
    assert b"/o/" not in new


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (b"To: a@example.com\r\n\r\n", "X-Mailwake-Newsletter"),
        (b"X-Mailwake-Newsletter: n\r\n\r\n", "X-Mailwake-Recipient"),
        (b"X-Mailwake-Newsletter: ..\r\nTo: a@example.com\r\n\r\n", "X-Mailwake-Newsletter"),
        (b"X-Mailwake-Newsletter: n\r\nX-Mailwake-Track: all\r\n\r\n", "X-Mailwake-Track"),
    ],
)
def test_a_wrong_field_of_a_whole_message_is_named(
    service: Service, message: bytes, field: str
) -> None:
    answer = service.client.post("/v1/rewrite/mime", content=message)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_what_is_left_alone_is_noted_in_the_answer(service: Service) -> None:
    pgp = b"<p>-----BEGIN PGP MESSAGE-----</p>"
    html, encoded = b"Content-Type: text/html\r\n", b"Content-Transfer-Encoding: base64\r\n"
    message = (
        b"X-Mailwake-Newsletter: noted\r\nTo: a@example.com\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\n" + html + encoded + b"\r\n" + base64.b64encode(pgp) + b"\r\n"
        b"--b\r\n" + html + encoded + b"\r\n\xfc=!\r\n"
        b"--b\r\nContent-Type: multipart/signed; boundary=c\r\n\r\n--c--\r\n"
        b"--b\r\nContent-Type: text/html; charset=x-never\r\n\r\n<p>x</p>\r\n--b--\r\n"
    )
    answer = service.client.post("/v1/rewrite/mime", content=message)
    assert answer.status_code == 200 and b"/o/" in answer.content
    notes = json.loads(answer.headers["x-mailwake-notes"])
    text = "\n".join(notes)
    assert "x-never" in text
    assert "it holds a PGP block" in text and "multipart/signed was left alone" in text
    assert "its base64 breaks off at byte 0" in text
    report = service.client.post("/v1/rewrite/mime?dry_run=1", content=message).json()
    assert report["notes"] == notes
    plain = service.client.post("/v1/rewrite/mime", content=MESSAGE)
    assert "x-mailwake-notes" not in plain.headers


def test_notes_fit_into_a_header_field(service: Service) -> None:
    part = b"--b\r\nContent-Type: multipart/signed; boundary=c\r\n\r\n\r\n"
    head = b"X-Mailwake-Newsletter: noted\r\nTo: a@example.com\r\n"
    message = head + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 500 + b"--b--"
    answer = service.client.post("/v1/rewrite/mime", content=message)
    written = answer.headers["x-mailwake-notes"]
    notes = json.loads(written)
    assert len(written) < 5_000 and notes[-1] == f"{500 - len(notes) + 1} more"


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"To: " + b"(" * 5_000, 422),
        (b"To: a@example.com\r\nX-Other: " + b"=?utf-8?q?a?= " * 20_000, 200),
        (b"To: a@example.com\r\nX-Mailwake-Name: " + b"=?utf-8?q?a?= " * 20_000, 422),
        (b"To: a@example.com, " + b"=?utf-8?q?a?= <b@example.com>, " * 9_000, 200),
        (b"To: a@example.com\r\n" + b"X-Other: a\r\n" * 10_001, 422),
        (b"To: a@example.com\r\nX-Mailwake-Track: " + b"x" * 100_000, 422),
        (b"To: a@example.com\r\nContent-Type: text/html" + b"; a=b" * 50_000, 200),
    ],
)
def test_no_header_is_too_much(service: Service, field: bytes, status: int) -> None:
    message = b"X-Mailwake-Newsletter: nasty\r\n" + field + b"\r\n\r\n<p>x</p>"
    answer = service.client.post("/v1/rewrite/mime", content=message)
    assert answer.status_code == status, answer.text[:500]
    if status == 422:
        assert answer.json()["field"] and len(answer.text) < 1_000


def test_a_template_makes_messages_that_count(service: Service, mailwake: Mailwake) -> None:
    kept = mailwake.keep_template("many/1", HTML, name="Many", text="Hi")
    assert [link.tracked for link in kept.links] == [True, False]
    assert kept.html is None
    made = list(mailwake.messages("many/1", (f"{n}@example.com" for n in range(250))))
    assert len({mail.message_id for mail in made if isinstance(mail, MessageOut)}) == 250
    first = made[0]
    assert isinstance(first, MessageOut)
    assert (first.recipient, first.text) == ("0@example.com", "Hi")
    assert first.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for path in paths(tracked_urls(first.html)):
        service.client.get(path)
    service.drained()
    stats = service.stats("many/1")
    assert stats["messages"] == 250
    assert stats["opens"]["all"]["unique"] == stats["clicks"]["all"]["unique"] == 1


def test_a_mailer_may_merge_the_token_itself(service: Service, mailwake: Mailwake) -> None:
    kept = mailwake.keep_template("merged", HTML, placeholder="[[token]]")
    assert kept.html is not None and kept.html.count("[[token]]") == 2
    (made,) = mailwake.messages("merged", ["a@example.com"], "token")
    assert isinstance(made, TokenOut)
    for path in paths(tracked_urls(kept.html.replace("[[token]]", made.token))):
        service.client.get(path)
    service.drained()
    assert service.stats("merged")["clicks"]["all"]["total"] == 1


def test_a_bad_line_gets_an_error_with_its_number_and_the_rest_goes_on(
    service: Service, mailwake: Mailwake
) -> None:
    mailwake.keep_template("lines", HTML)
    lines = [
        b'{"recipient": "a@example.com"}',
        b"not json",
        b"",
        b'{"recipient": 5}',
        b'{"recipient": "b@example.com"}',
        b'{"recipient": "' + b"x" * 70_000 + b'"}',
        b'{"recipient": "c@example.com"}',
    ]
    answer = service.client.post(
        "/v1/newsletters/lines/messages?return=token", content=b"\n".join(lines)
    )
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    out = [json.loads(line) for line in answer.text.splitlines()]
    assert [item.get("recipient", item.get("line")) for item in out] == [
        "a@example.com", 2, 4, "b@example.com", 6, "c@example.com",
    ]  # fmt: skip
    assert out[2]["field"] == "recipient"
    assert out[4]["status"] == 413
    service.drained()
    assert service.get("/v1/newsletters/lines")["messages"] == 3


def test_a_newsletter_without_template_is_not_found(mailwake: Mailwake) -> None:
    with pytest.raises(MailwakeError) as caught:
        list(mailwake.messages("no-template", ["a@example.com"]))
    assert caught.value.problem.status == 404


def test_a_long_stream_is_answered_to_a_client_that_reads_last(
    service: Service, mailwake: Mailwake
) -> None:
    mailwake.keep_template("long", HTML)
    count = 60_000
    seen = 0
    for made in mailwake.messages("long", (f"{n}@example.com" for n in range(count)), "token"):
        assert not isinstance(made, LineError)
        seen += 1
    assert seen == count
    service.drained()
    assert service.get("/v1/newsletters/long")["messages"] == count
    assert [
        p.name
        for p in (service.data_dir / "templates").iterdir()
        if p.suffix not in (".json", ".sample")
    ] == []
