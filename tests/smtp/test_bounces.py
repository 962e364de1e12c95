"""Bounces by SMTP: the gateway's copies have return paths of their own, and it accepts mail there.

Mailers connect from 127.0.0.1; servers that report, from 127.0.0.2, are strangers to the gateway.
"""

import json
import random
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.outcomes.return_path import LOCAL_PART_CHARS
from app.smtp.bounces import MAX_BYTES
from tests.support.bounces import Returned, dsn, feedback, reply, worded
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, free_port
from tests.support.smtp_gateway import GatewayProcess, gateway, mail, said
from tests.support.smtp_server import Inbox, inbox

DOMAIN = "bounces.shop.example"
ENV = {"MAILWAKE_BOUNCE_DOMAIN": DOMAIN, "MAILWAKE_SMTP_NETWORKS": "127.0.0.1/32"}
NAMELESS = Returned("", "forwarded@elsewhere.example")  # what is returned names no message


@pytest.fixture(scope="module")
def box() -> Iterator[Inbox]:
    with inbox() as found:
        yield found


@pytest.fixture(scope="module")
def between(box: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("bounces") / "data"
    with gateway(folder, f"smtp://127.0.0.1:{box.port}", **ENV) as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(box: Inbox) -> None:
    box.clear()
    box.refused.clear()


def stranger(port: int) -> smtplib.SMTP:
    client = smtplib.SMTP(
        "127.0.0.1", port, "mx.example", PATIENCE_SECONDS, source_address=("127.0.0.2", 0)
    )
    client.ehlo()
    return client


def bounce(port: int, report: bytes, *to: str, sender: str = "") -> str:
    with stranger(port) as client:
        return said(client, report, *to, sender=sender)


def return_path(between: GatewayProcess, box: Inbox, to: str, **more: str) -> str:
    """Send a mail and return its return path as the smarthost got it."""
    assert between.send(mail(to=to), f"{to}@example.com", **more).startswith("250")
    return str(box.envelopes[-1].mail_from)


def outcomes(between: GatewayProcess) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in between.ledger().splitlines()]
    return [line for line in lines if line["record"] == "outcome" and line["provider"] == "mail"]


def test_bounces_find_their_messages_and_suppress(box: Inbox, tmp_path: Path) -> None:
    port = free_port()
    env = {
        **ENV,
        "MAILWAKE_SMTP": "1",
        "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
        "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}",
    }
    people = [f"{name}@each.example" for name in ("hard", "full", "away", "angry", "worded")]
    with Service(tmp_path / "data", **env) as service:
        with smtplib.SMTP("127.0.0.1", port) as client:
            sent = mail("<p>x</p>", "X-Mailwake-Newsletter: boots")
            assert client.sendmail("news@shop.example", people, sent) == {}
        paths = {envelope.rcpt_tos[0]: str(envelope.mail_from) for envelope in box.envelopes}
        assert set(paths) == set(people) and len(set(paths.values())) == len(people)
        for path in paths.values():
            local_part, _, domain = path.partition("@")
            assert (len(local_part), domain) == (LOCAL_PART_CHARS, DOMAIN)
        local_words = worded(NAMELESS).replace(b"MAILER-DAEMON@mta", b"postverwalter@mta")
        for person, report in {
            people[0]: dsn(NAMELESS),
            people[1]: dsn(NAMELESS, status="5.2.2", diagnostic="smtp; 552 5.2.2 full"),
            people[2]: reply(NAMELESS).replace(b"In-Reply-To", b"X-Other"),
            people[3]: feedback(NAMELESS, names_recipient=False),
            people[4]: local_words.replace(b"Return-Path: <>\r\n", b""),
        }.items():
            assert bounce(port, report, paths[person]).startswith("250 2.6.0")
        service.wait_for(
            lambda: (
                service.stats("boots")["outcomes"]
                == {"sent": 0, "delivered": 1, "bounced": 3, "rejected": 0, "complained": 1}
            ),
            "five outcomes",
        )
        service.wait_for(
            lambda: service.rewrite("boots", "<p>x</p>", people[0])["suppressed"], "a suppression"
        )
        suppressed = {
            person: service.rewrite("boots", "<p>x</p>", person)["suppressed"] for person in people
        }
        assert suppressed == dict(zip(people, (True, False, False, True, True), strict=True))
        assert 'mailwake_smtp_total{outcome="bounces"} 5.0' in service.client.get("/metrics").text


def test_a_copy_of_one_recipient_has_one_too(between: GatewayProcess, box: Inbox) -> None:
    path = return_path(between, box, "single")
    assert path.endswith(f"@{DOMAIN}")
    assert return_path(between, box, "single") != path  # another message
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [["single@example.com"]] * 2


