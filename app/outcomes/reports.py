"""Takes reports of outcomes: turns them into records and writes these to the journal."""

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from app.model.errors import FieldError
from app.model.ids import newsletter_key, recipient_key
from app.model.records import NOBODY, Outcome, encode, now_ms
from app.schemas.outcomes import OutcomeIn
from app.storage.journal import Journal

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(days=1)  # of our clock
# A local part (RFC 5321, section 4.1.2), also a quoted one of bounded length, and its @.
_LOCAL = re.compile(r"(\"[^\"@]{1,64}\"|[^\s<>()\[\]\"',;:@]+)@(?=[^\s@])")
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
    return _LOCAL.sub("***@", _CONTROL.sub(" ", text)).strip()


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
