"""What the SMTP gateway makes of a mail: tracked copies, or a reason why it stays as it is.

A mail that cannot be rewritten is never held up: it goes out untouched, and the reason is counted.
"""

import logging
import re
from typing import Literal, NamedTuple, get_args

import dkim

from app.experiments.variants import VariantError
from app.messages import mail_headers
from app.messages.mail_headers import DescriptionError
from app.messages.prepare import NO_DATA, MessagePreparer, PreparedMessage
from app.rewriting import header_fields, smtp_lines
from app.rewriting.header_fields import HeaderError
from app.schemas.messages import OwnData
from app.settings.settings import PREFIX, Settings, SettingsError
from app.smtp import stream_rules
from app.smtp.stream_rules import Stream

log = logging.getLogger(__name__)
SHARED = "(shared)"  # the recipient of a mail that all get alike
MESSAGE_ID = "X-Mailwake-Message-ID"  # of a copy, where the settings say so
MOST_HOPS = 50  # Received fields (RFC 5321, section 6.3)
_BLANKS = re.compile(rb"[ \t]++")
_HOP = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)

# off: it said so. signed: by DKIM already. nothing: no HTML. sealed: all of it is signed or
# encrypted. field: an X-Mailwake-* field means nothing. broken: it could not be read or rewritten.
# unproven: what came out failed the check. journal: it could not be entered in the ledger. large:
# the smarthost takes no more.
Reason = Literal[
    "off", "signed", "nothing", "sealed", "field", "broken", "unproven", "journal", "large"
]
REASONS = get_args(Reason)


class Mail(NamedTuple):
    """A mail without its X-Mailwake-* fields; `stream` is None where it stays as it is: `why`.

    `data` is its own metadata and Message-ID; `unsubscribe` asks for List-Unsubscribe to be put in.
    """

    content: bytes
    stream: Stream | None
    unsubscribe: bool = False
    why: Reason | None = None
    detail: str = ""
    data: OwnData = NO_DATA


class Copy(NamedTuple):
    """What goes to the smarthost. `prepared` is what is to be recorded, None for nothing."""

    content: bytes
    prepared: PreparedMessage | None
    why: Reason | None = None
    detail: str = ""

    @property
    def suppressed(self) -> bool:
        """Whether it must not be sent."""
        return self.prepared is not None and self.prepared.draft.suppressed


class CopyMaker:
    """Reads mails and makes copies. Raises SettingsError where a file cannot be used."""

    def __init__(self, settings: Settings, outgoing: MessagePreparer) -> None:
        self._settings, self._outgoing = settings, outgoing
        try:
            file = settings.smtp_streams
            self._rules = stream_rules.from_file(file) if file else ()
        except stream_rules.StreamsError as error:
            raise SettingsError(f"{PREFIX}SMTP_STREAMS: {error}") from None
        try:
            self._key = settings.dkim_key.read_bytes() if settings.dkim_key else b""
            self._sign(b"From: a@b.example\r\n\r\n")
        except (OSError, dkim.DKIMException) as error:
            raise SettingsError(f"{PREFIX}DKIM_KEY: {settings.dkim_key}: {error}") from None

    def read(self, message: bytes, sender: str) -> Mail:
        """What a mail says of itself; `sender` is the envelope's."""
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
        """The recipient's copy, not yet recorded."""
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
        except Exception as error:  # whatever it is, the mail goes out
            log.warning("a mail could not be rewritten: %r", error)
            return self.untouched(mail, "broken", type(error).__name__)
        if prepared.draft.suppressed:
            return Copy(mail.content, prepared)
        content = prepared.html
        if mail.unsubscribe and recipient != SHARED:
            content = mail_headers.header(prepared.draft.headers) + content
        if content == mail.content:
            off = mail.stream.tracking == mail_headers.OFF
            why: Reason = "off" if off else _why(prepared)
            return self.untouched(mail, why, "; ".join(prepared.notes))
        if self._settings.smtp_message_id and not header_fields.begins_within(content):
            named = {MESSAGE_ID: prepared.draft.message_id}
            content = mail_headers.header(named) + content
        content = self._signed(content)
        if problem := refusal(content):  # whatever the rewriter did
            self._outgoing.unproven += 1
            return self.untouched(mail, "unproven", problem)
        return Copy(content, prepared)

    def untouched(self, mail: Mail, why: Reason, detail: str = "") -> Copy:
        """The mail as it came, signed where it was not."""
        content = mail.content if why == "signed" else self._signed(mail.content)
        return Copy(content, None, why, detail)

    def _signed(self, content: bytes) -> bytes:
        try:
            return self._sign(content) + content
        except Exception as error:  # unsigned is better than not at all
            log.warning("a mail is sent without a DKIM signature: %r", error)
            return content

    def _sign(self, content: bytes) -> bytes:
        if not self._key or header_fields.begins_within(content):
            return b""
        # Relaxed canonicalization (RFC 6376, section 3.4.4) does this anyway, but the library first
        # takes time that grows with the square of such blanks.
        _, begin = header_fields.blank(content) or (0, len(content))
        body = _BLANKS.sub(b" ", content[begin:])
        signature: bytes = dkim.sign(
            content[:begin] + body,
            self._settings.dkim_selector.encode("ascii"),
            self._settings.dkim_domain.encode("idna"),
            self._key,
            canonicalize=(b"relaxed", b"relaxed"),
        )
        return signature


def refusal(content: bytes) -> str:
    """Returns why a mail cannot be taken, nor sent; empty where it can."""
    if problem := smtp_lines.refusal(content):
        return problem
    if content.count(b"eceived") > MOST_HOPS and _hops(content) > MOST_HOPS:
        return f"554 5.4.6 more than {MOST_HOPS} hops: this mail is looping"
    return ""


def _hops(content: bytes) -> int:
    end, _ = header_fields.blank(content) or (len(content), 0)
    return len(_HOP.findall(content[:end]))


def _why(prepared: PreparedMessage) -> Reason:
    """Why nothing was changed."""
    if "unproven" in prepared.left:
        return "unproven"
    if prepared.left == {"sealed"}:
        return "sealed"
    # HTML always changes, by its pixel at least; text may have no links.
    trouble = "unreadable" in prepared.left or (prepared.sample and prepared.notes)
    return "broken" if trouble else "nothing"
