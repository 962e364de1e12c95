"""The how-tos' own settings and code at work, with stand-ins for the vendors' servers.

Nobody can run Amazon's or SendGrid's servers here. What stands in for them is a real SMTP server
that asks for what their documentation says they ask for: STARTTLS with a certificate of that name,
then a login. The gateway is told to find it under the vendor's name and port.
"""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import trustme

from app.storage.clickhouse import Storage
from tests.support.doc_blocks import blocks, desk
from tests.support.paths import ROOT
from tests.support.service import Service, tracked_urls
from tests.support.smtp_gateway import GatewayProcess, gateway, mail, without_trace
from tests.support.smtp_server import Inbox, inbox

# Python reads this when it starts; it is how a name and port lead somewhere else. uvloop would ask
# the system for names.
ELSEWHERE = """
import asyncio, socket, uvloop
uvloop.run = asyncio.run
known = socket.getaddrinfo
def getaddrinfo(host, port, *rest, **more):
    there = host == {host!r} and int(port) == {port}
    return known(*(("127.0.0.1", {stand_in}) if there else (host, port)), *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


def block(page: str, language: str, holds: str = "") -> str:
    """The text of a page's first block of a kind that holds some words."""
    every = blocks(ROOT / "docs" / "howto" / page)
    return next(one.text for one in every if one.language == language and holds in one.text)


def settings_of(page: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block(page, "dotenv").splitlines())


class Vendor:
    """A gateway with a how-to's settings, and what stands in for the vendor's server behind it."""

    def __init__(self, box: Inbox, before: GatewayProcess, login: tuple[str, str]) -> None:
        self.box, self.before, self.login = box, before, login

    def sent(self, html: str, *headers: str) -> tuple[bytes, bytes]:
        """What the mailer sends, and what the vendor gets without the gateway's Received."""
        mail_sent = mail(html, *headers)
        answer = self.before.send(mail_sent, "ann@example.com")
        assert answer.startswith("250 2.0.0 kept"), answer
        assert self.box.logins[-1] == self.login
        return mail_sent, without_trace(self.box.raw[-1])


@contextmanager
def vendor(page: str, folder: Path, **more: str) -> Iterator[Vendor]:
    """Until the block ends."""
    env = settings_of(page)
    parts = urlsplit(env["MAILWAKE_SMARTHOST"])
    assert parts.hostname and parts.port and parts.username and parts.password
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(parts.hostname).configure_cert(tls)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    asks: dict[str, Any] = (
        {"tls": tls}
        if parts.scheme == "smtps"
        else {
            "tls_context": tls,
            "require_starttls": True,
            "auth_required": True,
            "auth_require_tls": True,
        }
    )
    with inbox(auth=True, **asks) as box:
        elsewhere = ELSEWHERE.format(host=parts.hostname, port=parts.port, stand_in=box.port)
        (folder / "sitecustomize.py").write_text(elsewhere)
        env |= {
            "MAILWAKE_SMARTHOST_CA": str(folder / "ca.pem"),
            "PYTHONPATH": f"{folder}:{ROOT}",
            **more,
        }
        with gateway(folder / "data", env.pop("MAILWAKE_SMARTHOST"), **env) as before:
            yield Vendor(box, before, (unquote(parts.username), unquote(parts.password)))


def put_back(sent: bytes, got: bytes) -> bytes:
    """What the vendor got, with the links of what was sent and without the pixel."""
    got = re.sub(rb'<img[^>]* src="https://click\.example\.com/o/[^>]*>(\r\n\Z)?', b"", got)
    for address in re.findall(rb'href="(https://shop[^"]*)"', sent):
        got = re.sub(rb"https://click\.example\.com/c/[\w./-]+", address, got, count=1)
    return got


def test_ses(tmp_path: Path) -> None:
    fields = ("X-SES-CONFIGURATION-SET: plain", "X-SES-MESSAGE-TAGS: campaign=spring, n=1")
    html = block("ses.md", "html").replace("\n", "\r\n")
    with vendor("ses.md", tmp_path) as ses:
        sent, got = ses.sent(html, *fields, "X-Mailwake-Newsletter: spring-sale")
    assert all(field.encode() + b"\r\n" in got for field in fields)
    assert len(re.findall(rb"https://click\.example\.com/c/", got)) == 1
    assert b'<a href="https://shop.example/password?token=1">' in got
    gone = sent.replace(b" ses:no-track", b"").replace(
        b"X-Mailwake-Newsletter: spring-sale\r\n", b""
    )
    assert put_back(sent, got) == gone


