"""Never 250 without the smarthost's 250, whatever the smarthost does, and over TLS that is real."""

import asyncio
import random
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from app.auth.api_keys import Keys
from app.auth.workspaces import Workspaces
from app.messages.preparer_registry import PreparerRegistry
from app.settings.load import load, with_secrets
from app.smtp import smarthost
from app.smtp.gateway import Gateway
from app.smtp.upstream import Answer, SmarthostConnection, answer
from app.storage.journal import Journal
from app.storage.state_db import open_state
from app.tasks import Tasks
from tests.support.hostile_smarthost import STAGES, Hostile, hostile
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import free_port
from tests.support.smtp_gateway import GatewayProcess, gateway, mail, said, without_trace
from tests.support.smtp_server import Inbox, inbox

FAULTS = (
    "close",
    "reset",
    "half",
    "421 4.3.2 going down",
    "451 4.3.0 later",
    "554 5.7.1 never",
    "354 what",
    "220 what",
    "nonsense",
    "2500 what",
    "250",
    "\xff\xfe\x00",
)

# Seconds for a limit under test. What must not run into it gets more on a machine that needs more.
WAITS = (0.3, 2, 10, 50)


@pytest.fixture(scope="module")
def there() -> Iterator[Hostile]:
    with hostile() as found:
        yield found


@pytest.fixture(scope="module")
def between(there: Hostile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("hostile") / "data"
    with gateway(folder, f"smtp://127.0.0.1:{there.port}") as running:
        yield running


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("people", [1, 3])
def test_no_yes_without_the_smarthosts(
    between: GatewayProcess, there: Hostile, stage: str, people: int
) -> None:
    recipients = [f"p{n}@{stage}.example" for n in range(people)]
    for number, fault in enumerate(FAULTS):
        if stage == "body" and fault.startswith("250"):
            continue  # it has said yes, to what it has not seen
        there.script = {}
        before = len(there.accepted)
        text = f"<p>{stage} {people} {number}</p>"
        there.script = {stage: fault}
        try:
            found = between.send(mail(text), *recipients)
        except (smtplib.SMTPException, OSError) as error:
            found = f"no answer: {error}"
        taken = len(there.accepted) - before
        if found.startswith("250"):
            assert taken == people, (stage, fault, found)
        else:
            assert found[:1] in "45n", (stage, fault, found)
        if fault.startswith("554") and stage not in ("greeting", "ehlo", "rset", "body"):
            assert found.startswith("554 5.7.1 never"), (stage, found)
        there.script = {}
        # All is well again at once, and the mail that is sent again arrives whole.
        assert between.send(mail(text + "again"), "x@example.com").startswith("250 kept")
        assert text.encode() in there.accepted[-1]
    assert between.process.poll() is None


def test_an_answer_that_never_comes_is_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile() as there:
        settings = load(smarthost=f"smtp://127.0.0.1:{there.port}")

        async def ask(stage: str) -> list[str]:
            there.script = {stage: "never"}
            upstream = SmarthostConnection(settings)
            answers = [await upstream.mail("a@b.example", ())]
            answers.append(await upstream.rcpt("c@d.example"))
            answers.append(await upstream.data(b"x\r\n"))
            upstream.close()
            return [str(one)[:3] for one in answers]

        for stage, yes in (
            ("none", 3),
            ("greeting", 0),
            ("mail", 0),
            ("rcpt", 1),
            ("data", 2),
            ("dot", 2),
        ):
            for seconds in WAITS:
                monkeypatch.setattr("app.smtp.smarthost.TIMEOUT_SECONDS", seconds)
                monkeypatch.setattr("app.smtp.upstream.LAST_ANSWER_SECONDS", seconds)
                answers = asyncio.run(ask(stage))
                assert set(answers[yes:]) <= {"451"}, (stage, answers)
                if answers[:yes] == ["250"] * yes:
                    break
            assert answers == ["250"] * yes + ["451"] * (3 - yes), stage


def test_a_smarthost_without_extensions(there: Hostile, tmp_path: Path) -> None:
    there.script = {"ehlo": "250 plain"}
    with (
        gateway(tmp_path / "data", f"smtp://127.0.0.1:{there.port}") as running,
        running.client() as client,
    ):
        client.ehlo()
        assert sorted(client.esmtp_features) == ["pipelining", "size"]
        code, text = client.docmd("MAIL FROM:<a@b.example> BODY=8BITMIME")
        assert (code, text) == (550, b"5.6.3 the smarthost does not support 8BITMIME")
        assert said(client, mail()).startswith("250")
    there.script = {}


def test_silence_ends_a_connection(
    there: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.script = {}
    chosen = with_secrets(
        load(
            data_dir=tmp_path,
            smarthost=f"smtp://127.0.0.1:{there.port}",
            smtp_listen=f"127.0.0.1:{free_port()}",
            public_url="http://click.example",
        )
    )

    async def silent() -> list[bytes]:
        journal = Journal(tmp_path / "journal")
        journal.start(Tasks())
        state = open_state(tmp_path)
        made = Gateway(chosen, Keys(state, chosen), PreparerRegistry(chosen, state, journal).of)
        port = made.listen()
        running = asyncio.create_task(made.run())
        left = []
        begun = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx"
        for said_before in (b"", begun):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said_before)
            answers = (await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)).splitlines()
            left.append(answers[-1] if answers else b"")
            writer.close()
        running.cancel()
        await made.stop()
        await journal.close()
        return left

    before = len(there.accepted)
    expected = [b"220 click.example Mailwake", b"354 End data with <CR><LF>.<CR><LF>"]
    for seconds in WAITS:
        monkeypatch.setattr("app.smtp.gateway.IDLE_SECONDS", seconds)
        monkeypatch.setattr("app.smtp.protocol.STRANGER_SECONDS", seconds)
        last = asyncio.run(silent())
        assert len(there.accepted) == before
        if last == expected:
            break
    assert last == expected


