"""Runs a real SMTP server on a loopback port that keeps its mails, with faults on demand."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from tests.support.service import free_port


class Inbox:
    """Mails received; `answers` are sent for the next messages instead of accepting them."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.envelopes: list[Envelope] = []
        self.refused: dict[str, str] = {}  # answers by recipient
        self.answers_to: dict[str, str] = {}  # the same, after the mail's data
        self.arrived = 0  # mails that have come whole, answered or not
        self.open = threading.Event()  # while it is not set, no mail is answered
        self.open.set()
        self.answers: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.port = free_port()

    async def handle_RCPT(  # noqa: N802
        self, _: Any, __: Any, envelope: Envelope, address: str, ___: Any
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:  # noqa: N802
        self.arrived += 1
        while not self.open.is_set():
            await asyncio.sleep(0.01)
        if self.answers:
            return self.answers.pop(0)
        for address in envelope.rcpt_tos:
            if address in self.answers_to:
                return self.answers_to[address]
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        self.envelopes.append(envelope)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return f"250 2.0.0 kept as {len(self.mails)}"

    def to(self, address: str) -> bytes:
        """Returns the one mail that a recipient got."""
        (message,) = [
            raw
            for raw, envelope in zip(self.raw, self.envelopes, strict=True)
            if address in envelope.rcpt_tos
        ]
        return message

    def clear(self) -> None:
        """Forget the received mails."""
        for kept in (self.mails, self.raw, self.envelopes):
            kept.clear()

    def authenticate(self, *arguments: Any) -> AuthResult:
        login = arguments[-1]
        self.logins.append((login.login.decode(), login.password.decode()))
        return AuthResult(success=True)


class _Server(SMTP):
    line_length_limit = 1_000_000


class _Controller(Controller):
    def factory(self) -> SMTP:
        return _Server(self.handler, **self.SMTP_kwargs)


@contextmanager
def inbox(
    auth: bool = False,
    tls: ssl.SSLContext | None = None,
    handler: type[Inbox] = Inbox,
    **more: Any,
) -> Iterator[Inbox]:
    """Run a server until the block ends; `tls` is for TLS from the beginning."""
    received = handler()
    if auth:
        more = {"authenticator": received.authenticate, "auth_require_tls": False, **more}
    controller = _Controller(
        received,
        hostname="127.0.0.1",
        port=received.port,
        ssl_context=tls,
        **{"data_size_limit": 50_000_000, "enable_SMTPUTF8": True, **more},
    )
    controller.start()
    try:
        yield received
    finally:
        controller.stop()