def test_sendgrid(tmp_path: Path) -> None:
    filters = json.loads(block("sendgrid.md", "json"))
    # As a library folds it: what stands there must arrive byte for byte.
    field = "X-SMTPAPI: " + json.dumps({"category": "caf\\u00e9", **filters}).replace(
        ", ", ",\r\n\t "
    )
    html = block("sendgrid.md", "html").replace("\n", "\r\n")
    with vendor("sendgrid.md", tmp_path) as sendgrid:
        assert sendgrid.login == ("apikey", "SG.example-key-of-yours")
        sent, got = sendgrid.sent(html, "X-Mailwake-Newsletter: spring-sale", field)
    assert field.encode() + b"\r\n" in got
    assert b'<a href="https://shop.example/password?token=1">' in got
    gone = sent.replace(b' clicktracking="off"', b"")
    gone = gone.replace(b"X-Mailwake-Newsletter: spring-sale\r\n", b"")
    assert put_back(sent, got) == gone


def test_listmonk(tmp_path: Path) -> None:
    """What listmonk sends: one mail a subscriber, with the campaign's headers filled in."""
    headers = json.loads(block("listmonk.md", "json").replace("{{ .Campaign.Name }}", "Spring"))
    own = [f"{name}: {value}" for one in headers for name, value in one.items()]
    theirs = [
        "X-Listmonk-Campaign: 9f86b50d-5711-41c8-ab03-bc91c43d711b",
        "X-Listmonk-Subscriber: b6c4a5a0-0000-4000-8000-000000000001",
        "List-Unsubscribe: <https://lists.example/subscription/a/b>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    ]
    html = (
        '<body><a href="https://shop.example/boots">Boots</a>'
        ' <a href="https://lists.example/subscription/a/b">Unsubscribe</a></body>'
    )
    (tmp_path / "streams.toml").write_text(block("listmonk.md", "toml"))
    more = {"MAILWAKE_SMTP_STREAMS": str(tmp_path / "streams.toml")}
    with vendor("listmonk.md", tmp_path, **more) as behind:
        sent, got = behind.sent(html, *own, *theirs)
        assert all(field.encode() + b"\r\n" in got for field in theirs)
        assert b"X-Mailwake" not in got
        assert b'<a href="https://lists.example/subscription/a/b">' in got
        assert put_back(sent, got) == re.sub(rb"X-Mailwake-.*\r\n", b"", sent)
        ledger = behind.before.ledger()
        assert b'"id":"spring-sale"' in ledger and b'"name":"Spring"' in ledger
        optin = mail(html).replace(b"news@shop.example", b"noreply@lists.example")
        behind.before.send(optin, "ann@example.com")
        assert without_trace(behind.box.raw[-1]) == optin


SENDING = """
from django.core.mail import EmailMessage
to = ["gone@example.com", "ann@example.com"]
mail = EmailMessage("Hi", "<body>Hi", "a@shop.example", to, headers={"X-Mailwake-Newsletter": "dj"})
mail.content_subtype = "html"
print(mail.send())
"""


def test_django(service: Service, storage: Storage, tmp_path: Path) -> None:
    """The page's own mail is sent by test_blocks.py; here is what may go wrong."""
    code = [one for one in blocks(ROOT / "docs/howto/django.md") if one.text.startswith("# ")]
    gone = {"recipient": "gone@example.com", "newsletter_id": "dj"}
    assert service.client.post("/v1/suppressions", json=gone).status_code == 200
    with inbox() as box:
        env = {"MAILWAKE_API_KEY": service.api_key, "DJANGO_SETTINGS_MODULE": "settings"}
        for url, expected in ((service.url, ["ann"]), ("http://127.0.0.1:9", ["gone", "ann"])):
            box.clear()
            places = {"http://127.0.0.1:8025": url, "EMAIL_PORT = 25": f"EMAIL_PORT = {box.port}"}
            folder = tmp_path / expected[0]
            folder.mkdir()
            with desk(folder, env, places) as work:
                for one in code:
                    work.do(one, storage)
                done = work.do(code[0]._replace(text=SENDING), storage)
            assert int(done) == len(expected)
            tos = [envelope.rcpt_tos for envelope in box.envelopes]
            assert tos == [[f"{name}@example.com"] for name in expected]
            assert b"X-Mailwake" not in b"".join(box.raw)
            assert bool(tracked_urls(box.raw[-1].decode())) is (url == service.url)
