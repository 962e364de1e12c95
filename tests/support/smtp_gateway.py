"""Runs the real SMTP gateway in a process of its own, and builds mails for it."""

import os
import re
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.journal_segments import waiting_segments
from tests.support.forked import Forked
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import free_port

PIXEL = re.compile(rb"http://[a-z0-9.:]+/o/[\w.-]+\.gif")
LINK = re.compile(rb"http://[a-z0-9.:]+/c/[\w.-]+/[\w.-]+")


class GatewayProcess:
    """`mailwake smtp` on a loopback port, with a smarthost; `faults` is Python to run first."""

    def __init__(self, data_dir: Path, smarthost: str, faults: str = "", **env: str) -> None:
        listen = env.get("MAILWAKE_SMTP_LISTEN", "")
        port = listen.rpartition(":")[2]
        self.port = int(port) if port.isdigit() else free_port()
        self.data_dir = data_dir
        self.log = data_dir.parent / f"{data_dir.name}-smtp.log"
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")},
            "MAILWAKE_DATA_DIR": str(data_dir),
            "MAILWAKE_PUBLIC_URL": "http://click.example",
            "MAILWAKE_SMARTHOST": smarthost,
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{self.port}",
            **env,
        }
        # Some variables matter to Python itself, when it starts.
        own = any(not name.startswith("MAILWAKE_") for name in env)
        self.process = self._started(faults) if faults or own else self._forked()
        wait_for(self._listens, "gateway", self.log.read_text)

    def _forked(self) -> "subprocess.Popen[bytes] | Forked":
        return Forked("smtp", env=self.env, log=self.log)

    def _started(self, faults: str) -> "subprocess.Popen[bytes]":
        program = f"{faults}\nfrom app.__main__ import main\nmain()"
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", program, "smtp"],
                env=self.env,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP(
            "127.0.0.1", self.port, timeout=PATIENCE_SECONDS, local_hostname="mailer.example"
        )

    def send(self, message: bytes, *recipients: str, sender: str = "shop@shop.example") -> str:
        """Returns the answer to the whole mail, whatever it is."""
        with self.client() as client:
            client.ehlo()
            return said(client, message, *recipients, sender=sender)

    def ledger(self) -> bytes:
        """Returns all bytes of the journal."""
        waiting = waiting_segments(self.data_dir / "journal", Path.read_bytes)
        return b"".join(lines for _, lines in waiting)


def said(
    client: smtplib.SMTP, message: bytes, *recipients: str, sender: str = "shop@shop.example"
) -> str:
    """Returns the first error, or the last answer; smtplib would change line ends."""
    for command, argument in (
        ("mail", f"FROM:<{sender}>"),
        *(("rcpt", f"TO:<{to}>") for to in recipients or ("ann@example.com",)),
    ):
        code, text = client.docmd(command, argument)
        if code != 250:
            client.rset()
            return f"{code} {text.decode()}"
    code, text = client.docmd("data")
    if code != 354:
        return f"{code} {text.decode()}"
    dotted = re.sub(rb"(?m)^\.", b"..", message)
    client.send(dotted + (b"" if dotted.endswith(b"\r\n") else b"\r\n") + b".\r\n")
    code, text = client.getreply()
    return f"{code} {text.decode()}"


@contextmanager
def gateway(
    data_dir: Path, smarthost: str, faults: str = "", **env: str
) -> Iterator[GatewayProcess]:
    """Run until the block ends."""
    running = GatewayProcess(data_dir, smarthost, faults, **env)
    try:
        yield running
    finally:
        running.stop()


def mail(
    html: str = '<body><a href="https://example.com/a">A</a></body>', *headers: str, to: str = "ann"
) -> bytes:
    """Returns an HTML mail with CRLF."""
    lines = [
        *headers,
        "From: Shop <news@shop.example>",
        f"To: {to}@example.com",
        "Subject: Hello",
        "MIME-Version: 1.0",
        "Content-Type: text/html; charset=utf-8",
        "",
        html,
        "",
    ]
    return "\r\n".join(lines).encode()


def without_trace(raw: bytes) -> bytes:
    """Returns a mail without the gateway's Received field."""
    if raw[:1] in b" \t":
        return raw  # it begins within a field and gets none
    assert raw.startswith(b"Received: from "), raw[:200]
    return re.sub(rb"\AReceived: .*\r\n(?:[ \t].*\r\n)*", b"", raw)
