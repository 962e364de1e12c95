"""Serves SMTP: receives a mail, tracks it and sends it to the smarthost in one step.

It has no queue. A client gets a 250 only after the smarthost's 250, so at any moment the mail is
with one of them (RFC 5321, section 4.2.5). Bounces of these mails are recorded and go no further.
"""

import asyncio
import ipaddress
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from app.auth.api_keys import Keys
from app.auth.quotas import Quota, QuotaError
from app.auth.workspaces import DEFAULT
from app.messages.prepare import MessagePreparer
from app.model.email_address import DOMAIN, LOCAL_PART
from app.outcomes.return_path import NamedMessage, ReturnPathError, ReturnPaths
from app.rewriting.header_fields import begins_within
from app.settings.settings import PREFIX, Settings, SettingsError
from app.smtp import dsn
from app.smtp.bounces import MAX_BYTES as MAX_BOUNCE_BYTES
from app.smtp.bounces import BounceReceiver
from app.smtp.copies import refusal
from app.smtp.protocol import Protocol
from app.smtp.relay import Envelope as Sent
from app.smtp.relay import MailRelay
from app.smtp.upstream import LAST_ANSWER_SECONDS, Answer, Capabilities, SmarthostConnection
from app.storage.disk import DiskReserve, ReserveError
from app.storage.journal import JournalError

log = logging.getLogger(__name__)
IDLE_SECONDS = 300.0  # seconds between commands (RFC 5321, section 4.5.3.2.7)
MAX_RECIPIENTS = 100  # for one mail (RFC 5321, section 4.5.3.1.8)
MAX_LOGIN_ATTEMPTS = 5  # attempts on one connection
FOR_BOUNCES = Capabilities(0, True, True, False)  # while the smarthost's are not known
ONE_RETURN_PATH = "452 4.5.3 a bounce is accepted for one return path, and no other recipient"
# The characters that are safe between angle brackets, a superset of RFC 5321, section 4.1.2.
ADDRESS = re.compile(rf"(?:{LOCAL_PART}(?:@{DOMAIN})?)?")  # <> and <postmaster> too