def test_a_connection_that_died_between_mails_is_made_again(
    between: GatewayProcess, there: Hostile
) -> None:
    there.script = {"dot": "250 and close"}
    with between.client() as client:
        client.ehlo()
        for _ in range(3):
            assert said(client, mail()).startswith("250")
            there.script = {"rset": "close"}
            client.mail("a@b.example")
            client.rset()
            there.script = {}


def test_killing_the_gateway_loses_nothing_that_was_answered(
    there: Hostile, tmp_path: Path
) -> None:
    there.script = {"dot": "slow 0.02"}
    there.accepted.clear()
    yes: list[str] = []
    for life in range(3):
        with gateway(tmp_path / "data", f"smtp://127.0.0.1:{there.port}") as running:

            def work(worker: int, life: int = life, running: GatewayProcess = running) -> None:
                number = 0
                while True:
                    number += 1
                    name = f"l{life}w{worker}n{number}@killed.example"
                    try:
                        if running.send(mail(f"<p>{name}</p>"), name).startswith("250"):
                            yes.append(name)
                    except (smtplib.SMTPException, OSError):
                        return

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            wait_for(lambda: len(yes) > 17 * (life + 1), "answers", running.log.read_text)  # noqa: B023
            time.sleep(random.random())  # at any moment
            running.process.kill()
            for thread in threads:
                thread.join()
    got = b"".join(there.accepted)
    assert len(yes) > 50
    assert [name for name in yes if f"<p>{name}</p>".encode() not in got] == []
    with gateway(tmp_path / "data", f"smtp://127.0.0.1:{there.port}") as running:
        ledger = running.ledger()
        assert [name for name in yes if name.encode() not in ledger] == []


@given(st.integers(0, 999), st.text(max_size=600))
def test_an_answer_is_one_line_and_a_yes_is_250(code: int, text: str) -> None:
    found = answer(code, text)
    assert found.accepted == (code in (250, 251))
    assert 400 <= found.code < 600 or found.accepted
    line = str(found)
    assert len(line) <= 420 and line.isascii() and line.isprintable()


def test_421_is_said_as_451() -> None:
    assert answer(421, "4.3.2 going\r\ndown") == Answer(451, "421 4.3.2 going down")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


@pytest.mark.parametrize("starttls", [False, True])
def test_tls_to_the_smarthost_is_verified(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starttls: bool
) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(pem)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
    )

    async def sent(url: str, **more: Path) -> str:
        upstream = SmarthostConnection(load(smarthost=url, **more))
        found = await upstream.mail("a@b.example", ())
        if found.accepted:
            await upstream.rcpt("c@d.example")
            found = await upstream.data(mail())
        upstream.close()
        await asyncio.sleep(0.05)
        return str(found)

    for name, more, right in (
        ("relay.example", {"smarthost_ca": pem}, True),
        ("relay.example", {}, False),  # nobody vouches for it
        ("other.example", {"smarthost_ca": pem}, False),  # it is somebody else's
    ):
        tls = context(authority, name)
        kept = inbox(tls_context=tls) if starttls else inbox(tls=tls)
        with kept as box:
            url = f"smtp{'' if starttls else 's'}://relay.example:{box.port}"
            found = asyncio.run(sent(url, **more))
            assert found.startswith("250" if right else "451 4.4.1"), found
            assert len(box.raw) == right


def test_a_password_goes_over_tls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
    )
    with inbox(auth=True) as box:

        async def begun(host: str) -> bool:
            upstream = SmarthostConnection(
                load(smarthost=f"smtp://user:p%40ss+of+the+smarthost@{host}:{box.port}")
            )
            found = await upstream.mail("a@b.example", ())
            await upstream.quit()
            await asyncio.sleep(0.05)
            return found.accepted

        assert not asyncio.run(begun("relay.example"))
        assert box.logins == []
        assert asyncio.run(begun("127.0.0.1"))
        assert box.logins == [("user", "p@ss+of+the+smarthost")]


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("10.0.0.1", False), ("x", False)],
)
def test_this_machine_is_known(host: str, here: bool) -> None:
    assert smarthost.is_here(host) is here


