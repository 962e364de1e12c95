"""Relays one mail of the SMTP gateway: reads, copies, sends and records it."""

import hashlib
import logging
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import NamedTuple, ParamSpec, TypeVar

from app.messages.prepare import MessageDraft, MessagePreparer
from app.model.records import Outcome, OutcomeKind, now_ms
from app.outcomes.reports import masked
from app.settings.settings import Settings
from app.smtp.copies import SHARED, Copy, CopyMaker, Mail, Reason
from app.smtp.upstream import Answer, SmarthostConnection, answer
from app.storage.journal import JournalError
from app.threads import offloaded

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
MAX_REMEMBERED_COPIES = 10_000  # copies
REMEMBER_SECONDS = 86_400.0  # seconds
TROUBLE_REASONS = (
    "broken",
    "unproven",
    "field",
    "journal",
)  # reasons that the client should learn of
ENHANCED = re.compile(r"2\.\d{1,3}\.\d{1,3} ")
STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")  # RFC 2034
PERMANENT_CODE = 500  # and above: the client does not try again (RFC 5321, section 4.2.1)
PROVIDER = "smarthost"  # of outcomes
NOT_TRACKED = "not tracked"  # in answers


class Envelope(NamedTuple):
    """The sender (empty for bounces) and the recipients, with the parameters of MAIL and RCPT."""

    sender: str
    recipients: Sequence[str]
    options: Sequence[str]
    recipient_options: Mapping[str, Sequence[str]]


