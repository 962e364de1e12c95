"""The SMTP gateway between a real client and a real smarthost."""

import json
import re
import signal
import smtplib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.demo import agents
from app.smtp.copies import REASONS
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import Service, free_port, paths, tracked_urls
from tests.support.smtp_gateway import (
    LINK,
    PIXEL,
    GatewayProcess,
    gateway,
    mail,
    said,
    without_trace,
)
from tests.support.smtp_server import Inbox, inbox

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
OURS = (
    "X-Mailwake-Newsletter: spring",
    "X-Mailwake-Name: Spring sale",
    "X-Mailwake-Tags: sale, shoes",
)


@pytest.fixture(scope="module")
def box() -> Iterator[Inbox]:
    with inbox() as found:
        yield found


@pytest.fixture(scope="module")
def between(box: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway") / "data"
    with gateway(folder, f"smtp://127.0.0.1:{box.port}") as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    if "box" in request.fixturenames:
        box: Inbox = request.getfixturevalue("box")
        for kept in (box.mails, box.raw, box.envelopes, box.refused, box.answers_to, box.answers):
            kept.clear()
        box.open.set()


def test_a_mail_is_tracked_relayed_and_counted(tmp_path: Path) -> None:
    port = free_port()
    with inbox() as box:
        env = {
            "MAILWAKE_SMTP": "1",
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
            "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}",
        }
        with Service(tmp_path / "data", **env) as service:
            sent = mail('<body><a href="https://example.com/a?b=1&amp;c">A</a></body>', *OURS)
            with smtplib.SMTP("127.0.0.1", port) as client:
                assert client.sendmail("shop@shop.example", ["ann@example.com"], sent) == {}
            got = without_trace(box.to("ann@example.com"))
            assert b"X-Mailwake" not in got and got.startswith(b"From: Shop")
            assert b'">A</a><img ' in got
            for path in paths(tracked_urls(got.decode())):
                answer = service.client.get(
                    path, headers={"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
                )
                assert answer.status_code in (200, 302)
            assert answer.status_code == 200 or answer.headers["location"]
            service.drained()
            stats = service.stats("spring")
            assert stats["messages"] == 1
            assert stats["opens"]["all"]["unique"] == stats["clicks"]["all"]["unique"] == 1
            named = service.get("/v1/newsletters/spring")
            assert (named["name"], named["tags"]) == ("Spring sale", ["sale", "shoes"])
            found = service.get("/v1/recipients/ann@example.com")
            assert (found["messages"], found["clicked"]) == (1, 1)
            metrics = service.client.get("/metrics").text
            assert 'mailwake_smtp_total{outcome="tracked"} 1.0' in metrics


def test_nothing_but_links_and_pixel_changes(between: GatewayProcess, box: Inbox) -> None:
    link_ = '<a href="https://example.com/a">A</a>'
    sent = mail(f"<body><p>.\r\n.dots\r\n</p>{link_}\t <p>Grüße</p></body>")
    answer = between.send(sent, "ann@example.com", sender="bounce+1@shop.example")
    named = re.fullmatch(rf"250 2\.0\.0 kept as 1 \(Mailwake ({UUID})\)", answer)
    assert named and named[1].replace("-", "").encode() in between.ledger()
    got = box.to("ann@example.com")
    trace, got = got[: len(got) - len(without_trace(got))], without_trace(got)
    assert re.fullmatch(
        rb"Received: from mailer\.example \(\[127\.0\.0\.1\]\)\r\n\tby click\.example \(Mailwake\)"
        rb" with ESMTP;\r\n\t.* [+-]\d{4}\r\n",
        trace,
    )
    (pixel,), (link,) = PIXEL.findall(got), LINK.findall(got)
    back = re.sub(rb"<img [^>]*" + re.escape(pixel) + rb"[^>]*>", b"", got)
    assert back.replace(link, b"https://example.com/a") == sent
    assert box.envelopes[0].mail_from == "bounce+1@shop.example"
    between_ledger = between.ledger()
    assert b'"id":"shop.example"' in between_ledger  # a stream named after the sender's domain


def test_no_address_is_logged(between: GatewayProcess, box: Inbox) -> None:
    with between.client() as client:
        client.ehlo()
        assert said(client, mail(), "logged@example.com").startswith("250")
        client.docmd("BOGUS logged@example.com")
        client.docmd("MAIL", "FROM:<logged@example.com> NONSENSE=1")
    assert "logged@" not in between.log.read_text()
    assert "@shop.example" not in between.log.read_text()


def test_bounces_have_no_sender(between: GatewayProcess, box: Inbox) -> None:
    assert between.send(mail(), sender="").startswith("250")
    assert box.envelopes[0].mail_from == "<>"


def test_each_recipient_gets_a_copy_of_its_own(between: GatewayProcess, box: Inbox) -> None:
    people = [f"p{n}@each.example" for n in range(3)]
    *named, last = between.send(mail(), *people).split("\n")
    assert last == "2.0.0 kept as 3"
    ids = [re.fullmatch(rf"(?:250 )?2\.0\.0 Mailwake ({UUID}) for (\S+)", line) for line in named]
    told = {one[2]: one[1].replace("-", "") for one in ids if one}
    lines = [json.loads(line) for line in between.ledger().splitlines()]
    sent = {one["address"]: one["message"] for one in lines if one["record"] == "message"}
    assert told == {one: sent[one] for one in people}
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [[one] for one in people]
    assert len({PIXEL.findall(raw)[0] for raw in box.raw}) == 3
    assert all(one.encode() in between.ledger() for one in people)


def test_what_the_mailer_knows_a_mail_by(between: GatewayProcess, box: Inbox) -> None:
    own = (
        "X-Mailwake-Meta-Order: A-1",
        "X-Mailwake-Meta-Campaign.Id: =?utf-8?q?Fr=C3=BChling?=",
        "Message-ID:\r\n <a.1@mailer.example>",
    )
    answer = between.send(mail("<body>Hello", *own), "own@data.example")
    got = without_trace(box.to("own@data.example"))
    assert b"X-Mailwake" not in got and b"Message-ID:\r\n <a.1@mailer.example>\r\n" in got
    assert b"A-1" not in b"".join(PIXEL.findall(got))
    lines = [json.loads(line) for line in between.ledger().splitlines()]
    (message,) = [one for one in lines if one.get("address") == "own@data.example"]
    assert message["metadata"] == {"order": "A-1", "campaign.id": "Frühling"}
    assert message["rfc_message_id"] == "a.1@mailer.example"
    assert message["message"] in answer.replace("-", "")


def test_copies_name_our_id_by_setting(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_SMTP_MESSAGE_ID="1") as running:
        forged = "X-Mailwake-Message-ID: forged"
        answer = running.send(mail("<body>Hello", forged), "a@id.example", "b@id.example")
        ids = [one["X-Mailwake-Message-ID"] for one in box.mails]
        assert len(set(ids)) == 2 and all(f"Mailwake {one} for" in answer for one in ids)
        assert b"forged" not in b"".join(box.raw)
        folded = b" within a field\r\n" + mail("<body>Hello", "X-Mailwake-Unsubscribe: add")
        assert running.send(folded, "d@id.example").startswith("250 2.0.0 kept as 3 (Mailwake ")
        assert box.raw[-1].startswith(b" within a field\r\n") and PIXEL.search(box.raw[-1])
        running.send(mail("<body>Hello", "X-Mailwake-Track: off"), "c@id.example")
        assert box.mails[-1]["X-Mailwake-Message-ID"] is None


def test_one_copy_for_all_by_setting(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_SMTP_COPIES="one") as running:
        answer = running.send(mail(), "a@one.example", "b@one.example")
        assert re.fullmatch(rf"250 2\.0\.0 kept as 1 \(Mailwake {UUID}\)", answer)
        assert box.envelopes[0].rcpt_tos == ["a@one.example", "b@one.example"]
        assert PIXEL.search(box.raw[0])
        assert running.send(mail(), "alone@one.example").startswith("250")
        ledger = running.ledger()
        assert b"a@one.example" not in ledger and b'"address":"(shared)"' in ledger
        assert b"alone@one.example" in ledger


def test_a_recipient_that_the_smarthost_refuses_is_refused(
    between: GatewayProcess, box: Inbox
) -> None:
    box.refused["no@example.com"] = "550 5.1.1 no such user here"
    assert between.send(mail(), "no@example.com") == "550 5.1.1 no such user here"
    with between.client() as client:
        refused = client.sendmail("s@shop.example", ["yes@example.com", "no@example.com"], mail())
    assert refused == {"no@example.com": (550, b"5.1.1 no such user here")}
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [["yes@example.com"]]


def test_copies_that_were_taken_do_not_go_out_again(between: GatewayProcess, box: Inbox) -> None:
    people = ["yes@mixed.example", "later@mixed.example", "also@mixed.example"]
    sent = mail("<body>Only once</body>")
    box.answers_to["later@mixed.example"] = "452 4.2.2 mailbox full"
    answer = between.send(sent, *people)
    assert answer == "452 4.2.2 mailbox full (2 of 3 copies were accepted)"
    ledger = between.ledger()
    assert b"yes@mixed.example" in ledger and b"later@mixed.example" not in ledger
    box.answers_to.clear()
    answer = between.send(sent, *people)
    assert answer.endswith("\n2.0.0 kept as 3")
    assert all(f" for {one}\n" in answer for one in people), "of copies that were taken before too"
    assert sorted(to for envelope in box.envelopes for to in envelope.rcpt_tos) == sorted(people)
    assert between.send(sent, *people[:1]).startswith("250 2.0.0 kept")  # a mail of its own
    assert len(box.raw) == 4


def test_who_has_unsubscribed_gets_nothing(box: Inbox, tmp_path: Path) -> None:
    port, smarthost = free_port(), f"smtp://127.0.0.1:{box.port}"
    env = {"MAILWAKE_SMTP": "1", "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}"}
    with Service(tmp_path / "data", MAILWAKE_SMARTHOST=smarthost, **env) as service:
        gone = {"recipient": "gone@example.com", "newsletter_id": "spring"}
        assert service.client.post("/v1/suppressions", json=gone).status_code == 200
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.ehlo()
            answer = said(client, mail(*("<p>x</p>", *OURS)), "gone@example.com")
            assert answer == "550 5.7.1 the recipient has unsubscribed, bounced or complained"
            answer = said(client, mail("<p>x</p>", *OURS), "gone@example.com", "here@example.com")
            assert re.fullmatch(
                rf"250 2\.0\.0 Mailwake {UUID} for here@example\.com\n2\.0\.0 kept as 1", answer
            )
            assert said(client, mail("<p>x</p>"), "gone@example.com").startswith("250")
            plain = b"X-Mailwake-Newsletter: spring\r\n\r\nplain\r\n"
            off = mail("<p>x</p>", *OURS, "X-Mailwake-Track: off")
            for untracked in (plain, off):
                assert said(client, untracked, "gone@example.com").startswith("550 5.7.1")
            added = mail("<p>x</p>", *OURS, "X-Mailwake-Unsubscribe: add")
            assert said(client, added, "here@example.com").startswith("250")
        tos = [envelope.rcpt_tos for envelope in box.envelopes]
        assert tos == [["here@example.com"], ["gone@example.com"], ["here@example.com"]]
        assert box.mails[2]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert service.url in box.mails[2]["List-Unsubscribe"]
        service.drained()
        assert service.stats("spring")["messages"] == 2


def test_what_the_smarthost_answers_is_an_outcome(box: Inbox, tmp_path: Path) -> None:
    port, smarthost = free_port(), f"smtp://127.0.0.1:{box.port}"
    env = {"MAILWAKE_SMTP": "1", "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}"}
    people = [f"{name}@answered.example" for name in ("yes", "never", "later")]
    never = "554 5.7.1 never@answered.example is blocked"
    with Service(tmp_path / "data", MAILWAKE_SMARTHOST=smarthost, **env) as service:
        box.answers_to = {people[1]: never, people[2]: "452 4.2.2 full"}
        try:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.ehlo()
                sent = mail("<p>x</p>", *OURS)
                for _ in range(2):  # the client tries again because of the third
                    assert said(client, sent, *people).startswith("452 4.2.2")
                assert said(client, mail("<p>y</p>", *OURS), people[1]) == never
        finally:
            box.answers_to = {}
        service.drained()
        stats = service.stats("spring")
        assert stats["outcomes"] == {
            "sent": 1,
            "delivered": 0,
            "bounced": 0,
            "rejected": 2,
            "complained": 0,
        }
        assert (stats["messages"], stats["opens_tracked"], stats["clicks_tracked"]) == (3, 1, 1)
        shown = {}
        for person in people:
            found = service.get("/v1/messages", recipient=person)["messages"]
            outcomes = [service.get(f"/v1/messages/{one['message_id']}") for one in found]
            shown[person] = [
                (one["state"], one["outcomes"][0]["code"], one["outcomes"][0]["text"])
                for one in outcomes
            ]
        assert shown == {
            people[0]: [("sent", "2.0.0", "250 2.0.0 kept as 1")],
            people[1]: 2 * [("rejected", "5.7.1", "554 5.7.1 ***@answered.example is blocked")],
            people[2]: [],
        }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Subject: x\r\n\r\na\nb\r\n", "554 5.6.0 a bare LF at byte 15: lines end with CR LF"),
        (b"Subject: x\r\n\r\na\rb\r\n", "554 5.6.0 a bare CR at byte 15: lines end with CR LF"),
        (b"Subject: x\r\n\r\n\0\r\n", "554 5.6.0 NUL at byte 14: lines end with CR LF"),
        (b"\n.\r\nMAIL FROM:<evil@x.example>\r\n", "554 5.6.0 a bare LF at byte 0"),
        (b"Received: x\r\n" * 51 + b"\r\n", "554 5.4.6 more than 50 hops"),
    ],
)
def test_what_smuggles_or_circles_is_refused(
    between: GatewayProcess, box: Inbox, content: bytes, says: str
) -> None:
    with between.client() as client:
        client.ehlo()
        client.mail("a@b.example")
        client.rcpt("c@d.example")
        client.docmd("data")
        client.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        code, text = client.getreply()
        assert f"{code} {text.decode()}".startswith(says)
        assert client.noop()[0] == 250  # nothing of it was taken for a command
        assert said(client, mail()).startswith("250")  # and the smarthost has forgotten it
    assert len(box.raw) == 1