@pytest.fixture(scope="module")
def taken() -> Iterator[Inbox]:
    """What the strange gateway's smarthost has got."""
    with inbox() as box:
        yield box


@pytest.fixture(scope="module")
def strange(
    authority: trustme.CA, taken: Inbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, ssl.SSLContext]]:
    """A gateway to which this machine is a stranger."""
    folder = tmp_path_factory.mktemp("strange")
    made = authority.issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    env = {
        "MAILWAKE_SMTP_NETWORKS": "192.0.2.0/24",
        "MAILWAKE_API_KEYS": "mw_one_of_two_keys,mw_two_of_two_keys",
        "MAILWAKE_SMTP_CERT": str(folder / "cert.pem"),
        "MAILWAKE_SMTP_KEY": str(folder / "key.pem"),
    }
    with gateway(folder / "data", f"smtp://127.0.0.1:{taken.port}", **env) as running:
        yield running, trusting


def test_strangers_may_not_send(strange: tuple[GatewayProcess, ssl.SSLContext]) -> None:
    running, trusting = strange
    with running.client() as client:
        client.ehlo()
        assert client.has_extn("starttls") and not client.has_extn("auth")
        assert said(client, mail()) == "530 5.7.0 authentication required after STARTTLS"
        assert client.docmd("AUTH", "PLAIN AG13X29uZQBtd19vbmU=")[0] == 538
        client.starttls(context=trusting)
        client.ehlo()
        assert client.has_extn("auth") and not client.has_extn("starttls")
        assert said(client, mail()).startswith("530")


def test_who_shows_a_key_over_tls_may(strange: tuple[GatewayProcess, ssl.SSLContext]) -> None:
    running, trusting = strange
    for key in ("mw_one_of_two_keys", "mw_two_of_two_keys"):
        with running.client() as client:
            client.starttls(context=trusting)
            client.login("anybody", key)
            assert said(client, mail()).startswith("250")
    with running.client() as client:
        client.starttls(context=trusting)
        for _ in range(2):
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("anybody", "mw_")
        client.close()


def test_a_key_is_good_for_its_scopes_and_files_mail_under_its_workspace(
    strange: tuple[GatewayProcess, ssl.SSLContext], taken: Inbox
) -> None:
    running, trusting = strange
    state = open_state(running.data_dir)
    chosen = with_secrets(load(data_dir=running.data_dir, public_url="http://click.example"))
    Workspaces(state, chosen).add("acme", "http://acme.example")
    keys = Keys(state, chosen)
    _, reading = keys.add("default", "reader", ["read"], "")
    made, writing = keys.add("acme", "mailer", ["rewrite"], "")
    with running.client() as client:
        client.starttls(context=trusting)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("anybody", reading)
        client.login("anybody", writing)
        to = "ann@acme-customer.example"
        assert said(client, mail(), to).startswith("250")
        arrived = taken.to(to)
        assert b"http://acme.example/c/" in arrived and b"click.example/" not in arrived
        (record,) = [line for line in running.ledger().splitlines() if to.encode() in line]
        assert b'"workspace":"acme"' in record
        keys.revoke("acme", made.id)
        end = time.monotonic() + PATIENCE_SECONDS
        while said(client, mail()).startswith("250"):
            assert time.monotonic() < end
        assert said(client, mail()).startswith("530 5.7.0 authentication required")


def test_what_comes_with_starttls_in_the_clear_is_forgotten(
    strange: tuple[GatewayProcess, ssl.SSLContext],
) -> None:
    running, trusting = strange
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE_SECONDS) as raw:
        with raw.makefile("rb") as file:
            file.readline()
            raw.sendall(b"EHLO x\r\n")
            while file.readline()[3:4] == b"-":
                pass
            raw.sendall(b"STARTTLS\r\nNOOP\r\nNOOP\r\n")  # injected before TLS (CVE-2011-0411)
            assert file.readline().startswith(b"220")
        with trusting.wrap_socket(raw, server_hostname="127.0.0.1") as secure:
            secure.sendall(b"EHLO y\r\nQUIT\r\n")
            with secure.makefile("rb") as file:
                answers = file.read().splitlines()
            assert answers[0] == b"250-click.example"
            assert [line[:4] for line in answers if line[3:4] == b" "] == [b"250 ", b"221 "]


def test_the_mail_arrives_as_the_smarthost_saw_it(between: GatewayProcess, there: Hostile) -> None:
    there.script = {}
    plain = b"From: a@b.example\r\n\r\n..two dots\r\n.\x20\r\n"
    assert between.send(plain).startswith("250")
    assert without_trace(there.accepted[-1]) == plain