class Gateway:
    """Serves SMTP: `listen()`, then `run()` until cancelled, then `stop()`. Raises SettingsError.

    `outgoing` returns a workspace's preparer. With `bounces` copies get return paths of their own,
    and mail to these is accepted from everybody. `counts` is for all workspaces, as described in
    MailRelay, with the accepted `bounces`.
    """

    def __init__(
        self,
        settings: Settings,
        keys: Keys,
        outgoing: Callable[[str], MessagePreparer],
        bounces: BounceReceiver | None = None,
    ) -> None:
        self.settings, self._keys, self.bounces = settings, keys, bounces
        self.counts: Counter[str] = Counter()
        self._outgoing = outgoing
        self.disk = DiskReserve(settings.data_dir, settings.disk_reserve_mb)
        self._quotas: dict[tuple[str, bool], Quota] = {}
        self._relays: dict[str, tuple[MessagePreparer, MailRelay]] = {}
        self.relay_for(DEFAULT)  # raises an error about wrong settings now
        self.name = urlsplit(settings.public_url).hostname or "localhost"
        self.tls = _tls(settings)
        self.capabilities: Capabilities | None = None  # the smarthost's latest
        self.relays: set[asyncio.Task[str]] = set()
        self._clients: dict[Protocol, None] = {}  # the longest connected first
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None

    def relay_for(self, workspace: str) -> MailRelay:
        """Returns a workspace's relay, created again when its public URL or keys have changed."""
        outgoing = self._outgoing(workspace)
        known = self._relays.get(workspace)
        if known is None or known[0] is not outgoing:
            paths = self.bounces.paths if self.bounces else None
            return_path = partial(paths.create, workspace) if paths else None
            relay = MailRelay(self.settings, outgoing, self.counts, return_path)
            known = outgoing, relay
            self._relays[workspace] = known
        return known[1]

    def refusal(self, workspace: str, is_bounce: bool = False) -> str:
        """Returns why a workspace may not begin a mail now, or an empty string if it may.

        Bounces, which anybody may send, have a quota of their own.
        """
        try:
            self.disk.check()
        except ReserveError:
            return "452 4.3.1 the disk is nearly full, try again later"
        quota = self._quotas.setdefault((workspace, is_bounce), Quota.of(self.settings))
        try:
            quota.admit()
        except QuotaError as error:
            return f"452 4.7.1 {error}, try again in {error.retry_seconds} seconds"
        return ""

    def listen(self) -> int:
        """Bind the port, before anything else starts, and return it. Raises SettingsError."""
        address = urlsplit(f"//{self.settings.smtp_listen}")
        where = (address.hostname or "", address.port or 0)
        try:
            family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
            self._socket = socket.create_server(where, family=family, backlog=512)
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}SMTP_LISTEN: cannot listen on {self.settings.smtp_listen}:"
                f" {error.strerror}"
            ) from None
        return int(self._socket.getsockname()[1])

    async def run(self) -> None:
        """Serve until cancelled."""
        if self._socket is None or self._socket.fileno() < 0:  # closed by a server that has failed
            self.listen()
        assert self._socket  # noqa: S101
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, sock=self._socket
        )
        log.info("accepting mail on %s", self.settings.smtp_listen)
        await self._server.serve_forever()

    async def stop(self) -> None:
        """Stop accepting mail, and wait for mails that are on their way to the smarthost."""
        if self._server:
            self._server.close()
        if self.relays:
            await asyncio.wait(self.relays, timeout=30)

    def may_send(self, session: Session) -> bool:
        """Returns whether a client has logged in, or is in one of SMTP_NETWORKS."""
        if session.authenticated:  # until the key is revoked
            return self.workspace(session) is not None
        address = ipaddress.ip_address(_peer(session))
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.settings.sending_networks)

    def login(self, server: Any, _: Any, __: Any, ___: str, credentials: Any) -> AuthResult:
        """Accept any name with an API key of scope `rewrite` as its password."""
        password = credentials.password if isinstance(credentials, LoginPassword) else b""
        secret = password.decode("utf-8", "replace")
        key = self._keys.find(secret)
        may = key is not None and key.may("rewrite")
        if may:
            server.admit()
        return AuthResult(success=may, handled=False, auth_data=secret)

    def workspace(self, session: Session) -> str | None:
        """Returns the workspace of a client: `default` without a login, None for a revoked key."""
        if not session.authenticated:
            return DEFAULT
        key = self._keys.find(str(session.auth_data))
        return key.workspace if key else None

    def _protocol(self) -> asyncio.BaseProtocol:
        if len(self._clients) >= self.settings.smtp_connections:
            stranger = next((client for client in self._clients if client.is_stranger), None)
            if stranger is None:
                return _Busy()
            self._clients.pop(stranger)
            stranger.drop()
        client = Protocol(
            Conversation(self),
            lambda: self._clients.pop(client, None),
            data_size_limit=self.settings.smtp_max_mb * 1_000_000,
            enable_SMTPUTF8=True,
            hostname=self.name,
            ident="Mailwake",
            tls_context=self.tls,
            timeout=IDLE_SECONDS,
            command_call_limit={"AUTH": MAX_LOGIN_ATTEMPTS, "*": 1_000_000},
            authenticator=self.login,
            loop=asyncio.get_running_loop(),
        )
        self._clients[client] = None
        return client