def test_mail_that_is_no_tracked_copy_keeps_its_return_path(
    between: GatewayProcess, box: Inbox, tmp_path: Path
) -> None:
    assert return_path(between, box, "bounce", sender="") == "<>"
    untracked = mail("<body>Hello", "X-Mailwake-Track: off")
    assert between.send(untracked, "off@example.com").startswith("250")
    assert box.envelopes[-1].mail_from == "shop@shop.example"
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_SMTP_COPIES="one", **ENV) as running:
        assert running.send(mail(), "a@one.example", "b@one.example").startswith("250")
    assert box.envelopes[-1].mail_from == "shop@shop.example"


def test_what_the_smarthost_says_to_the_return_path_is_the_answer(
    box: Inbox, tmp_path: Path
) -> None:
    class Refusing(Inbox):
        async def handle_MAIL(  # noqa: N802
            self, _: Any, __: Any, envelope: Any, address: str, ___: Any
        ) -> str:
            if address.endswith(DOMAIN):
                return "550 5.7.1 sender domain is not yours"
            envelope.mail_from = address
            return "250 2.1.0 ok"

    with inbox(handler=Refusing) as strict:
        with gateway(tmp_path / "data", f"smtp://127.0.0.1:{strict.port}", **ENV) as running:
            assert running.send(mail(), "a@b.example") == "550 5.7.1 sender domain is not yours"
        assert strict.raw == []


def test_a_changed_case_changes_nothing(between: GatewayProcess, box: Inbox) -> None:
    path = return_path(between, box, "case")
    before = len(outcomes(between))
    assert bounce(between.port, dsn(NAMELESS), path.upper()).startswith("250")
    assert len(outcomes(between)) == before + 1


def test_nothing_else_is_accepted(between: GatewayProcess, box: Inbox) -> None:
    path = return_path(between, box, "closed")
    before = len(outcomes(between))
    box.clear()
    wrong = ("a" if path[10] != "a" else "b").join([path[:10], path[11:]])
    assert bounce(between.port, dsn(NAMELESS), wrong) == (
        "550 5.1.1 no such mailbox: the signature of this return path is wrong"
    )
    for other in ("postmaster", "ann", path.partition("@")[0][:-1]):
        answer = bounce(between.port, dsn(NAMELESS), f"{other}@{DOMAIN}")
        assert answer.startswith("550 5.1.1 no such mailbox: only reports")
    assert bounce(between.port, mail(), "ann@example.com") == "530 5.7.0 authentication required"
    assert bounce(between.port, mail(), path, "ann@example.com").startswith("452 4.5.3 a bounce")
    assert bounce(between.port, mail(), path, path).startswith("452 4.5.3 a bounce")
    # Mailers, too, cannot send to it along with others.
    assert between.send(dsn(NAMELESS), "ann@example.com", path).startswith("452 4.5.3 a bounce")
    assert between.send(dsn(NAMELESS), path, "ann@example.com").startswith("452 4.5.3 a bounce")
    assert box.raw == [] and len(outcomes(between)) == before


def test_mail_that_reports_nothing_is_accepted_and_goes_nowhere(
    between: GatewayProcess, box: Inbox
) -> None:
    path = return_path(between, box, "chatty")
    before = len(outcomes(between))
    for sender in ("", "ann@example.com"):
        assert bounce(between.port, mail(), path, sender=sender).startswith("250 2.6.0")
    assert between.send(mail(), path, sender="").startswith("250 2.6.0")
    assert len(box.raw) == 1 and len(outcomes(between)) == before


