"""What mailers do: dry runs, whole messages, templates, streams, and the client for all of it."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailwake_client import LineError, Mailwake, MailwakeError, MessageOut, TokenOut
from tests.support.paths import ROOT
from tests.support.service import Service, paths, tracked_urls

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
    # Nothing that was not recorded may lead anywhere.
    link, pixel = paths(tracked_urls(answer.html))
    before = service.client.get("/metrics").text
    assert service.client.get(link).status_code == 404
    assert service.client.get(pixel).status_code == 200
    unsubscribe = answer.headers["List-Unsubscribe"].strip("<>")
    assert service.client.get(unsubscribe).status_code == 404
    assert _hits(service.client.get("/metrics").text) == _hits(before)
    service.drained()
    assert service.client.get("/v1/newsletters/dry").status_code == 404


def _hits(metrics: str) -> list[str]:
    return re.findall(r"(?m)^mailwake_hits_total.*$", metrics)


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
    unsubscribe = report["headers"]["List-Unsubscribe"].strip("<>")
    assert service.client.get(unsubscribe).status_code == 404


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
    assert "it contains a PGP block" in text and "multipart/signed was left unchanged" in text
    assert "its base64 is truncated at byte 0" in text
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
        "a@example.com",
        2,
        4,
        "b@example.com",
        6,
        "c@example.com",
    ]
    assert out[2]["field"] == "recipient"
    assert out[4]["status"] == 413
    service.drained()
    assert service.get("/v1/newsletters/lines")["messages"] == 3


def test_a_newsletter_without_template_is_not_found(mailwake: Mailwake) -> None:
    with pytest.raises(MailwakeError) as caught:
        list(mailwake.messages("no-template", ["a@example.com"]))
    assert caught.value.problem.status == 404


def test_errors_are_counted_over_all_batches_of_a_client(mailwake: Mailwake) -> None:
    mailwake.keep_template("batches", HTML)
    lines = [f"{n}@example.com" if n % 1_000 else "" for n in range(1, 5_001)]
    errors = [
        made.line
        for made in mailwake.messages("batches", lines, "token")
        if isinstance(made, LineError)
    ]
    assert errors == [1_000, 2_000, 3_000, 4_000, 5_000]
    assert list(mailwake.messages("batches", [])) == []


def test_messages_beyond_the_quota_reach_a_client_that_reads_last(tmp_path: Path) -> None:
    """The client sends them in batches, each of which is taken whole."""
    with Service(tmp_path / "data", MAILWAKE_QUOTA_DISK_MB="10") as small:
        with Mailwake(small.url, small.api_key) as client:
            client.keep_template("large", "<p>" + "x" * 100_000)
            recipients = (f"{n}@{'a' * 300}.example" for n in range(500))
            sizes = [
                len(made.html)
                for made in client.messages("large", recipients)
                if not isinstance(made, LineError)
            ]
        assert len(sizes) == 500 and sum(sizes) > 50_000_000


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


PERSONAL = (
    '<body><p title="{{name}}">Dear {{ name }}</p>'
    '<a href="https://example.com/parcel/{{parcel}}?e={{mail}}">Parcel</a>'
    '<a href="{{site}}">Site</a><a href="https://example.com/{{mail}}">Unsubscribe</a></body>'
)


def test_values_make_personal_links_that_count(service: Service, mailwake: Mailwake) -> None:
    kept = mailwake.keep_template(
        "personal",
        PERSONAL,
        text="Dear *|name|*: https://example.com/{{parcel}}",
        tracking={"text": True},
    )
    assert kept.fields == ["mail", "name", "parcel", "site"]
    assert [link.reason for link in kept.links] == ["placeholder"] * 3
    recipients = [
        {
            "recipient": f"{n}@example.com",
            "values": {
                "name": f"Ann <{n}>",
                "parcel": f"{n}/b",
                "mail": f"{n}@example.com",
                "site": "https://example.org/a?b=c d" if n else "javascript:alert(1)",
            },
        }
        for n in range(3)
    ]
    made = list(mailwake.messages("personal", recipients))
    for n, mail in enumerate(made):
        assert isinstance(mail, MessageOut)
        assert f'title="Ann &lt;{n}&gt;">Dear Ann &lt;{n}&gt;</p>' in mail.html
        assert f'href="https://example.com/{n}%40example.com">Unsubscribe' in mail.html
        clicks = [path for path in paths(tracked_urls(mail.html)) if path.startswith("/c/")]
        locations = [service.client.get(path).headers["location"] for path in clicks]
        assert locations == [
            f"https://example.com/parcel/{n}%2Fb?e={n}%40example.com",
            *(["https://example.org/a?b=c%20d"] if n else []),
        ]
        assert ("javascript%3Aalert" in mail.html) == (n == 0)
        assert mail.text is not None and mail.text.startswith(f"Dear Ann <{n}>: http")
        (click,) = paths(tracked_urls(mail.text))
        assert service.client.get(click).headers["location"] == f"https://example.com/{n}%2Fb"
    service.drained()
    assert service.stats("personal")["clicks"]["all"]["total"] == 8
    links = service.get("/v1/newsletters/personal/links")["links"]
    counted = {link["url"]: (link["carried"], link["all"]["total"]) for link in links}
    assert counted.pop("https://example.org/a?b=c%20d") == (2, 2)
    assert sum(total for _, total in counted.values()) == 6
    assert "https://example.com/parcel/...%2Fb?e=..." in counted


def test_a_line_without_a_value_is_an_error_that_names_it_and_records_nothing(
    service: Service, mailwake: Mailwake
) -> None:
    mailwake.keep_template("holes", PERSONAL)
    full = {"name": "", "parcel": "1", "mail": "a@example.com", "site": None}
    lines: list[dict[str, object]] = [
        {"recipient": "a@example.com", "values": full},
        {"recipient": "b@example.com", "values": {"name": "Bob"}},
        {"recipient": "c@example.com", "values": {**full, "name": "\x07"}},
        {"recipient": "d@example.com", "values": {str(n): "" for n in range(101)}},
        {"recipient": "e@example.com", "values": {f"a{n}": "" for n in range(101)}},
        {"recipient": "f@example.com", "values": {**full, "name": "x" * 4_001}},
        {"recipient": "g@example.com"},
    ]
    made = list(mailwake.messages("holes", lines))
    assert [mail.line if isinstance(mail, LineError) else mail.recipient for mail in made] == [
        "a@example.com",
        2,
        3,
        4,
        5,
        6,
        "g@example.com",
    ]
    assert isinstance(made[1], LineError) and (made[1].status, made[1].field) == (
        422,
        "values.mail",
    )
    fields = [mail.field for mail in made if isinstance(mail, LineError)]
    assert fields == ["values.mail", "values[...]", "values", "values", "values[...]"]
    left, without = made[0], made[-1]
    assert isinstance(left, MessageOut) and 'href="{{site}}"' in left.html
    assert isinstance(without, MessageOut) and "Dear {{ name }}" in without.html
    (refused,) = mailwake.messages("holes", lines[:1], "token")
    assert isinstance(refused, LineError) and refused.field == "values"
    service.drained()
    assert service.get("/v1/newsletters/holes")["messages"] == 2


def test_a_message_with_values(service: Service, mailwake: Mailwake) -> None:
    values = {
        "name": "Ann",
        "parcel": "1",
        "mail": "ann@example.com",
        "site": "https://example.org",
    }
    answer = mailwake.rewrite(
        "one", "ann@example.com", PERSONAL, text="Dear {{name}}", values=values
    )
    assert [(link.url, link.reason) for link in answer.links] == [
        ("https://example.com/parcel/1?e=ann%40example.com", None),
        ("https://example.org", None),
        ("https://example.com/ann%40example.com", "unsubscribe"),
    ]
    assert answer.text == "Dear Ann"
    text = mailwake.rewrite(
        "one", "ann@example.com", PERSONAL, text="https://example.com/[ID]", values=values
    )
    assert text.text == "https://example.com/[ID]"
    assert text.notes == ["text: suspected placeholder '[ID]' at byte 20: the link is not tracked"]
    with pytest.raises(MailwakeError) as caught:
        mailwake.rewrite("one", "ann@example.com", PERSONAL, values={"name": "Ann"})
    assert (caught.value.problem.status, caught.value.problem.field) == (422, "values.mail")
    plain = mailwake.rewrite("one", "ann@example.com", PERSONAL)
    assert "Dear {{ name }}" in plain.html
    assert any("{{" in note and "at byte" in note for note in plain.notes)


LARGE = (
    '<html><body><div style="display:none">Preview</div>'
    + '<a href="http://example.com/1">Boots</a><a href="https://example.com/2">Boots</a>'
    + '<a href="https://bank.example/">https://bank.example/</a>'
    + f"<p>{'x' * 101_500}</p></body></html>"
)


def test_notes_of_a_second_reader_in_every_answer(service: Service, mailwake: Mailwake) -> None:
    expected = ["Gmail clips", "phishing", "http, not https", "'Boots' has 2 targets"]
    message = MESSAGE.replace(b"quoted-printable", b"8bit").replace(
        b'<a href=3D"https://example.com/">x</a>', LARGE.encode()
    )
    report = service.client.post("/v1/rewrite/mime?dry_run=1", content=message).json()
    for notes in (
        mailwake.rewrite("notes", "a@example.com", LARGE).notes,
        mailwake.rewrite("notes", "a@example.com", LARGE, dry_run=True).notes,
        mailwake.keep_template("notes", LARGE).notes,
        report["notes"],
    ):
        found = [note for part in expected for note in notes if part in note]
        assert len(found) == 4, notes


def test_where_the_pixel_goes_and_what_becomes_of_urls_as_text(
    service: Service, mailwake: Mailwake
) -> None:
    top = mailwake.rewrite("top", "a@example.com", LARGE, pixel="top", url_text="leave")
    assert re.search(r"</div><img src=\"[^\"]*/o/[^>]*><a href", top.html)
    assert [link.reason for link in top.links] == [None, None, "url_text"]
    assert not any("phishing" in note or "tracking.pixel" in note for note in top.notes)
    message = MESSAGE.replace(
        b'3D"https://example.com/">x<', b'3D"https://example.com/">example.com<'
    )
    answer = service.client.post(
        "/v1/rewrite/mime?dry_run=1",
        content=b"X-Mailwake-Track: opens clicks url_text=leave pixel=top\r\n" + message,
    )
    assert [link["reason"] for link in answer.json()["links"]] == ["url_text"]


def test_each_variants_template_has_its_own_merge_fields(mailwake: Mailwake) -> None:
    for name in ("A", "B"):
        kept = mailwake.keep_template("fields-of-variants", f"<p>{{{{{name}}}}}</p>", variant=name)
        assert (kept.variant, kept.fields) == (name, [name])
    lines = [
        {"recipient": "a@example.com", "variant": "A", "values": {"A": "for a"}},
        {"recipient": "b@example.com", "variant": "B", "values": {"A": "for a"}},
        {"recipient": "c@example.com", "variant": "B", "values": {"B": "for b"}},
    ]
    first, second, third = mailwake.messages("fields-of-variants", lines)
    assert isinstance(first, MessageOut) and first.html.startswith("<p>for a</p>")
    assert isinstance(second, LineError) and second.field == "values.B"
    assert isinstance(third, MessageOut) and third.html.startswith("<p>for b</p>")


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("newsletter.id", {"newsletter": {"id": "lines\n"}}),
        ("newsletter.name", {"newsletter": {"id": "lines", "name": "A\n"}}),
        ("newsletter.tags[0]", {"newsletter": {"id": "lines", "tags": ["a\n"]}}),
        (
            "newsletter.link_families[0]",
            {"newsletter": {"id": "lines", "link_families": ["/a/*\n"]}},
        ),
        ("recipient", {"recipient": "a@example.com\n"}),
        ("variant", {"variant": "A\n"}),
        ("utm", {"utm": {"source\n": "x"}}),
        ("utm[...]", {"utm": {"source": "x\n"}}),
    ],
)
def test_a_line_end_at_the_end_is_no_part_of_a_name(
    service: Service, field: str, body: dict[str, Any]
) -> None:
    """Python's $ also matches before a line end that ends the text."""
    whole = {"newsletter": {"id": "lines"}, "recipient": "a@example.com", "html": "<p>", **body}
    answer = service.client.post("/v1/rewrite", json=whole)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_no_pattern_of_the_api_lets_a_line_end_through() -> None:
    for path in (ROOT / "app").rglob("*.py"):
        for pattern in re.findall(r'pattern=r?"([^"]*)"', path.read_text()):
            text = r"\x0b\x0c" in pattern  # several lines are meant there
            assert text or not pattern.endswith("$"), f"{path.name}: {pattern}"