class Conversation:
    """One client's connection and one to the smarthost. aiosmtpd calls `handle_*`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.upstream = SmarthostConnection(gateway.settings)
        self.relay: asyncio.Task[str] | None = None
        self._sender, self._workspace = "", DEFAULT
        self._may_relay = False  # the mail; otherwise it must be a bounce
        self._bounced: NamedMessage | None = None  # what the mail is a bounce of
        self._options: list[str] = []
        self._recipient_options: dict[str, list[str]] = {}

    def closed(self) -> None:
        """Close the connection to the smarthost; a mail that is being sent is still finished."""
        if self.relay and not self.relay.done():
            self.relay.add_done_callback(lambda _: self.upstream.close())
        else:
            self.upstream.close()

    async def handle_HELO(self, server: SMTP, session: Session, _: Envelope, name: str) -> str:  # noqa: N802
        """Answer HELO, without extensions."""
        await self.upstream.reset()
        session.host_name = name
        return f"250 {server.hostname}"

    async def handle_EHLO(  # noqa: N802
        self, _: SMTP, session: Session, __: Envelope, name: str, offered: list[str]
    ) -> list[str]:
        """Offer what the smarthost supports; unauthorised clients get what it last reported."""
        await self.upstream.reset()
        capabilities: Capabilities | Answer | None = self.gateway.capabilities
        if capabilities is None or self.gateway.may_send(session):
            capabilities = await self.upstream.connect()
        if isinstance(capabilities, Answer):
            if self.gateway.bounces is None or self.gateway.may_send(session):
                return [str(capabilities)]
            capabilities = FOR_BOUNCES
        else:
            self.gateway.capabilities = capabilities
        session.host_name = name
        size = min(self.gateway.settings.smtp_max_mb * 1_000_000, capabilities.size or 10**12)
        unfit = {"HELP", "SIZE"}
        unfit |= {"8BITMIME"} if not capabilities.eight_bit else set()
        unfit |= {"SMTPUTF8"} if not capabilities.utf8 else set()
        lines = [line[4:] for line in offered if line[4:].split()[0] not in unfit]
        lines += ["DSN"] if capabilities.dsn else []
        lines += ["PIPELINING", f"SIZE {size}"]
        return [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]

    async def handle_MAIL(  # noqa: N802
        self,
        server: Protocol,
        session: Session,
        envelope: Envelope,
        sender: str,
        options: list[str],
    ) -> str:
        """Begin the mail at the smarthost too."""
        workspace = self.gateway.workspace(session)
        self._bounced, server.mail_bytes = None, None
        self._may_relay = workspace is not None and self.gateway.may_send(session)
        if workspace is None or not self._may_relay:
            return self._begin_bounce(server, envelope, sender, options)
        if problem := self.gateway.refusal(workspace):
            self.gateway.counts["refused"] += 1
            return problem
        capabilities = await self.upstream.connect()
        if isinstance(capabilities, Answer):
            return str(capabilities)
        if "BODY=8BITMIME" in options and not capabilities.eight_bit:
            return "550 5.6.3 the smarthost does not support 8BITMIME"
        if "SMTPUTF8" in options and not capabilities.utf8:
            return "550 5.6.7 the smarthost does not support SMTPUTF8"
        sizes = [int(option[5:]) for option in options if option.startswith("SIZE=")]
        if sizes and capabilities.size and sizes[0] > capabilities.size:
            return f"552 5.3.4 the smarthost accepts at most {capabilities.size} bytes"
        supported = capabilities.dsn and session.extended_smtp
        if problem := dsn.refusal("MAIL", server.dsn, supported):
            return problem
        self._sender, self._workspace = "" if sender == "<>" else sender, workspace
        if problem := _check_address(self._sender, options):
            return problem
        self._options = [option for option in options if option in ("BODY=8BITMIME", "SMTPUTF8")]
        self._options += server.dsn
        self._recipient_options = {}
        reply = await self.upstream.mail(self._sender, self._options)
        if reply.accepted:
            envelope.mail_from = sender
            server.admit()
        return str(reply)

    def _begin_bounce(
        self, server: Protocol, envelope: Envelope, sender: str, options: list[str]
    ) -> str:
        """Begin a mail of a client that may send bounces only, which its recipient will show."""
        if self.gateway.bounces is None:
            return self._login_required()
        self._sender = "" if sender == "<>" else sender
        problem = dsn.refusal("MAIL", server.dsn, supported=True)
        if problem := problem or _check_address(self._sender, options):
            return problem
        self._options = []
        envelope.mail_from = sender
        return "250 2.1.0 ok"

    def _login_required(self) -> str:
        more = " after STARTTLS" if self.gateway.tls else ""
        return f"530 5.7.0 authentication required{more}"

    async def handle_RCPT(  # noqa: N802
        self,
        server: Protocol,
        session: Session,
        envelope: Envelope,
        recipient: str,
        _: list[str],
    ) -> str:
        """Pass the recipient to the smarthost and return its answer, unless it is a return path."""
        receiver = self.gateway.bounces
        if receiver and receiver.paths.has_domain(recipient):
            return self._add_return_path(receiver.paths, server, envelope, recipient)
        if self._bounced:
            return ONE_RETURN_PATH
        if not self._may_relay:
            return self._login_required()
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 too many recipients"
        if problem := _check_address(recipient, self._options):
            return problem
        supported = self.upstream.capabilities.dsn and session.extended_smtp
        if problem := dsn.refusal("RCPT", server.dsn, supported):
            return problem
        reply = await self.upstream.rcpt(recipient, server.dsn)
        if reply.accepted:
            envelope.rcpt_tos.append(recipient)
            self._recipient_options[recipient] = server.dsn
        return str(reply)

    def _add_return_path(
        self, paths: ReturnPaths, server: Protocol, envelope: Envelope, recipient: str
    ) -> str:
        """Accept a return path as the mail's only recipient; nothing else is at its domain."""
        if envelope.rcpt_tos:
            return ONE_RETURN_PATH
        try:
            bounced = paths.read(recipient)
        except ReturnPathError as error:
            self.gateway.counts["refused"] += 1
            return f"550 5.1.1 {error}"
        if problem := self.gateway.refusal(bounced.workspace.name, is_bounce=True):
            self.gateway.counts["refused"] += 1
            return problem
        self._bounced, server.mail_bytes = bounced, MAX_BOUNCE_BYTES
        envelope.rcpt_tos.append(recipient)
        server.admit()
        return "250 2.1.5 ok"

    async def handle_RSET(self, _: SMTP, __: Session, ___: Envelope) -> str:  # noqa: N802
        """Forget the mail."""
        await self.upstream.reset()
        return "250 2.0.0 ok"

    async def handle_QUIT(self, _: SMTP, __: Session, ___: Envelope) -> str:  # noqa: N802
        """Quit at the smarthost too."""
        await self.upstream.quit()
        return "221 2.0.0 bye"

    async def handle_DATA(self, server: Protocol, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Relay the mail and return the smarthost's answer, or record a bounce."""
        content = envelope.original_content or b""
        if self._bounced and self.gateway.bounces:
            return await self._record_bounce(self.gateway.bounces, self._bounced, content)
        if problem := refusal(content):
            return await self.gateway.relay_for(self._workspace).refuse(self.upstream, problem)
        server.keep(2 * LAST_ANSWER_SECONDS)  # the smarthost may be slow
        recipients = tuple(envelope.rcpt_tos)
        to = Sent(self._sender, recipients, self._options, self._recipient_options)
        broken = begins_within(content)
        trace = b"" if broken else _received(self.gateway.name, server, session)
        work = self.gateway.relay_for(self._workspace).relay(self.upstream, to, trace, content)
        # A client that disconnects now must not stop the mail: the smarthost may have accepted it.
        self.relay = asyncio.create_task(work)
        self.gateway.relays.add(self.relay)
        self.relay.add_done_callback(self.gateway.relays.discard)
        return await asyncio.shield(self.relay)

    async def _record_bounce(
        self, receiver: BounceReceiver, bounced: NamedMessage, content: bytes
    ) -> str:
        await self.upstream.reset()
        try:
            await receiver.record(bounced, self._sender, content)
        except JournalError as error:
            log.error("a bounce was not stored: %s", error)
            return "451 4.3.0 the bounce cannot be stored now, try again later"
        self.gateway.counts["bounces"] += 1
        return "250 2.6.0 the bounce is recorded"

    async def handle_exception(self, error: Exception) -> str:
        """Answer 451 to any error, so that the client keeps its mail."""
        log.error("SMTP: %r", error, exc_info=error)
        await self.upstream.reset()
        return "451 4.3.0 internal error, try again later"


class _Busy(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(
            b"421 4.7.0 too many connections, try again later\r\n"
        )
        transport.close()


def _check_address(address: str, options: list[str]) -> str:
    """Returns why an email address is invalid (RFC 5321, 4.1.2; RFC 6531, 3.4), or an empty string.

    The library's parser accepts brackets within a domain literal; in the command to the smarthost
    they would end the email address.
    """
    if not ADDRESS.fullmatch(address):
        return "553 5.1.3 the email address has a misplaced space, quote or angle bracket"
    try:
        address.encode("utf-8" if "SMTPUTF8" in options else "ascii")
    except UnicodeEncodeError:
        return "553 5.6.7 the email address is not ASCII: it requires SMTPUTF8 and UTF-8"
    return ""


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.smtp_cert or not settings.smtp_key:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.smtp_cert, settings.smtp_key)
    except OSError as error:
        raise SettingsError(f"{PREFIX}SMTP_CERT, {PREFIX}SMTP_KEY: {error}") from None
    return context


def _peer(session: Session) -> str:
    return str((session.peer or ("0.0.0.0",))[0]).partition("%")[0]  # noqa: S104


def _received(host: str, server: SMTP, session: Session) -> bytes:
    """Returns the trace field of RFC 5321, section 4.4, with the protocol's name of RFC 3848."""
    esmtp = "E" if session.extended_smtp else ""
    tls, login = "S" if session.ssl else "", "A" if session.authenticated else ""
    helo = "".join(c for c in session.host_name or "" if c.isascii() and (c.isalnum() or c in ".-"))
    return (
        f"Received: from {helo[:255] or 'unknown'} ([{_peer(session)}])\r\n"
        f"\tby {host} (Mailwake) with {esmtp}SMTP{tls}{login};\r\n\t{formatdate()}\r\n"
    ).encode("ascii")
