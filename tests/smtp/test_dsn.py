"""Parameters of delivery status notifications, alone and through a gateway."""

import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.smtp.dsn import refusal, split
from tests.support.hostile_smarthost import Hostile, hostile
from tests.support.smtp_gateway import GatewayProcess, gateway, mail

WITH_DSN = "250-hostile\r\n250-DSN\r\n250-SIZE 50000000\r\n250 8BITMIME"
# RFC 3461, section 10.1 and others of its examples.
FINE = (
    ("MAIL", "RET=HDRS ENVID=QQ314159"),
    ("MAIL", "ret=full"),
    ("RCPT", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Carol@Ivory.EDU"),
    ("RCPT", "notify=NEVER"),
    ("RCPT", "ORCPT=utf-8;ann\\x{E9}+2B1@example.com"),
    ("RCPT", "ORCPT=x400;a>b"),
)
WRONG = (
    ("MAIL", "RET", 501),
    ("MAIL", "RET=ALL", 501),
    ("MAIL", "RET=FULL RET=FULL", 501),
    ("MAIL", "ENVID=", 501),
    ("MAIL", "ENVID=a=b", 501),
    ("MAIL", "ENVID=a+zz", 501),
    ("MAIL", "ENVID=" + "x" * 101, 501),
    ("MAIL", "NOTIFY=NEVER", 555),
    ("RCPT", "RET=FULL", 555),
    ("RCPT", "NOTIFY=", 501),
    ("RCPT", "NOTIFY=NEVER,DELAY", 501),
    ("RCPT", "NOTIFY=SUCCESS,", 501),
    ("RCPT", "NOTIFY=SUCCESS,SUCCESS,SUCCESS,SUCCESS", 501),
    ("RCPT", "ORCPT=ann@example.com", 501),
    ("RCPT", "ORCPT=rfc822;" + "x" * 500, 501),
    ("RCPT", "RETURN=1", 555),
)


@given(st.text(st.sampled_from("RETENVIDNOTIFYORCPT =;,+aA1>"), max_size=60))
def test_all_parameters_are_either_dsns_or_others(text: str) -> None:
    found, others = split(text)
    assert sorted([*found, *others.split()]) == sorted(text.split())
    assert split(others) == ([], f" {others}")
    for parameter in found:
        assert re.match("RET|ENVID|NOTIFY|ORCPT", parameter, re.IGNORECASE)


@pytest.mark.parametrize(("command", "text"), FINE)
def test_what_the_rfc_allows_is_accepted(command: str, text: str) -> None:
    found, others = split(text)
    assert (found, others.strip()) == (text.split(), "")
    assert refusal(command, found, True) == ""  # type: ignore[arg-type]
    assert refusal(command, found, False).startswith("555 ")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def there() -> Iterator[Hostile]:
    with hostile() as smarthost:
        smarthost.script = {"ehlo": WITH_DSN}
        yield smarthost


@pytest.fixture(scope="module")
def between(there: Hostile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("dsn") / "data"
    with gateway(folder, f"smtp://127.0.0.1:{there.port}") as running:
        yield running


@pytest.mark.parametrize("people", [1, 3])
def test_the_smarthost_gets_each_parameter_as_it_came(
    there: Hostile, between: GatewayProcess, people: int
) -> None:
    there.commands.clear()
    before = len(there.accepted)
    wanted = {
        f"P{n}@example.com": ["NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;Person+2B{n}@Example.com"]
        for n in range(people)
    }
    if people > 1:
        wanted["P1@example.com"] = []
    with between.client() as client:
        client.ehlo()
        assert client.has_extn("dsn")
        begun = client.mail("shop@shop.example", ["RET=HDRS", "ENVID=Order+2B7", "BODY=8BITMIME"])
        assert begun[0] == 250
        for recipient, options in wanted.items():
            assert client.rcpt(recipient, options)[0] == 250
        assert client.data(mail())[0] == 250
    assert len(there.accepted) - before == people
    sent = there.commands[-2 * people :]  # a transaction for each copy
    assert sent[::2] == ["MAIL FROM:<shop@shop.example> BODY=8BITMIME RET=HDRS ENVID=Order+2B7"] * (
        people
    )
    assert sent[1::2] == [
        " ".join([f"RCPT TO:<{recipient}>", *options]) for recipient, options in wanted.items()
    ]


@pytest.mark.parametrize(("command", "text", "code"), WRONG)
def test_what_the_rfc_does_not_allow_is_refused_and_not_passed_on(
    there: Hostile, between: GatewayProcess, command: str, text: str, code: int
) -> None:
    with between.client() as client:
        client.ehlo()
        if command == "RCPT":
            assert client.mail("a@b.example")[0] == 250
        there.commands.clear()
        options = text.split()
        refused = (
            client.mail("a@b.example", options)
            if command == "MAIL"
            else client.rcpt("c@d.example", options)
        )
        assert refused[0] == code, refused
        assert there.commands == []


def test_without_dsn_at_the_smarthost_it_is_not_offered_and_is_refused(
    there: Hostile, tmp_path: Path
) -> None:
    with (
        hostile() as plain,
        gateway(tmp_path / "data", f"smtp://127.0.0.1:{plain.port}") as running,
        running.client() as client,
    ):
        client.ehlo()
        assert not client.has_extn("dsn")
        refused = client.mail("a@b.example", ["RET=HDRS"])
        assert refused == (555, b"5.5.4 MAIL parameter: the smarthost does not support DSN")
        assert client.mail("a@b.example")[0] == 250
        assert client.rcpt("c@d.example", ["NOTIFY=NEVER"])[0] == 555
        assert client.rcpt("c@d.example")[0] == 250


def test_without_ehlo_there_are_no_parameters(between: GatewayProcess) -> None:
    with between.client() as client:
        client.helo()
        assert client.docmd("MAIL", "FROM:<a@b.example> RET=HDRS")[0] in (501, 555)
        assert smtplib.SMTP is type(client)
        assert client.docmd("MAIL", "FROM:<a@b.example>")[0] == 250