@pytest.mark.parametrize(
    "address",
    ["<" + "(" * 480, "(" * 480, '<"' * 240, "<" + "[" * 480, "<@a," * 120, "<@>", "<"],
)
def test_no_address_is_an_internal_error(between: GatewayProcess, box: Inbox, address: str) -> None:
    with between.client() as client:
        client.ehlo()
        assert client.docmd("MAIL", f"FROM:{address}")[0] in (501, 553)
        assert client.docmd("MAIL", "FROM:<a@b.example>")[0] == 250
        assert client.docmd("RCPT", f"TO:{address}")[0] in (501, 553)
        assert client.docmd("RCPT", "TO:<c@d.example>")[0] == 250


def test_long_lines_pass_and_ours_are_folded(between: GatewayProcess, box: Inbox) -> None:
    long = "<p>" + "x" * 5_000 + '</p><a href="https://example.com/a">A</a>'
    assert between.send(mail(long)).startswith("250")
    assert LINK.search(box.mails[0].get_content().encode())
    assert "x" * 5_000 in box.mails[0].get_content()
    almost = '<a href="https://example.com/a">A</a>' + "é" * 460
    assert len(almost.encode()) < 998
    assert between.send(mail(almost, "X-First: 1")).startswith("250")
    assert max(map(len, box.raw[1].splitlines())) <= 998
    (part,) = [box.mails[1]]
    assert part["content-transfer-encoding"] == "quoted-printable"
    assert "é" * 460 in part.get_content() and LINK.search(part.get_content().encode())
    assert between.send(mail("x" * 100_001)).startswith("500 5.5.2 a line is longer")