class MailRelay:
    """Relays mails of one workspace. Raises SettingsError if a file of the settings is unusable.

    `counts` holds mails by outcome: tracked, untouched_<reason>, refused, suppressed; tracked ones
    also as noted (a part of it was not rewritten), and sent ones also as unrecorded (not in the
    recorded messages). `return_path` returns the return path of a message, by its id's 32
    hexadecimal digits.
    """

    def __init__(
        self,
        settings: Settings,
        outgoing: MessagePreparer,
        counts: Counter[str],
        return_path: Callable[[str], str] | None = None,
    ) -> None:
        self._settings, self._outgoing, self.counts = settings, outgoing, counts
        self._return_path = return_path
        self._copies = CopyMaker(settings, outgoing)
        self._taken: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._rejected: OrderedDict[bytes, None] = OrderedDict()  # copies recorded as rejected

    async def relay(
        self, upstream: SmarthostConnection, envelope: Envelope, trace: bytes, content: bytes
    ) -> str:
        """Relay a mail and return the client's answer. The smarthost has accepted MAIL and RCPT."""
        mail = await offloaded(len(content), self._copies.read, content, envelope.sender)
        if mail.why == "signed" and self._settings.smtp_signed == "refuse":
            return await self.refuse(
                upstream, "554 5.7.0 DKIM-signed mail is not accepted: sign it after this gateway"
            )
        recipients = envelope.recipients
        if len(recipients) > 1 and mail.stream and self._settings.smtp_copies == "each":
            return await self._send_each(upstream, envelope, trace, mail)
        recipient = recipients[0] if len(recipients) == 1 else SHARED
        return await self._send_one(upstream, envelope, trace, mail, recipient)

    async def refuse(self, upstream: SmarthostConnection, why: str) -> str:
        """Refuse a mail, also at the smarthost."""
        self.counts["refused"] += 1
        await upstream.reset()
        return why

    async def _send_one(
        self,
        upstream: SmarthostConnection,
        envelope: Envelope,
        trace: bytes,
        mail: Mail,
        recipient: str,
    ) -> str:
        """Send one copy, in the transaction that was begun with the client's.

        A copy with a return path of its own needs another, since its sender is known only now.
        """
        copy = await self._copy(upstream, mail, recipient)
        if copy.suppressed:
            self.counts["suppressed"] += 1
            await upstream.reset()
            return "550 5.7.1 the recipient has unsubscribed, bounced or complained"
        sender = envelope.sender if recipient == SHARED else self._sender(envelope, copy)
        if sender == envelope.sender:
            reply = await upstream.data(trace + copy.content)
        else:
            own = envelope._replace(sender=sender)
            reply = await _send_copy(upstream, own, recipient, trace + copy.content)
        message_id = await self._count(copy, reply)
        answered = _add_trouble(copy, reply)
        return f"{answered} (Mailwake {message_id})" if message_id else str(answered)

    async def _send_each(
        self, upstream: SmarthostConnection, envelope: Envelope, trace: bytes, mail: Mail
    ) -> str:
        """Send each recipient's copy in a transaction of its own and return the worst answer.

        If the client then repeats the mail, copies that were accepted are not sent again. The last
        answer has the message id of each copy.
        """
        await upstream.reset()
        answers: list[Answer] = []
        taken: list[tuple[bytes, str]] = []
        ids: list[tuple[str, str]] = []
        before = 0
        for recipient in envelope.recipients:
            key = _key(envelope.sender, recipient, mail.content)
            if (known := self._was_taken(key)) is not None:
                before += 1
                ids.append((recipient, known))
                continue
            copy = await self._copy(upstream, mail, recipient)
            if copy.suppressed:
                self.counts["suppressed"] += 1
                continue
            own = envelope._replace(sender=self._sender(envelope, copy))
            reply = await _send_copy(upstream, own, recipient, trace + copy.content)
            message_id = await self._count(copy, reply, key)
            answers.append(_add_trouble(copy, reply))
            if reply.accepted:
                taken.append((key, message_id))
                ids.append((recipient, message_id))
            elif not upstream.alive:
                break  # the others would have to wait for it too
        refused = [reply for reply in answers if not reply.accepted]
        if refused:
            self._remember(taken)
            worst = min(refused, key=lambda reply: reply.code)  # 4xx: the client tries again
            of = f"{len(taken) + before} of {len(envelope.recipients)} copies were accepted"
            return str(answer(worst.code, f"{worst.text} ({of})"))
        if answers:
            noted = next((a for a in answers if NOT_TRACKED in a.text), answers[-1])
            return _answer_with_ids(noted, ids)
        if before:
            return _answer_with_ids(Answer(250, "2.0.0 already accepted"), ids)
        return "550 5.7.1 all recipients have unsubscribed, bounced or complained"

    def _sender(self, envelope: Envelope, copy: Copy) -> str:
        """Returns a copy's own return path, or the client's: of a bounce, or if it is not tracked.

        Bounces have none, so that they are not bounced themselves (RFC 5321, section 4.5.5).
        """
        if not (self._return_path and envelope.sender and copy.prepared):
            return envelope.sender
        return self._return_path(copy.prepared.draft.message.message)

    async def _copy(self, upstream: SmarthostConnection, mail: Mail, recipient: str) -> Copy:
        """Make a copy and record its newsletter and links, so that hits find their names."""
        of = mail.stream
        writes = of is not None and self._outgoing.writes(of.newsletter.id, of.variant)
        size = inf if writes else len(mail.content)
        copy = await offloaded(size, self._copies.make, mail, recipient)
        if copy.prepared and 0 < upstream.capabilities.size < len(copy.content) + 1000:
            return await self._untouched(mail, "large")
        if copy.prepared and not copy.suppressed:
            try:
                await self._outgoing.record_names(copy.prepared)
            except JournalError as error:
                return await self._untouched(mail, "journal", str(error))
        return copy

    async def _untouched(self, mail: Mail, why: Reason, detail: str = "") -> Copy:
        return await offloaded(len(mail.content), self._copies.untouched, mail, why, detail)

    async def _count(self, copy: Copy, reply: Answer, key: bytes = b"") -> str:
        """Count a copy, and record its message once the smarthost has accepted it.

        Returns the message id under which it is recorded, or an empty string. A message that the
        smarthost has refused for good is recorded too, as rejected; one that the client sends again
        is not. `key` is that of a copy that may come again although it was refused for good.
        """
        if not reply.accepted:
            self.counts["refused"] += 1
            if reply.code >= PERMANENT_CODE and copy.prepared and key not in self._rejected:
                self._remember_rejected(key)
                await self._record(copy.prepared.draft.rejected, "rejected", reply)
            return ""
        self.counts[f"untouched_{copy.why}" if copy.why else "tracked"] += 1
        if copy.why in TROUBLE_REASONS:
            log.warning("a mail was sent untracked: %s %s", copy.why, copy.detail[:1000])
        if copy.prepared is None:
            return ""
        if copy.prepared.notes:
            self.counts["noted"] += 1
            log.info("a mail was only partly tracked: %s", "; ".join(copy.prepared.notes)[:1000])
        if not await self._record(copy.prepared.draft, "sent", reply):
            return ""
        return copy.prepared.draft.message_id

    async def _record(self, draft: MessageDraft, kind: OutcomeKind, reply: Answer) -> bool:
        """Record a message with what the smarthost has answered; returns whether it is stored."""
        try:
            await self._outgoing.record_drafts([draft], outcomes=[_outcome(draft, kind, reply)])
        except JournalError as error:
            self.counts["unrecorded"] += 1
            log.error("the tracking data of a mail that was %s was not stored: %s", kind, error)
            return False
        return True

    def _remember_rejected(self, key: bytes) -> None:
        if key:
            self._rejected[key] = None
            while len(self._rejected) > MAX_REMEMBERED_COPIES:
                self._rejected.popitem(last=False)

    def _remember(self, taken: Sequence[tuple[bytes, str]]) -> None:
        for key, message_id in taken:
            self._taken[key] = time.monotonic(), message_id
        while len(self._taken) > MAX_REMEMBERED_COPIES:
            self._taken.popitem(last=False)

    def _was_taken(self, key: bytes) -> str | None:
        """Returns the message id of an accepted copy (empty if untracked), else None."""
        at, message_id = self._taken.get(key, (-inf, ""))
        return message_id if time.monotonic() - at < REMEMBER_SECONDS else None


