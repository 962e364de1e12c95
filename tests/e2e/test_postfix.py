"""The gateway among real mail servers: swaks or Postfix before it, Postfix behind it."""

import shutil
import smtplib
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bounces import Returned, dsn
from tests.support.paths import ROOT
from tests.support.patience import wait_for
from tests.support.postfix import Postfix, available, postfix
from tests.support.service import Service, free_port
from tests.support.smtp_gateway import LINK, PIXEL, GatewayProcess, gateway, mail
from tests.support.smtp_server import Inbox, inbox

DOCS = ROOT / "docs" / "howto" / "postfix.md"
PYTHONPATH = f"{ROOT}:{sysconfig.get_path('purelib')}"
USER = "nobody"
pytestmark = pytest.mark.skipif(not available(), reason="Postfix is not installed, or not by root")


@pytest.fixture(scope="module")
def box() -> Iterator[Inbox]:
    with inbox() as found:
        yield found


@pytest.fixture(scope="module")
def behind(box: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    """The smarthost."""
    refused = "check_recipient_access inline:{nobody@refused.example=REJECT}"
    more = {"smtpd_recipient_restrictions": refused}
    folder = tmp_path_factory.mktemp("behind") / "postfix"
    with postfix(folder, f"[127.0.0.1]:{box.port}", **more) as found:
        yield found


@pytest.fixture(scope="module")
def between(behind: Postfix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("between") / "data"
    with gateway(folder, f"smtp://127.0.0.1:{behind.port}") as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(box: Inbox) -> None:
    for kept in (box.mails, box.raw, box.envelopes):
        kept.clear()


def arrived(box: Inbox, count: int) -> None:
    wait_for(lambda: len(box.raw) >= count, f"{count} mails", lambda: box.raw)


@pytest.mark.skipif(not shutil.which("swaks"), reason="swaks is not installed")
def test_swaks_to_postfix(between: GatewayProcess, box: Inbox, tmp_path: Path) -> None:
    file = tmp_path / "mail.eml"
    file.write_bytes(mail().replace(b"\r\n", b"\n"))
    swaks = [
        "swaks",
        "--server",
        f"127.0.0.1:{between.port}",
        "--from",
        "shop@shop.example",
        "--data",
        f"@{file}",
        "--pipeline",
        "--to",
    ]
    done = subprocess.run([*swaks, "ann@example.com"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "<-  250 2.0.0 Ok: queued as" in done.stdout  # Postfix's own answer
    arrived(box, 1)
    assert PIXEL.search(box.raw[0]) and LINK.search(box.raw[0])
    done = subprocess.run(
        [*swaks, "nobody@refused.example"], capture_output=True, text=True, check=False
    )
    assert "<** 554 5.7.1 <nobody@refused.example>: Recipient address rejected" in done.stdout
    assert len(box.raw) == 1


def test_many_at_once_from_smtplib(between: GatewayProcess, box: Inbox) -> None:
    people = [f"p{n}@example.com" for n in range(20)]
    with smtplib.SMTP("127.0.0.1", between.port) as client:
        for _ in range(3):
            assert client.sendmail("shop@shop.example", people, mail()) == {}
    arrived(box, 60)
    assert len({PIXEL.findall(raw)[0] for raw in box.raw}) == 60


def test_one_postfix_on_both_sides(box: Inbox, tmp_path: Path) -> None:
    """As docs/howto/postfix.md says, with its own options."""
    back = free_port()
    text = DOCS.read_text().partition("# master.cf")[2]
    options = [line for line in text.splitlines() if line.startswith("  -o ")]
    assert len(options) == 3
    second = [f"127.0.0.1:{back} inet n - n - - smtpd", *options]
    with gateway(tmp_path / "data", f"smtp://127.0.0.1:{back}") as running:
        around = {"content_filter": f"smtp:[127.0.0.1]:{running.port}"}
        relayhost = f"[127.0.0.1]:{box.port}"
        with (
            postfix(tmp_path / "both", relayhost, second, **around) as both,
            smtplib.SMTP("127.0.0.1", both.port) as client,
        ):
            client.sendmail("shop@shop.example", ["one@example.com", "two@example.com"], mail())
            arrived(box, 2)
            time.sleep(1)
    assert len(box.raw) == 2
    assert len({PIXEL.findall(raw)[0] for raw in box.raw}) == 2
    assert all(raw.count(b" (Mailwake) ") == 1 for raw in box.raw)


def test_postfix_before_it_keeps_its_mail_while_it_is_away(
    behind: Postfix, box: Inbox, tmp_path: Path
) -> None:
    first = GatewayProcess(tmp_path / "data", f"smtp://127.0.0.1:{behind.port}")
    relayhost = f"[127.0.0.1]:{first.port}"
    with postfix(tmp_path / "before", relayhost) as before:
        with smtplib.SMTP("127.0.0.1", before.port) as client:
            client.sendmail("shop@shop.example", ["one@example.com"], mail())
            arrived(box, 1)
            first.process.kill()
            first.process.wait()
            client.sendmail("shop@shop.example", ["two@example.com", "too@example.com"], mail())
        before.wait_for("status=deferred")
        env = {"MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{first.port}"}
        with gateway(tmp_path / "data", f"smtp://127.0.0.1:{behind.port}", **env):
            arrived(box, 3)
            time.sleep(2)
    tos = sorted(to for envelope in box.envelopes for to in envelope.rcpt_tos)
    assert tos == ["one@example.com", "too@example.com", "two@example.com"]
    assert all(PIXEL.search(raw) for raw in box.raw)


def test_a_bounce_of_postfix_finds_its_message(box: Inbox, tmp_path: Path) -> None:
    """Postfix sends its delivery report to the mail's sender, who pipes it to `mailwake bounce`."""
    people = [f"{name}@bounced.example" for name in ("ann", "bob")]
    box.refused |= dict.fromkeys(people, "550 5.1.1 no such user")
    port = free_port()
    relayhost = f"[127.0.0.1]:{box.port}"
    with postfix(tmp_path / "bouncing", relayhost) as smarthost:
        env = {
            "MAILWAKE_SMTP": "1",
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
            "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{smarthost.port}",
        }
        with Service(tmp_path / "data", **env) as service:
            service.ready()
            mailing = mail("<p>x</p>", "Message-ID: <boots.7@shop.example>")
            with smtplib.SMTP("127.0.0.1", port) as client:
                for person in people:
                    client.sendmail("shop@shop.example", [person], mailing)
            arrived(box, 2)
            assert {envelope.mail_from for envelope in box.envelopes} <= {"", "<>", None}
            for raw in box.raw:
                done = subprocess.run(
                    [sys.executable, "-m", "app", "bounce", "-"],
                    env=service.env,
                    cwd=ROOT,
                    input=raw,
                    capture_output=True,
                    check=False,
                )
                assert done.stdout == b"bounced permanently (5.1.1)\n", done.stderr
            found = [service.get("/v1/messages", recipient=person)["messages"] for person in people]
            newsletter = found[0][0]["newsletter_id"]
            service.wait_for(
                lambda: service.stats(newsletter)["outcomes"]["bounced"] == 2, "two bounces"
            )
            history = service.get(f"/v1/messages/{found[0][0]['message_id']}")
            assert {one["type"] for one in history["outcomes"]} == {"sent", "bounced"}


def test_a_bounce_of_postfix_comes_back_to_its_return_path(box: Inbox, tmp_path: Path) -> None:
    """Postfix has accepted the mail, and sends its delivery report to the gateway.

    One mailbox does not exist, one is full, and the mail of a third arrives.
    """
    box.refused["ann@verp.example"] = "550 5.1.1 no such user"
    box.refused["bob@verp.example"] = "552 5.2.2 mailbox is full"
    people = ["ann@verp.example", "bob@verp.example", "eve@verp.example"]
    port = free_port()
    transport = DOCS.read_text().partition("# transport\n")[2].partition("\n")[0]
    domain, _, nexthop = transport.partition(" ")
    assert nexthop.strip() == "smtp:[127.0.0.1]:2525"
    here = {"transport_maps": f"inline:{{{domain}=smtp:[127.0.0.1]:{port}}}"}
    with postfix(tmp_path / "verp", f"[127.0.0.1]:{box.port}", **here) as smarthost:
        env = {
            "MAILWAKE_BOUNCE_DOMAIN": domain,
            "MAILWAKE_SMTP": "1",
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
            "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{smarthost.port}",
        }
        with Service(tmp_path / "data", **env) as service:
            service.ready()
            sent = mail("<p>x</p>", "X-Mailwake-Newsletter: verp")
            with smtplib.SMTP("127.0.0.1", port) as client:
                assert client.sendmail("shop@shop.example", people, sent) == {}
            service.wait_for(
                lambda: service.stats("verp")["outcomes"]["bounced"] == 2, "two bounces"
            )
            assert service.stats("verp")["outcomes"]["sent"] == 1
            reports = {}
            for person in people:
                (message,) = service.get("/v1/messages", recipient=person)["messages"]
                history = service.get(f"/v1/messages/{message['message_id']}")["outcomes"]
                reports[person] = {(one["type"], one["code"]) for one in history}
                assert service.rewrite("verp", "<p>x</p>", person)["suppressed"] == (
                    person == "ann@verp.example"
                )
            assert reports == {
                "ann@verp.example": {("sent", "2.0.0"), ("bounced", "5.1.1")},
                "bob@verp.example": {("sent", "2.0.0"), ("bounced", "5.2.2")},
                "eve@verp.example": {("sent", "2.0.0")},
            }
    (arrived_one,) = box.envelopes
    assert str(arrived_one.mail_from).endswith(f"@{domain}")
    assert box.mails[0]["Return-Path"] is None  # only its last server adds it


def test_postfix_asks_the_gateway_which_return_paths_exist(box: Inbox, tmp_path: Path) -> None:
    """Postfix is the MX of the domain: a forged return path is rejected before it accepts it."""
    gateway_port = free_port()
    domain = "bounces.shop.example"
    mx = {
        "mynetworks": "127.0.0.1/32",
        "relay_domains": domain,
        "transport_maps": f"inline:{{{domain}=smtp:[127.0.0.1]:{gateway_port}}}",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        "smtpd_recipient_restrictions": "reject_unverified_recipient",
        "unverified_recipient_reject_code": "550",
        "address_verify_map": "",
    }
    with postfix(tmp_path / "mx", f"[127.0.0.1]:{box.port}", **mx) as server:
        env = {
            "MAILWAKE_BOUNCE_DOMAIN": domain,
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{gateway_port}",
        }
        smarthost = f"smtp://127.0.0.1:{box.port}"
        with gateway(tmp_path / "data", smarthost, **env) as running:
            assert running.send(mail()).startswith("250")
            path = str(box.envelopes[-1].mail_from)
            forged = ("a" if path[20] != "a" else "b").join([path[:20], path[21:]])
            with smtplib.SMTP(
                "127.0.0.1", server.port, source_address=("127.0.0.2", 0)
            ) as stranger:
                report = dsn(Returned("", "ann@example.com"))
                with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                    stranger.sendmail("", [forged], report)
                ((code, text),) = refused.value.recipients.values()
                assert code == 550 and b"signature of this return path is wrong" in text
                assert stranger.sendmail("", [path], report) == {}
            wait_for(lambda: b'"kind":"bounced"' in running.ledger(), "the bounce")


def user_who_runs_it() -> tuple[str, str]:
    """A user that Postfix lets run commands (not root), and a Python that this user may run."""
    here = Path(sys.executable)
    for python in (here, Path("/usr/bin") / f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        command = ["env", f"PYTHONPATH={PYTHONPATH}", str(python), "-c", "import app.cli.bounce"]
        done = subprocess.run(
            ["runuser", "-u", USER, "--", *command], cwd="/", capture_output=True, check=False
        )
        if not done.returncode:
            return USER, str(python)
    pytest.skip(f"no Python that the user {USER} may run")


def test_a_pipe_of_postfix_records_the_bounce(box: Inbox, tmp_path: Path) -> None:
    """As docs/outcomes.md says, with its own lines: to a mailbox, and to a return path."""
    user, python = user_who_runs_it()
    lines = (ROOT / "docs" / "outcomes.md").read_text().partition("# main.cf\n")[2]
    main, _, lines = lines.partition("\n\n# master.cf\n")
    master, _, lines = lines.partition("\n\n# transport\n")
    transport = [line.split() for line in lines.partition("\n```")[0].splitlines()]
    (mailbox, _), (domain, _) = transport
    options = dict(line.split(" = ") for line in main.splitlines())
    with tempfile.TemporaryDirectory(prefix="mailwake-pipe-") as name:
        folder = Path(name)  # not pytest's, which other users may not enter
        folder.chmod(0o755)
        data, command = folder / "data", folder / "mailwake"
        command.write_text(
            "#!/bin/sh\nexport PYTHONDONTWRITEBYTECODE=1\n"
            f'PYTHONPATH={PYTHONPATH} exec {python} -m app "$@"\n'
        )
        command.chmod(0o755)
        (folder / ".env").write_text(f"MAILWAKE_DATA_DIR={data}\nMAILWAKE_BOUNCE_DOMAIN={domain}\n")
        pipe = (
            master.replace("user=mailwake", f"user={user}")
            .replace("directory=/etc/mailwake", f"directory={folder}")
            .replace("/opt/mailwake/.venv/bin/mailwake", str(command))
        )
        assert pipe.count(str(folder)) == 2
        port = free_port()
        options["transport_maps"] = f"inline:{{{', '.join('='.join(pair) for pair in transport)}}}"
        box.refused |= {"ann@piped.example": "550 5.1.1 no such user"}
        env = {
            "MAILWAKE_BOUNCE_DOMAIN": domain,
            "MAILWAKE_SMTP": "1",
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
        }
        relayhost = f"[127.0.0.1]:{box.port}"
        with postfix(tmp_path / "piping", relayhost, [pipe], **options) as server:
            env["MAILWAKE_SMARTHOST"] = f"smtp://127.0.0.1:{server.port}"
            with Service(data, **env) as service:
                service.ready()
                subprocess.run(["chown", "-R", user, str(data)], check=True)
                own = {"rfc_message_id": "bob.7@shop.example"}
                service.rewrite("piped", "<p>x</p>", "bob@piped.example", **own)
                piped = mail("<p>x</p>", "X-Mailwake-Newsletter: piped")
                with smtplib.SMTP("127.0.0.1", port) as client:
                    client.sendmail("shop@shop.example", ["ann@piped.example"], piped)
                    with smtplib.SMTP("127.0.0.1", server.port) as world:
                        report = dsn(Returned("bob.7@shop.example", "bob@piped.example"))
                        world.sendmail("", [mailbox], report)
                wait_for(
                    lambda: service.stats("piped")["outcomes"]["bounced"] == 2,
                    "two bounces",
                    server.log.read_text,
                )
                for person in ("ann@piped.example", "bob@piped.example"):
                    assert service.rewrite("piped", "<p>x</p>", person)["suppressed"]
            assert "relay=mailwake" in server.log.read_text()