def test_a_line_may_not_grow_without_end(between: GatewayProcess, box: Inbox) -> None:
    with between.client() as client:
        assert client.docmd("MAIL FROM:<" + "x" * 3_000 + "@example.com>")[0] == 500
        for _ in range(4):
            assert client.docmd("BOGUS")[0] == 500
        assert client.docmd("BOGUS")[0] == 502


def test_size_is_the_smaller_of_ours_and_the_smarthosts(tmp_path: Path) -> None:
    with inbox(data_size_limit=600_000) as box:
        smarthost = f"smtp://127.0.0.1:{box.port}"
        with gateway(tmp_path / "data", smarthost, MAILWAKE_SMTP_MAX_MB="1") as running:
            with running.client() as client:
                client.ehlo()
                assert client.esmtp_features["size"] == "600000"
                assert "pipelining" in client.esmtp_features
                code, _ = client.docmd("MAIL FROM:<a@b.example> SIZE=700000")
                assert code == 552
                code, _ = client.docmd("MAIL FROM:<a@b.example> SIZE=2000000")
                assert code == 552
            body = "<p>x</p>\r\n" * 59_900
            assert running.send(mail(body)).startswith("250")  # as it is: tracked it is too large
            assert not PIXEL.search(box.raw[0]) and body.encode() in box.raw[0]
            with running.client() as client:
                client.ehlo()
                assert said(client, mail("<p>x</p>\r\n" * 65_000)).startswith("552")
                assert said(client, mail("<p>x</p>\r\n" * 200_000)).startswith("552 5.3.4")
                assert said(client, mail("x" * 100_001)).startswith("500 5.5.2")
                assert said(client, mail()).startswith("250")  # the smarthost has forgotten them