def _outcome(draft: MessageDraft, kind: OutcomeKind, reply: Answer) -> Outcome:
    """Returns what the smarthost has answered about a message."""
    status = STATUS.match(reply.text)
    now = now_ms()
    return Outcome(
        at=now,
        received=now,
        workspace=draft.message.workspace,
        event=f"smarthost {draft.message_id}",
        kind=kind,
        message=draft.message.message,
        code=status[0] if status else str(reply.code),
        text=masked(str(reply)),
        provider=PROVIDER,
    )


def _answer_with_ids(reply: Answer, ids: Sequence[tuple[str, str]]) -> str:
    """Returns an answer with a line for each tracked copy (RFC 5321, section 4.2.1).

    The last line is the smarthost's, in which mailers look for its queue id. If there are enhanced
    status codes, each line has one (RFC 2034, section 4).
    """
    status = "2.0.0 " if ENHANCED.match(reply.text) else ""
    copies = [
        f"{status}Mailwake {message_id} for {recipient}"
        for recipient, message_id in ids
        if message_id
    ]
    return "".join(f"{reply.code}-{line}\r\n" for line in copies) + str(reply)


def _add_trouble(copy: Copy, reply: Answer) -> Answer:
    """Add to the answer why an accepted mail could not be tracked."""
    if not reply.accepted or copy.why not in TROUBLE_REASONS:
        return reply
    return answer(reply.code, f"{reply.text} ({NOT_TRACKED}: {copy.why} {copy.detail})")


async def _send_copy(
    upstream: SmarthostConnection, envelope: Envelope, recipient: str, content: bytes
) -> Answer:
    reply = await upstream.mail(envelope.sender, envelope.options)
    if reply.accepted:
        reply = await upstream.rcpt(recipient, envelope.recipient_options.get(recipient, ()))
    if reply.accepted:
        return await upstream.data(content)
    await upstream.reset()
    return reply


def _key(sender: str, recipient: str, content: bytes) -> bytes:
    envelope = f"{sender}\0{recipient}\0".encode()
    return hashlib.sha256(envelope + content).digest()
