"""One mail's way through the SMTP gateway: read, copied, sent on, and entered in the ledger."""

import hashlib
import logging
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from math import inf
from typing import NamedTuple, ParamSpec, TypeVar

from app.messages.prepare import MessagePreparer
from app.settings.settings import Settings
from app.smtp.copies import SHARED, Copy, CopyMaker, Mail, Reason
from app.smtp.upstream import Answer, SmarthostConnection, answer
from app.storage.journal import JournalError
from app.threads import offloaded

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
REMEMBERED = 10_000  # copies
FORGOTTEN_SECONDS = 86_400.0  # seconds
TROUBLE = ("broken", "unproven", "field", "journal")  # reasons that somebody should hear of
ENHANCED = re.compile(r"2\.\d{1,3}\.\d{1,3} ")
NOT_TRACKED = "not tracked"  # in answers


class Envelope(NamedTuple):
    """Whom a mail comes from (empty for bounces) and goes to, with MAIL's parameters."""

    sender: str
    recipients: Sequence[str]
    options: Sequence[str]


class MailRelay:
    """One workspace's. `counts` holds mails by outcome: tracked, untouched_<reason>, refused,
    suppressed; of those tracked also noted (part of it was left alone), and of all that went out
    unrecorded (not in the ledger).

    Raises SettingsError where a file of the settings cannot be used.
    """

    def __init__(self, settings: Settings, outgoing: MessagePreparer, counts: Counter[str]) -> None:
        self._settings, self._outgoing, self.counts = settings, outgoing, counts
        self._copies = CopyMaker(settings, outgoing)
        self._taken: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    async def relay(
        self, upstream: SmarthostConnection, envelope: Envelope, trace: bytes, content: bytes
    ) -> str:
        """The client's answer. The smarthost has taken MAIL and RCPT already."""
        mail = await offloaded(len(content), self._copies.read, content, envelope.sender)
        if mail.why == "signed" and self._settings.smtp_signed == "refuse":
            return await self.refuse(
                upstream, "554 5.7.0 DKIM-signed mail is not accepted: sign it after this gateway"
            )
        recipients = envelope.recipients
        if len(recipients) > 1 and mail.stream and self._settings.smtp_copies == "each":
            return await self._each(upstream, envelope, trace, mail)
        recipient = recipients[0] if len(recipients) == 1 else SHARED
        return await self._once(upstream, trace, mail, recipient)

    async def refuse(self, upstream: SmarthostConnection, why: str) -> str:
        """The smarthost forgets the mail too."""
        self.counts["refused"] += 1
        await upstream.reset()
        return why

    async def _once(
        self, upstream: SmarthostConnection, trace: bytes, mail: Mail, recipient: str
    ) -> str:
        """In the transaction that was begun with the client's."""
        copy = await self._copy(upstream, mail, recipient)
        if copy.suppressed:
            self.counts["suppressed"] += 1
            await upstream.reset()
            return "550 5.7.1 the recipient has unsubscribed"
        found = await upstream.data(trace + copy.content)
        message_id = await self._count(copy, found)
        answered = _noted(copy, found)
        return f"{answered} (Mailwake {message_id})" if message_id else str(answered)

    async def _each(
        self, upstream: SmarthostConnection, envelope: Envelope, trace: bytes, mail: Mail
    ) -> str:
        """One transaction for each recipient; the worst answer is the client's.

        When it then repeats the mail, copies that were taken do not go out again. The last answer
        names the message id of each copy.
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
            found = await _whole(upstream, envelope, recipient, trace + copy.content)
            message_id = await self._count(copy, found)
            answers.append(_noted(copy, found))
            if found.accepted:
                taken.append((key, message_id))
                ids.append((recipient, message_id))
            elif not upstream.alive:
                break  # the others would only wait for it too
        refused = [found for found in answers if not found.accepted]
        if refused:
            self._remember(taken)
            worst = min(refused, key=lambda found: found.code)  # 4xx: the client tries again
            of = f"{len(taken) + before} of {len(envelope.recipients)} copies were accepted"
            return str(answer(worst.code, f"{worst.text} ({of})"))
        if answers:
            noted = next((a for a in answers if NOT_TRACKED in a.text), answers[-1])
            return _naming(noted, ids)
        if before:
            return _naming(Answer(250, "2.0.0 already accepted"), ids)
        return "550 5.7.1 all recipients have unsubscribed"

    async def _copy(self, upstream: SmarthostConnection, mail: Mail, recipient: str) -> Copy:
        """With its newsletter and links in the ledger, so that hits find their names."""
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

    async def _count(self, copy: Copy, found: Answer) -> str:
        """What was sent is entered in the ledger once the smarthost has it.

        Returns the message id by which it is found there; empty where it is not.
        """
        if not found.accepted:
            self.counts["refused"] += 1
            return ""
        self.counts[f"untouched_{copy.why}" if copy.why else "tracked"] += 1
        if copy.why in TROUBLE:
            log.warning("a mail was sent untracked: %s %s", copy.why, copy.detail[:1000])
        if copy.prepared is None:
            return ""
        if copy.prepared.notes:
            self.counts["noted"] += 1
            log.info("a mail was only partly tracked: %s", "; ".join(copy.prepared.notes)[:1000])
        try:
            await self._outgoing.record_drafts([copy.prepared.draft])
        except JournalError as error:
            self.counts["unrecorded"] += 1
            log.error("a mail was sent but its tracking data was not stored: %s", error)
            return ""
        return copy.prepared.draft.message_id

    def _remember(self, taken: Sequence[tuple[bytes, str]]) -> None:
        for key, message_id in taken:
            self._taken[key] = time.monotonic(), message_id
        while len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)

    def _was_taken(self, key: bytes) -> str | None:
        """The copy's message id (empty where it was not tracked), None where it was not taken."""
        at, message_id = self._taken.get(key, (-inf, ""))
        return message_id if time.monotonic() - at < FORGOTTEN_SECONDS else None


def _naming(found: Answer, ids: Sequence[tuple[str, str]]) -> str:
    """An answer of several lines (RFC 5321, section 4.2.1): one for each tracked copy, last what
    the smarthost said, where mailers look for the name of its queue.

    Where there are enhanced status codes, each line has one (RFC 2034, section 4).
    """
    status = "2.0.0 " if ENHANCED.match(found.text) else ""
    copies = [f"{status}Mailwake {one} for {recipient}" for recipient, one in ids if one]
    return "".join(f"{found.code}-{line}\r\n" for line in copies) + str(found)


def _noted(copy: Copy, found: Answer) -> Answer:
    """What the client hears of a mail that was taken but could not be tracked."""
    if not found.accepted or copy.why not in TROUBLE:
        return found
    return answer(found.code, f"{found.text} ({NOT_TRACKED}: {copy.why} {copy.detail})")


async def _whole(
    upstream: SmarthostConnection, envelope: Envelope, recipient: str, content: bytes
) -> Answer:
    found = await upstream.mail(envelope.sender, envelope.options)
    if found.accepted:
        found = await upstream.rcpt(recipient)
    if found.accepted:
        return await upstream.data(content)
    await upstream.reset()
    return found


def _key(sender: str, recipient: str, content: bytes) -> bytes:
    envelope = f"{sender}\0{recipient}\0".encode()
    return hashlib.sha256(envelope + content).digest()
