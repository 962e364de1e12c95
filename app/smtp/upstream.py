"""Talks to the smarthost, whose answers become the client's (RFC 5321).

Nothing is kept here: the client has to send again what the smarthost has not accepted.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from app.model.numbers import read_int
from app.rewriting import smtp_lines
from app.settings.settings import Settings
from app.smtp import smarthost

LAST_ANSWER_SECONDS = (
    600.0  # seconds to wait for the answer to a whole mail (RFC 5321, section 4.5.3.2.6)
)
AWAY = "451 4.4.1 the smarthost is unavailable, try again later"
START_MAIL_CODE = 354
UNSURE = "451 4.4.2 the smarthost did not confirm that it accepted the mail, try again later"


class Capabilities(NamedTuple):
    """What the smarthost supports; `size` is in bytes, 0 if it gives no limit."""

    size: int
    eight_bit: bool
    utf8: bool
    dsn: bool


class Answer(NamedTuple):
    """A code of three digits and its text."""

    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Returns whether the smarthost has accepted the command."""
        return self.code in (250, 251)

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def answer(code: int, text: str) -> Answer:
    """Returns an answer of one line of printable text.

    An answer that is neither success nor failure becomes a temporary failure. So does 421: the
    smarthost closes its connection, not the client's.
    """
    line = " ".join(re.sub(r"[^ -~]+", " ", text).split())[:400]
    plain = code in (250, 251) or (400 <= code < 600 and code != 421)
    return Answer(code, line) if plain else Answer(451, f"{code} {line}")


def _of(text: str) -> Answer:
    return Answer(int(text[:3]), text[4:])


class SmarthostConnection:
    """One connection, opened when it is first needed and again if it was lost between mails."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._smtp: SMTP | None = None
        self._begun = False
        self.capabilities = Capabilities(0, False, False, False)

    async def connect(self) -> Capabilities | Answer:
        """Returns what the smarthost supports, or why it cannot be reached."""
        try:
            smtp = await self._connected()
        except (SMTPException, OSError, ValueError):
            self.close()
            return _of(AWAY)
        extensions = smtp.esmtp_extensions
        size = extensions.get("size", "").strip()
        self.capabilities = Capabilities(
            read_int(size, high=10**20) or 0,  # RFC 1870: up to 20 digits, 0 is no limit
            "8bitmime" in extensions,
            "smtputf8" in extensions,
            "dsn" in extensions,
        )
        return self.capabilities

    async def mail(self, sender: str, options: Iterable[str]) -> Answer:
        """Begin a mail; a connection that was lost meanwhile is opened again."""
        await self.reset()
        for fresh in (False, True):
            if fresh or not self.alive:
                self.close()
                if isinstance(away := await self.connect(), Answer):
                    return away
            reply = await self._ask(b"MAIL", b"FROM:<%s>" % _bytes(sender), *map(_bytes, options))
            if reply is not None:
                self._begun = reply.accepted
                return reply
        return _of(AWAY)

    async def rcpt(self, recipient: str, options: Iterable[str] = ()) -> Answer:
        """Add a recipient."""
        command = b"RCPT", b"TO:<%s>" % _bytes(recipient), *map(_bytes, options)
        return await self._ask(*command) or _of(AWAY)

    async def data(self, message: bytes) -> Answer:
        """Send the mail itself, but never a mail that others could read as several.

        aiosmtplib's own `data` would convert line ends, which takes longer than everything else.
        """
        if problem := smtp_lines.refusal(message):
            await self.reset()
            return _of(problem)
        if (reply := await self._ask(b"DATA")) is None:
            return _of(UNSURE)
        if reply.code != START_MAIL_CODE:
            return reply if not reply.accepted else _of(UNSURE)  # a 2xx answers nothing here
        self._begun = False
        whole = message if message.endswith(b"\r\n") else message + b"\r\n"
        if whole.startswith(b"."):
            whole = b"." + whole
        try:
            protocol = self._smtp.protocol if self._smtp else None
            if protocol is None:
                return _of(UNSURE)
            protocol.write(whole.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            last = await protocol.read_response(timeout=LAST_ANSWER_SECONDS)
        except (SMTPException, OSError, ValueError):
            self.close()
            return _of(UNSURE)
        if last.code != 250 and not 400 <= last.code < 600:
            self.close()  # its next answer would be read as the answer to another command
            return _of(UNSURE)
        return answer(last.code, last.message)

    @property
    def alive(self) -> bool:
        """Returns whether there is a connection."""
        return self._smtp is not None and self._smtp.is_connected

    async def quit(self) -> None:
        """Send QUIT, if that takes no time."""
        if self._smtp is not None and self.alive:
            with suppress(SMTPException, OSError):
                await self._smtp.quit(timeout=2)
        self.close()

    async def reset(self) -> None:
        """Reset a mail that was begun."""
        if self._begun:
            self._begun = False
            if await self._ask(b"RSET") is None:
                self.close()

    def close(self) -> None:
        """Close without QUIT, so that the smarthost drops a mail that it has not answered for."""
        self._begun = False
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    async def _connected(self) -> SMTP:
        if self._smtp is None or not self._smtp.is_connected:
            self._smtp = smarthost.client(self._settings)
            await self._smtp.connect()
            if self._smtp.is_ehlo_or_helo_needed:
                await self._smtp.ehlo()
        return self._smtp

    async def _ask(self, *command: bytes) -> Answer | None:
        """Send a command and return the answer, or None if the connection was lost."""
        if self._smtp is None:
            return None
        try:
            reply = await self._smtp.execute_command(*command)
        except SMTPResponseException as error:
            self.close()
            return answer(451, error.message)
        except (SMTPException, OSError, ValueError):
            self.close()
            return None
        if reply.code == START_MAIL_CODE and command == (b"DATA",):
            return Answer(START_MAIL_CODE, "")
        return answer(reply.code, reply.message)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