def test_extensions_are_those_of_the_smarthost(tmp_path: Path) -> None:
    with (
        inbox(enable_SMTPUTF8=False) as box,
        gateway(tmp_path / "data", f"smtp://127.0.0.1:{box.port}") as running,
        running.client() as client,
    ):
        client.ehlo()
        assert not client.has_extn("smtputf8") and client.has_extn("8bitmime")
        code, text = client.docmd("MAIL FROM:<a@b.example> SMTPUTF8")
        assert (code, text) == (550, b"5.6.7 the smarthost does not support SMTPUTF8")


def test_addresses_beyond_ascii(between: GatewayProcess, box: Inbox) -> None:
    with between.client() as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        assert client.docmd("MAIL", "FROM:<jürgen@example.com> SMTPUTF8 BODY=8BITMIME")[0] == 250
        assert client.docmd("RCPT", "TO:<žofie@example.com>")[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(mail() + b".\r\n")
        assert client.getreply()[0] == 250
        assert box.envelopes[0].rcpt_tos == ["žofie@example.com"]
        code, text = client.docmd("MAIL", "FROM:<jürgen@example.com>")
        assert (code, text[:5]) == (553, b"5.6.7")
        client.command_encoding = "latin-1"
        assert client.docmd("MAIL", "FROM:<jürgen@example.com> SMTPUTF8")[0] == 553
    assert "žofie@example.com".encode() in between.ledger()


@pytest.mark.parametrize(
    "address",
    ["a@[x>y]", "a@[x<y]", 'a@[x"y]', "a@[x> SIZE=1 y]", '"a>b"@x.example', '"a\\"b"@x.example'],
)
def test_an_address_ends_where_it_ends(between: GatewayProcess, box: Inbox, address: str) -> None:
    good = address.endswith("x.example")
    with between.client() as client:
        client.ehlo()
        code, text = client.docmd("MAIL", f"FROM:<{address}>")
        assert code == 250 if good else code in (501, 553), text
        client.docmd("RSET")
        assert client.docmd("MAIL", "FROM:<>")[0] == 250
        code, text = client.docmd("RCPT", f"TO:<{address}>")
        assert code == 250 if good else code in (501, 553), text
        assert client.docmd("RCPT", "TO:<a@b.example>")[0] == 250
        assert client.docmd("RCPT", "TO:<root>")[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(mail() + b".\r\n")
        assert client.getreply()[0] == 250
    taken = [name for one in box.envelopes for name in one.rcpt_tos]
    assert taken == [*[address] * good, "a@b.example", "root"]


def test_commands_may_come_all_at_once(between: GatewayProcess, box: Inbox) -> None:
    with socket.create_connection(("127.0.0.1", between.port), PATIENCE_SECONDS) as raw:
        file = raw.makefile("rb")
        assert file.readline().startswith(b"220 click.example")
        raw.sendall(
            b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
            + mail()
            + b".\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<e@d.example>\r\nRSET\r\nQUIT\r\n"
        )
        answers = file.read().splitlines()
    codes = [line[:3] for line in answers if line[3:4] == b" "]
    assert codes == [b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"250", b"221"]
    assert len(box.raw) == 1


@given(
    st.lists(
        st.sampled_from(
            [b".", b"..", b"", b"a", b".a", b"\r", b".\r\n..", b"\r\n", b"QUIT", b"\n."]
        ),
        max_size=12,
    ).map(b"\r\n".join),
    st.lists(st.integers(1, 40), max_size=8),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mail_arrives_whole_however_it_is_cut(
    between: GatewayProcess, box: Inbox, content: bytes, cuts: list[int]
) -> None:
    message = b"Subject: x\r\n\r\n" + content + b"\r\n"
    assume(
        b"\n" not in message.replace(b"\r\n", b"") and b"\r" not in message.replace(b"\r\n", b"")
    )
    dotted = message.replace(b"\r\n.", b"\r\n..") + b".\r\nNOOP\r\n"
    box.raw.clear()
    with between.client() as client:
        client.ehlo()
        client.mail("a@b.example")
        client.rcpt("c@d.example")
        client.docmd("DATA")
        position = 0
        for size in [*cuts, len(dotted)]:
            client.send(dotted[position : position + size])
            position += size
            time.sleep(0.0005)
        assert client.getreply()[0] == 250
        assert client.getreply() == (250, b"OK")
    assert without_trace(box.raw[0]) == message


def test_a_mail_may_be_nothing_at_all(between: GatewayProcess, box: Inbox) -> None:
    with between.client() as client:
        client.ehlo()
        client.mail("a@b.example")
        client.rcpt("c@d.example")
        client.docmd("DATA")
        client.send(b".\r\n")
        assert client.getreply()[0] == 250
        assert client.noop()[0] == 250
    assert len(box.raw) == 1


def test_a_client_without_extensions(between: GatewayProcess, box: Inbox) -> None:
    with between.client() as client:
        client.helo("old.example")
        assert said(client, mail()).startswith("250")
    assert b" with SMTP;" in box.raw[0]


def test_no_more_connections_and_recipients_than_allowed(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_SMTP_CONNECTIONS="2") as running:

        def welcomed() -> smtplib.SMTP:
            """A connection, once those that were closed before are noticed to be."""
            end = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    return running.client()
                except smtplib.SMTPConnectError:
                    assert time.monotonic() < end
                    time.sleep(0.02)

        with welcomed() as one, welcomed() as other:
            for client in (one, other):
                client.ehlo()
                client.mail("a@b.example")
            with pytest.raises(smtplib.SMTPConnectError, match="421"):
                running.client()
            codes = [one.rcpt(f"p{n}@b.example")[0] for n in range(101)]
            assert codes == [250] * 100 + [452]
        with welcomed() as client:
            client.ehlo()
            assert said(client, mail()).startswith("250")


def test_silent_connections_block_nobody(box: Inbox, tmp_path: Path) -> None:
    """The longest connected client that has not begun a mail makes room."""
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_SMTP_CONNECTIONS="5") as running:
        address = ("127.0.0.1", running.port)
        silent = [socket.create_connection(address, PATIENCE_SECONDS) for _ in range(30)]
        try:
            assert running.send(mail()).startswith("250")
        finally:
            for client in silent:
                client.close()


def test_a_stranger_has_a_short_time_however_busy(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    hurry = "from app.smtp import protocol; protocol.STRANGER_SECONDS = 1.0"
    with gateway(tmp_path / "data", smarthost, hurry) as running, running.client() as known:
        known.ehlo()
        assert known.mail("a@b.example")[0] == 250
        stranger = running.client()
        end = time.monotonic() + PATIENCE_SECONDS
        with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
            while time.monotonic() < end:
                stranger.noop()
                time.sleep(0.1)
        stranger.close()
        assert known.noop()[0] == 250  # who has begun a mail has the usual time


@pytest.mark.parametrize(
    "sent", [b"NOOP\nNOOP\r\n", b"NOOP\rNOOP\r\n", b"NOOP\n\r\n", b"RSET\nMAIL FROM:<a@b>\r\n"]
)
def test_a_bare_line_feed_ends_no_command(between: GatewayProcess, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", between.port), PATIENCE_SECONDS) as client:
        lines = client.makefile("rb")
        assert lines.readline().startswith(b"220")
        client.sendall(sent)
        assert lines.readline().startswith(b"500")
        client.sendall(b"NOOP\r\n")
        assert lines.readline().startswith(b"250")  # and nothing was answered in between


@pytest.mark.parametrize(
    ("parameter", "code"),
    [
        (" AUTH=<>", 250),
        (" auth=news+2Bshop@shop.example", 250),
        (" BODY=8BITMIME AUTH=<>", 250),
        (" AUTH=", 501),
        (" AUTH=a b", 555),
        (" AUTH=a+zz", 501),
    ],
)
def test_auth_of_a_mail_is_accepted(between: GatewayProcess, parameter: str, code: int) -> None:
    """RFC 4954, section 5: a server that offers AUTH accepts it."""
    with between.client() as client:
        client.ehlo()
        assert client.docmd("mail", f"FROM:<a@b.example>{parameter}")[0] == code


def test_a_client_that_leaves_does_not_cut_its_mail_off(
    between: GatewayProcess, box: Inbox
) -> None:
    box.open.clear()
    arrived = box.arrived
    client = between.client()
    client.ehlo()
    client.mail("a@b.example")
    client.rcpt("gone@leaving.example")
    client.docmd("data")
    client.send(mail() + b".\r\n")
    wait_for(lambda: box.arrived > arrived, "mail", between.log.read_text)
    client.close()
    time.sleep(0.3)  # the gateway notices
    box.open.set()
    wait_for(lambda: b"gone@leaving.example" in between.ledger(), "line", between.log.read_text)
    assert len(box.raw) == 1


def test_stopping_waits_for_what_the_smarthost_has(box: Inbox, tmp_path: Path) -> None:
    box.open.clear()
    arrived = box.arrived
    with gateway(tmp_path / "data", f"smtp://127.0.0.1:{box.port}") as running:
        found: list[str] = []
        sender = threading.Thread(target=lambda: found.append(running.send(mail())))
        sender.start()
        wait_for(lambda: box.arrived > arrived, "mail", running.log.read_text)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # it is stopping
        assert running.process.poll() is None
        box.open.set()
        sender.join()
        assert [one.partition(" (")[0] for one in found] == ["250 2.0.0 kept as 1"]
        assert running.process.wait(PATIENCE_SECONDS) == 0
        assert b"ann@example.com" in running.ledger()
        assert "'tracked': 1" in running.log.read_text()


def test_a_full_journal_stops_no_mail(box: Inbox, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "journal"
    folder.mkdir(parents=True)
    name = "019b2f6a-d1f0-7c3e-8a51-f0d2c4b6a897.seg"
    (folder / name).write_bytes(b"x" * 1_200_000 + b"\n")
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_JOURNAL_MAX_MB="1") as running:
        sent = mail()
        answer = running.send(sent)
        assert answer.startswith("250 2.0.0 kept as 1 (not tracked: journal")
        assert without_trace(box.raw[0]) == sent
        assert "a mail was sent untracked: journal" in running.log.read_text()


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (("X-Mailwake-Track: everything",), "X-Mailwake-Track: 'everything' must be one of"),
        (("X-Mailwake-Newsletter: ..",), "X-Mailwake-Newsletter"),
    ],
)
def test_a_field_that_means_nothing_holds_no_mail_up(
    between: GatewayProcess, box: Inbox, headers: tuple[str, ...], says: str
) -> None:
    answer = between.send(mail("<p>x</p>", *headers))
    assert answer.startswith("250 2.0.0 kept as 1 (not tracked: field") and says in answer
    assert without_trace(box.raw[0]) == mail("<p>x</p>")


def test_what_is_not_to_be_tracked_passes_as_it_is(between: GatewayProcess, box: Inbox) -> None:
    plain = b"From: a@b.example\r\n\r\nhttps://example.com/\r\n"
    for sent, way in (
        (mail("<p>x</p>", "X-Mailwake-Track: off"), mail("<p>x</p>")),
        (plain, plain),
    ):
        assert between.send(sent, "off@nothing.example") == f"250 2.0.0 kept as {len(box.raw)}"
        assert without_trace(box.raw[-1]) == way
    assert b"off@nothing.example" not in between.ledger()


@pytest.mark.parametrize("reason", REASONS)
def test_every_outcome_is_documented(reason: str) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    (line,) = [line for line in text.splitlines() if "mailwake_smtp_total" in line]
    assert f"_{reason}" in line


def test_a_service_that_cannot_start_names_the_setting(tmp_path: Path) -> None:
    streams = tmp_path / "streams.toml"
    streams.write_text("[[stream]]\nnewsletter = 'x'\n")
    for env, says in (
        ({"MAILWAKE_SMTP_STREAMS": str(streams)}, "SMTP_STREAMS"),
        ({"MAILWAKE_SMTP_LISTEN": "25"}, "SMTP_LISTEN: must be host:port"),
        ({"MAILWAKE_SMTP_LISTEN": "203.0.113.9:2525"}, "SMTP_LISTEN: cannot listen on"),
        (
            {"MAILWAKE_SMTP_CERT": str(streams)},
            "SMTP_CERT and MAILWAKE_SMTP_KEY: set both or neither",
        ),
        ({"MAILWAKE_DKIM_DOMAIN": "x"}, "set both or neither"),
        ({"MAILWAKE_SMARTHOST": ""}, "SMARTHOST: is required for the SMTP gateway"),
    ):
        with pytest.raises(AssertionError, match=re.escape(says)):
            _start(tmp_path, env)


def _start(folder: Path, env: dict[str, Any]) -> None:
    with gateway(folder / "data", "smtp://127.0.0.1:1", **env):
        pass


def refused_mail(port: int) -> tuple[int, bytes]:
    """Returns the answer to MAIL."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        return client.mail("shop@shop.example")


def test_no_mail_is_accepted_below_the_reserve(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_DISK_RESERVE_MB="1000000000") as full:
        code, text = refused_mail(full.port)
    assert (code, text) == (452, b"4.3.1 the disk is nearly full, try again later")


def test_mails_have_a_quota(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_QUOTA_REQUESTS="2") as limited:
        answers = [refused_mail(limited.port) for _ in range(3)]
    assert [code for code, _ in answers] == [250, 250, 452]
    assert b"2 requests a minute, try again in" in answers[-1][1]
