"""Turns a mail of the SMTP gateway into tracked copies, or gives a reason to leave it unchanged.

A mail that cannot be rewritten is never held up: it is sent unchanged, and the reason is counted.
"""

import dataclasses
import logging
import re
from typing import Literal, NamedTuple, get_args

from app.experiments.variants import VariantError
from app.messages import mail_headers
from app.messages.mail_headers import DescriptionError
from app.messages.prepare import NO_DATA, MessagePreparer, PreparedMessage
from app.rewriting import header_fields, smtp_lines
from app.rewriting.header_fields import HeaderError
from app.schemas.messages import OwnData
from app.settings.settings import PREFIX, Settings, SettingsError
from app.smtp import stream_rules
from app.smtp.dkim_signer import DkimError, DkimSigner
from app.smtp.stream_rules import Stream

log = logging.getLogger(__name__)
SHARED = "(shared)"  # the recipient of a mail whose copies are all alike
MESSAGE_ID = "X-Mailwake-Message-ID"  # a field of each copy, if the settings say so
MAX_HOPS = 50  # Received fields (RFC 5321, section 6.3)
_HOP = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)

# off: the mail said so. signed: it has a DKIM signature. nothing: it has no HTML. sealed: all of it
# is signed or encrypted. field: an X-Mailwake-* field is invalid. broken: it could not be read or
# rewritten. unproven: the rewritten mail failed the check. journal: it could not be written to the
# journal. large: it is larger than the smarthost takes.
Reason = Literal[
    "off", "signed", "nothing", "sealed", "field", "broken", "unproven", "journal", "large"
]
REASONS = get_args(Reason)


class Mail(NamedTuple):
    """A mail without its X-Mailwake-* fields; if it stays unchanged, `stream` is None, see `why`.

    `data` is its own metadata and Message-ID; `unsubscribe` asks for a List-Unsubscribe field.
    """

    content: bytes
    stream: Stream | None
    unsubscribe: bool = False
    why: Reason | None = None
    detail: str = ""
    data: OwnData = NO_DATA


class Copy(NamedTuple):
    """What is sent to the smarthost. `prepared` is what is to be recorded, or None."""

    content: bytes
    prepared: PreparedMessage | None
    why: Reason | None = None
    detail: str = ""

    @property
    def suppressed(self) -> bool:
        """Returns whether it must not be sent."""
        return self.prepared is not None and self.prepared.draft.suppressed


class CopyMaker:
    """Reads mails and makes copies. Raises SettingsError if a file of the settings is unusable."""

    def __init__(self, settings: Settings, outgoing: MessagePreparer) -> None:
        self._settings, self._outgoing = settings, outgoing
        try:
            file = settings.smtp_streams
            self._rules = stream_rules.from_file(file) if file else ()
        except stream_rules.StreamsError as error:
            raise SettingsError(f"{PREFIX}SMTP_STREAMS: {error}") from None
        try:
            self._signer = _signer(settings)
        except (OSError, DkimError) as error:
            raise SettingsError(f"{PREFIX}DKIM_KEY: {settings.dkim_key}: {error}") from None

    def read(self, message: bytes, sender: str) -> Mail:
        """Read the stream and other data of a mail; `sender` is the envelope's."""
        try:
            content, own = header_fields.without_own(message)
            head, _ = header_fields.fields(content)
        except HeaderError as error:
            return Mail(message, None, False, "broken", str(error))
        if any(field.name == "dkim-signature" for field in head):
            return Mail(content, None, why="signed")
        try:
            stream = stream_rules.stream_of(head, own, sender, self._rules)
            data = mail_headers.own_data(head, own)
        except DescriptionError as error:
            return Mail(content, None, False, "field", f"{error.field}: {error}")
        closed = header_fields.begins_within(content) or any(
            f.name == "list-unsubscribe" for f in head
        )
        unsubscribe = mail_headers.wants_unsubscribe(own) and not closed
        return Mail(content, stream, unsubscribe, data=data)

    def make(self, mail: Mail, recipient: str) -> Copy:
        """Make the recipient's copy, without recording it."""
        if mail.stream is None:
            return self.untouched(mail, mail.why or "nothing", mail.detail)
        try:
            prepared = self._outgoing.prepare_mime(
                mail.content,
                mail.stream.newsletter,
                recipient,
                mail.stream.tracking,
                True,
                mail.stream.variant,
                data=mail.data,
            )
        except VariantError as error:
            return self.untouched(mail, "field", str(error))
        except Exception as error:  # whatever the error, the mail is sent
            log.warning("a mail could not be rewritten: %r", error)
            return self.untouched(mail, "broken", type(error).__name__)
        if recipient == SHARED:  # a bounce of one recipient must not suppress all others
            draft = dataclasses.replace(prepared.draft, suppressed=False)
            prepared = dataclasses.replace(prepared, draft=draft)
        if prepared.draft.suppressed:
            return Copy(mail.content, prepared)
        content = prepared.html
        if mail.unsubscribe and recipient != SHARED:
            content = mail_headers.header(prepared.draft.headers) + content
        if content == mail.content:
            off = mail.stream.tracking == mail_headers.OFF
            why: Reason = "off" if off else _reason_unchanged(prepared)
            return self.untouched(mail, why, "; ".join(prepared.notes))
        if self._settings.smtp_message_id and not header_fields.begins_within(content):
            named = {MESSAGE_ID: prepared.draft.message_id}
            content = mail_headers.header(named) + content
        content = self._signed(content)
        if problem := refusal(content):  # a check after the rewriter
            self._outgoing.unproven += 1
            return self.untouched(mail, "unproven", problem)
        return Copy(content, prepared)

    def untouched(self, mail: Mail, why: Reason, detail: str = "") -> Copy:
        """Return the mail unchanged, with a DKIM signature if it has none."""
        content = mail.content if why == "signed" else self._signed(mail.content)
        return Copy(content, None, why, detail)

    def _signed(self, content: bytes) -> bytes:
        if not self._signer or header_fields.begins_within(content):
            return content
        try:
            return self._signer.field(content) + content
        except Exception as error:  # better unsigned than not sent
            log.warning("a mail is sent without a DKIM signature: %r", error)
            return content


def _signer(settings: Settings) -> DkimSigner | None:
    if not settings.dkim_key:
        return None
    pem = settings.dkim_key.read_bytes()
    return DkimSigner(pem, settings.dkim_domain, settings.dkim_selector)


def refusal(content: bytes) -> str:
    """Returns why a mail can be neither accepted nor sent, or an empty string if it can."""
    if problem := smtp_lines.refusal(content):
        return problem
    if content.count(b"eceived") > MAX_HOPS and _hops(content) > MAX_HOPS:
        return f"554 5.4.6 more than {MAX_HOPS} hops: this mail is looping"
    return ""


def _hops(content: bytes) -> int:
    end, _ = header_fields.blank(content) or (len(content), 0)
    return len(_HOP.findall(content[:end]))


def _reason_unchanged(prepared: PreparedMessage) -> Reason:
    """Returns why nothing was changed."""
    if "unproven" in prepared.unchanged_reasons:
        return "unproven"
    if prepared.unchanged_reasons == {"sealed"}:
        return "sealed"
    # Rewritten HTML always differs, at least by its pixel; text may have no links.
    trouble = "unreadable" in prepared.unchanged_reasons or (prepared.sample and prepared.notes)
    return "broken" if trouble else "nothing"
