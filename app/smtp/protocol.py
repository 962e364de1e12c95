"""Extends aiosmtpd's protocol for a gateway: mails are read in large pieces.

aiosmtpd awaits each line of a mail, which takes most of the total time for a mail.
"""

import asyncio
import math
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from aiosmtpd.smtp import SMTP

from app.rewriting.smtp_lines import LONGEST_LINE
from app.smtp import dsn

COMMAND_BYTES = 2_048  # bytes; RFC 5321 asks for 512, RFC 3461 for 1,012 of RCPT
PIECE_BYTES = 2**20  # bytes; more than the reader ever holds
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN = re.compile(rf"<({_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>((?: .*)?)")
END = b"\r\n.\r\n"
STRANGER_SECONDS = 60.0  # from a connection to a login or the first accepted MAIL
# AUTH= of MAIL (RFC 4954, section 5): the mailbox of the author as xtext (RFC 3461, section 4).
_WITH_AUTH = re.compile(
    r"(.*>(?:\s+[\w-]+(?:=\S*)?)*?)\s+AUTH=(\S*)((?:\s+[\w-]+(?:=\S*)?)*)\s*", re.IGNORECASE
)
_AUTH = re.compile(r"<>|(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")


class Protocol(SMTP):
    """One client's protocol; `closed` is called once, after `handler.closed()`.

    A client is a stranger until `admit()`: it has STRANGER_SECONDS, however often it says NOOP.
    """

    line_length_limit = LONGEST_LINE
    command_size_limit = COMMAND_BYTES

    def __init__(self, handler: Any, closed: Callable[[], None], **more: Any) -> None:
        self._stranger_until: float | None = more["loop"].time() + STRANGER_SECONDS
        # aiosmtpd has one dict for all connections, with its own limit.
        self.command_size_limits = defaultdict(lambda: COMMAND_BYTES)
        super().__init__(handler, **more)
        self._on_closed: Callable[[], None] | None = closed
        self.dsn: list[str] = []  # parameters of the latest MAIL or RCPT
        self.mail_bytes: int | None = None  # a lower limit for the current mail

    def admit(self) -> None:
        """Give the client the time that RFC 5321 asks for: it has logged in or begun a mail."""
        self._stranger_until = None
        self._reset_timeout()

    def drop(self) -> None:
        """Close the connection at once, to make room for another client."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    @property
    def is_stranger(self) -> bool:
        """Returns whether the client has neither logged in nor begun a mail."""
        return self._stranger_until is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: a command ends with CRLF (RFC 5321, section 2.3.8), never with LF alone."""
        super().connection_made(transport)
        reader = self._reader

        async def read_command(separator: bytes = b"\r\n") -> bytes:
            line = await asyncio.StreamReader.readuntil(reader, b"\r\n")
            # What others may read as several commands is none: aiosmtpd answers 500.
            return line if not re.search(rb"[\r\n]", line[:-2]) else b"\r\n"

        reader.readuntil = read_command  # type: ignore[method-assign, assignment]

    def _reset_timeout(self, duration: float | None = None) -> None:
        if duration is None and self._stranger_until is not None:
            duration = max(0.01, self._stranger_until - self.loop.time())
        super()._reset_timeout(duration)

    def eof_received(self) -> bool:
        """Close the connection of a client that left at once, without waiting for the timeout."""
        super().eof_received()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Close the handler once; asyncio may call this twice after a TLS failure."""
        super().connection_lost(error)
        if self._on_closed:
            self.event_handler.closed()
            self._on_closed()
            self._on_closed = None

    def keep(self, seconds: float) -> None:
        """Extend the idle timeout while the client's mail is being relayed."""
        self._reset_timeout(seconds)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Parse plain email addresses quickly; aiosmtpd parses each by the whole grammar.

        The parameters of DSN, which aiosmtpd would refuse, are kept in `dsn`.
        """
        self.dsn = []
        address: str | None
        parameters: str | None
        if plain := _PLAIN.fullmatch(arg):
            address, parameters = plain[1], plain[2]
        else:
            try:
                address, parameters = super()._getaddr(arg)
            except (RecursionError, IndexError, ValueError):  # it recurses for each bracket
                return None, None
        if parameters:
            self.dsn, parameters = dsn.split(parameters)
        return address, parameters

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """Accept AUTH=, which a server that offers AUTH must (RFC 4954, section 5).

        It says which user wrote the mail; the smarthost gets it from nobody that it trusts.
        """
        if match := _WITH_AUTH.fullmatch(arg or ""):
            if not _AUTH.fullmatch(match[2]):
                await self.push("501 5.5.4 AUTH= must be <> or a mailbox as xtext")
                return
            arg = match[1] + match[3]
        await super().smtp_MAIL(arg)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Read a mail (RFC 5321, section 4.1.1.4): only a dot alone on its line ends it."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        assert self.envelope is not None  # noqa: S101
        if not self.envelope.rcpt_tos:
            await self.push("503 Error: need RCPT command")
            return
        if arg:
            await self.push("501 Syntax: DATA")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        content = await self._content()
        if content is None:
            status = "552 5.3.4 the mail is too large"
        else:
            self.envelope.content = self.envelope.original_content = content
            status = await self._call_handler_hook("DATA")
        self.envelope = self._create_envelope()
        await self.push(status)

    async def _content(self) -> bytes | None:
        """Returns the mail without dot-stuffing (section 4.5.2), or None if it is too large."""
        limit = min(self.data_size_limit or 0, self.mail_bytes or math.inf)
        data = bytearray(b"\r\n")  # so that it may end at once
        seen, fits = 0, True
        while (end := data.find(END, max(0, seen - len(END) + 1))) < 0:
            if len(data) > limit + LONGEST_LINE:
                fits = False
            if not fits:
                del data[: -len(END) + 1]
            seen = len(data)
            piece = await self._reader.read(PIECE_BYTES)
            if not piece:  # the client has disconnected; connection_lost() follows
                raise ConnectionResetError
            data += piece
        if rest := bytes(data[end + len(END) :]):
            self._reader.feed_data(rest)  # the next commands; nothing else is in the reader
        del data[end + 2 :]
        content = data.replace(b"\r\n.", b"\r\n")[2:]
        return bytes(content) if fits and len(content) <= limit else None