def test_the_size_of_a_bounce_is_bounded(between: GatewayProcess, box: Inbox) -> None:
    path = return_path(between, box, "large")
    with stranger(between.port) as client:
        large = dsn(NAMELESS) + b"x" * 77 + b"\r\n" * (MAX_BYTES // 2)
        assert said(client, large, path, sender="").startswith("552 5.3.4")
        long = dsn(NAMELESS) + b"\r\n" * 200_000
        assert said(client, long, path, sender="").startswith("250 2.6.0")
    # The mailer's own mails have their usual limit.
    with between.client() as client:
        client.ehlo()
        assert said(client, dsn(NAMELESS), path, sender="").startswith("250 2.6.0")
        large = mail(f"<p>{'x' * 76}\r\n" + "y" * 76 + "\r\n" * (MAX_BYTES // 2))
        assert said(client, large, "big@example.com").startswith("250 2.0.0")


def test_bounces_have_a_quota_that_leaves_mailers_alone(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, MAILWAKE_QUOTA_REQUESTS="3", **ENV) as running:
        path = return_path(running, box, "quota")
        answers = [bounce(running.port, dsn(NAMELESS), path) for _ in range(4)]
        assert [answer[:9] for answer in answers] == ["250 2.6.0"] * 3 + ["452 4.7.1"]
        assert running.send(mail()).startswith("250 2.0.0")


def test_no_bounce_is_accepted_below_the_reserve(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, **ENV) as running:
        path = return_path(running, box, "reserve")
    reserve = {**ENV, "MAILWAKE_DISK_RESERVE_MB": "999999999"}
    with gateway(tmp_path / "data", smarthost, **reserve) as running:
        assert bounce(running.port, dsn(NAMELESS), path).startswith("452 4.3.1 the disk is nearly")


def test_lines_that_a_mailer_may_not_send_are_read(between: GatewayProcess, box: Inbox) -> None:
    """Nothing of a bounce is sent on, so bare line feeds do no harm."""
    path = return_path(between, box, "bare")
    before = len(outcomes(between))
    assert bounce(between.port, dsn(NAMELESS).replace(b"\r\n", b"\n"), path).startswith("250")
    assert len(outcomes(between)) == before + 1


def test_bounces_are_accepted_while_the_smarthost_is_unavailable(
    between: GatewayProcess, box: Inbox, tmp_path: Path
) -> None:
    path = return_path(between, box, "dark")
    dead = f"smtp://127.0.0.1:{free_port()}"
    with gateway(between.data_dir, dead, MAILWAKE_PUBLIC_URL="http://click.example", **ENV) as dark:
        assert bounce(dark.port, dsn(NAMELESS), path).startswith("250 2.6.0")
        with dark.client() as client:  # a mailer keeps its mail
            assert client.ehlo()[0] == 451


def test_a_journal_that_is_full_keeps_the_bounce_with_its_server(
    box: Inbox, tmp_path: Path
) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    with gateway(tmp_path / "data", smarthost, **ENV) as running:
        path = return_path(running, box, "full")
    faults = (
        "from app.storage import journal\n"
        "def full(*_):\n    raise journal.JournalError('disk_cap', 'full')\n"
        "journal.Journal.check_room = full\n"
    )
    with gateway(tmp_path / "data", smarthost, faults, **ENV) as running:
        assert bounce(running.port, dsn(NAMELESS), path).startswith("451 4.3.0 the bounce")
    with gateway(tmp_path / "data", smarthost, **ENV) as running:
        assert bounce(running.port, dsn(NAMELESS), path).startswith("250")


def test_a_kill_loses_no_bounce_that_was_answered(box: Inbox, tmp_path: Path) -> None:
    smarthost = f"smtp://127.0.0.1:{box.port}"
    draw = random.Random(26)
    answered: list[str] = []
    with gateway(tmp_path / "data", smarthost, **ENV) as running:
        paths = [return_path(running, box, f"p{number}") for number in range(30)]
        messages = {
            json.loads(line)["address"]: json.loads(line)["message"]
            for line in running.ledger().splitlines()
            if b'"record":"message"' in line
        }
    for kill in range(3):
        running = GatewayProcess(tmp_path / "data", smarthost, **ENV)
        for number in range(10 * kill, 10 * kill + draw.randint(3, 10)):
            assert bounce(running.port, dsn(NAMELESS), paths[number]).startswith("250")
            answered.append(messages[f"p{number}@example.com"])
        running.process.kill()
        running.process.wait()
    assert sorted(line["message"] for line in outcomes(running)) == sorted(answered)


def test_without_the_setting_nothing_changes(box: Inbox, tmp_path: Path) -> None:
    own = {name: value for name, value in ENV.items() if name != "MAILWAKE_BOUNCE_DOMAIN"}
    with gateway(tmp_path / "data", f"smtp://127.0.0.1:{box.port}", **own) as running:
        assert return_path(running, box, "plain") == "shop@shop.example"
        with stranger(running.port) as client:
            assert said(client, dsn(NAMELESS), f"a@{DOMAIN}", sender="").startswith("530 5.7.0")


def test_a_bounce_of_a_shared_copy_suppresses_nobody_else(box: Inbox, tmp_path: Path) -> None:
    """All recipients of such copies are one recipient to Mailwake."""
    port = free_port()
    env = {
        "MAILWAKE_SMTP": "1",
        "MAILWAKE_SMTP_COPIES": "one",
        "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
        "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}",
    }
    both = ["ann@one.example", "bob@one.example"]
    sent = mail("<p>x</p>", "X-Mailwake-Newsletter: one")
    with Service(tmp_path / "data", **env) as service:
        service.ready()
        with smtplib.SMTP("127.0.0.1", port) as client:
            assert client.sendmail("news@shop.example", both, sent) == {}
        service.wait_for(lambda: service.stats("one")["messages"] == 1, "the message")
        (shared,) = service.get("/v1/messages", newsletter_id="one")["messages"]
        bounced = {
            "id": "one",
            "type": "bounced",
            "permanent": True,
            "message_id": shared["message_id"],
            "occurred_at": "2026-11-28T09:00:00Z",
        }
        assert service.client.post("/v1/outcomes", json=bounced).status_code == 200
        service.wait_for(lambda: service.stats("one")["outcomes"]["bounced"] == 1, "a bounce")
        service.drained()
        with smtplib.SMTP("127.0.0.1", port) as client:
            assert client.sendmail("news@shop.example", both, sent) == {}
