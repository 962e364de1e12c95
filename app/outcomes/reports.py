"""Takes reports of outcomes: turns them into records and writes these to the journal."""

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from hashlib import blake2b

from app.model.errors import FieldError
from app.model.ids import newsletter_key, recipient_key
from app.model.records import NOBODY, Outcome, encode, now_ms
from app.outcomes.provider_events import ProviderEvent, plausible
from app.schemas.outcomes import MAX_CODE_CHARS, MAX_TEXT_CHARS, OutcomeIn
from app.storage.journal import Journal

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(days=1)  # of our clock
# Local parts (RFC 5321, section 4.1.2) before an @, also quoted ones of bounded length, in reversed
# text: only an @ starts a match, so that the time is linear and other text costs next to nothing.
_LOCAL = r"(?:\"[^\"@]{1,64}\"|[^\s<>()\[\]\"',;:@]++)"
_LOCALS = re.compile(rf"@(?<=[^\s@]@){_LOCAL}(?:@{_LOCAL})*+")
_RFC = re.compile(r"[^\x00-\x20\x7f<>]{1,998}")  # as schemas.fields.RfcMessageId
MAX_RECIPIENT_CHARS = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class OutcomeReports:
    """Takes the reports of one workspace. `secret` is its key of recipients."""

    def __init__(self, workspace: str, secret: str, journal: Journal) -> None:
        self._workspace, self._secret, self._journal = workspace, secret, journal

    def record(self, report: OutcomeIn) -> Outcome:
        """Returns the record of a report. Raises FieldError."""
        _check(report)
        at = int(report.occurred_at.timestamp() * 1000)
        return Outcome(
            at=at,
            received=now_ms(),
            workspace=self._workspace,
            event=report.id,
            kind=report.type,
            message=uuid.UUID(report.message_id).hex if report.message_id else "",
            rfc_message_id=(report.rfc_message_id or "").strip("<>"),
            recipient=NOBODY if report.recipient is None else self.recipient(report.recipient),
            newsletter=newsletter_key(self._workspace, report.newsletter)
            if report.newsletter
            else 0,
            permanent=bool(report.permanent),
            code=masked(report.code),
            text=masked(report.text),
            provider=report.provider,
        )

    def provider_records(
        self, provider: str, events: Iterable[ProviderEvent]
    ) -> tuple[list[Outcome], int]:
        """Returns the records of a provider's events, and how many of them name nobody."""
        records, unreadable = [], 0
        for event in events:
            _, recipient = parseaddr(event.recipient)
            named = recipient or event.message_id or event.rfc_message_id
            if not named or len(recipient) > MAX_RECIPIENT_CHARS:
                unreadable += 1
                continue
            # A provider's id may contain the recipient.
            digest = blake2b(event.id.encode("utf-8", "surrogatepass"), digest_size=16)
            rfc_message_id = event.rfc_message_id.strip().strip("<>")
            records.append(
                Outcome(
                    at=int(plausible(event.at) * 1000),
                    received=now_ms(),
                    workspace=self._workspace,
                    event=f"{provider} {digest.hexdigest()}",
                    kind=event.meaning.kind,
                    message=uuid.UUID(event.message_id).hex if event.message_id else "",
                    rfc_message_id=rfc_message_id if _RFC.fullmatch(rfc_message_id) else "",
                    recipient=self.recipient(recipient) if recipient else NOBODY,
                    permanent=event.meaning.permanent,
                    code=masked(event.code)[:MAX_CODE_CHARS],
                    text=masked(event.text[: 2 * MAX_TEXT_CHARS])[:MAX_TEXT_CHARS],
                    provider=provider,
                )
            )
        return records, unreadable

    def recipient(self, recipient: str) -> int:
        """Returns a recipient's key."""
        return recipient_key(self._secret, self._workspace, recipient)

    async def write(self, records: Iterable[Outcome]) -> None:
        """Write records to the journal: all of them or, raising JournalError, none."""
        lines = b"".join(map(encode, records))
        if lines:
            self._journal.check_room()
            await self._journal.write(lines)


def masked(text: str) -> str:
    """Returns text on one line, without the local parts of email addresses.

    Servers repeat the recipient in their answers, but only the table `messages` has email
    addresses.
    """
    return _LOCALS.sub("@***", _CONTROL.sub(" ", text)[::-1])[::-1].strip()


def _check(report: OutcomeIn) -> None:
    """Raises FieldError where fields contradict each other, or a time cannot be."""
    ways = [
        name
        for name, value in (
            ("message_id", report.message_id),
            ("rfc_message_id", report.rfc_message_id),
            ("newsletter", report.newsletter),
        )
        if value is not None
    ]
    if len(ways) > 1:
        raise FieldError(ways[1], f"cannot be combined with `{ways[0]}`: name the message once")
    if not ways and report.recipient is not None:
        raise FieldError("newsletter", "is required with `recipient`")
    if not ways:
        what = "`rfc_message_id`, or `recipient` and `newsletter`"
        raise FieldError("message_id", f"is required, or {what}")
    if ways == ["message_id"] and report.recipient is not None:
        raise FieldError("recipient", "cannot be combined with `message_id`: name the message once")
    if ways == ["newsletter"] and report.recipient is None:
        raise FieldError("recipient", "is required with `newsletter`")
    if (report.type == "bounced") != (report.permanent is not None):
        needed = "is required for bounced" if report.type == "bounced" else "is for bounced only"
        raise FieldError("permanent", needed)
    if not EARLIEST <= report.occurred_at <= datetime.now(UTC) + MAX_AHEAD:
        raise FieldError("occurred_at", "must be between the year 2000 and now")
