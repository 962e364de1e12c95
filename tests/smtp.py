"""A real SMTP server on a loopback port that keeps what it gets, with faults on demand."""

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.service import free_port


class Inbox:
    """`answers` are given to the next messages instead of taking them."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.port = free_port()

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 kept"

    def authenticate(self, *arguments: Any) -> AuthResult:
        login = arguments[-1]
        self.logins.append((login.login.decode(), login.password.decode()))
        return AuthResult(success=True)


@contextmanager
def inbox(auth: bool = False) -> Iterator[Inbox]:
    """A server until the block ends."""
    found = Inbox()
    more: dict[str, Any] = (
        {"authenticator": found.authenticate, "auth_require_tls": False} if auth else {}
    )
    controller = Controller(found, hostname="127.0.0.1", port=found.port, **more)
    controller.start()
    try:
        yield found
    finally:
        controller.stop()
