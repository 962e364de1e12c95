"""Reads what mail servers send back: delivery reports, feedback reports, automatic replies.

Delivery status notifications (RFC 3464) and feedback reports (RFC 5965) are read part by part, and
automatic replies are recognised by RFC 3834. flufl.bounce knows the words of servers that write
only text. Anybody can send such a mail, so what it says counts only for a message that it names: by
our id, by the Message-ID, or by both in the returned mail.
"""

import logging
import re
import time
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence, Set
from email import message_from_bytes, policy
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime
from hashlib import blake2b

from app.outcomes.provider_events import (
    COMPLAINED,
    DEFERRED,
    DELIVERED,
    HARD,
    HEADER,
    OTHER,
    REPLIED,
    SENT,
    SOFT,
    Meaning,
    ProviderEvent,
    code_of,
    is_permanent,
    our_id,
)

PROVIDER = "mail"  # of outcomes
MAX_BYTES = 5_000_000  # of a mail that are read: what was sent comes last in it
# The same if its return path names the message: the report comes before what was sent.
MAX_NAMED_BYTES = 250_000
MAX_WORDED_BYTES = 50_000  # read by flufl.bounce, whose many detectors each read every line
MAX_PARTS = 200
MAX_RECIPIENTS = 100  # of one report
MAX_HEADER_CHARS = 2_000
# RFC 3464, section 2.3.3. A server that has relayed or expanded a mail reports no more of it.
_ACTIONS = {"delayed": DEFERRED, "delivered": DELIVERED, "relayed": SENT, "expanded": SENT}
# RFC 5965, section 7.3, and its registry; the others are not about what the recipient wants.
_COMPLAINTS = ("abuse", "fraud", "opt-out", "opt-out-list")
# It logs a traceback for each detector that a hostile mail confuses: anybody could send many.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,998})>")
_QUOTED = re.compile(r"^[> \t]*message-id:[ \t]*<([^<>\s]{1,998})>", re.IGNORECASE | re.MULTILINE)
_QUOTED_OURS = re.compile(
    rf"^[> \t]*{HEADER}:[ \t]*(\S{{32,36}})\s*$", re.IGNORECASE | re.MULTILINE
)
Part = Message


class _Named:
    """What a report says of the mail that it is about."""

    def __init__(self, parts: Sequence[Part], message: str = "") -> None:
        self.ours, self.theirs = message, ""
        if message:
            return
        for part in parts:
            if part.get_content_type() == "message/rfc822":
                payload = part.get_payload()
                inner = payload[0] if isinstance(payload, list) and payload else None
                if isinstance(inner, Message):
                    self._add(inner)
            elif part.get_content_type() in ("text/rfc822-headers", "message/rfc822-headers"):
                self._add(message_from_bytes(_content(part), policy=policy.compat32))
        if not (self.ours or self.theirs):  # the mail may be quoted in the text
            for part in parts:
                if part.get_content_maintype() == "text":
                    text = _content(part).decode("utf-8", "replace")
                    found, ours = _QUOTED.search(text), _QUOTED_OURS.search(text)
                    self.theirs = self.theirs or (found[1] if found else "")
                    self.ours = self.ours or (our_id(ours[1]) if ours else "")

    def _add(self, returned: Message) -> None:
        # CFBL-Feedback-ID (RFC 9477, section 3.2) is the sender's own name of a mail.
        self.ours = self.ours or our_id(
            _header(returned, HEADER), _header(returned, "CFBL-Feedback-ID")
        )
        value = _header(returned, "Message-ID")
        found = _MESSAGE_ID.search(value)
        self.theirs = self.theirs or (found[1] if found else value if "@" in value else "")

    def __bool__(self) -> bool:
        return bool(self.ours or self.theirs)


def read(mail: bytes, about: str = "") -> list[ProviderEvent]:
    """Returns what a mail reports; nothing if it is none, or names no mail.

    `about` is our id of the message that the mail's return path names, which decides then. The mail
    begins with the field Return-Path if the sender of its envelope is known (RFC 5321, section
    4.4).
    """
    mail = mail[: MAX_NAMED_BYTES if about else MAX_BYTES].removeprefix(BOM_UTF8)
    try:
        message = message_from_bytes(mail, policy=policy.compat32)
        return list(_events(message, mail, about))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return []  # the parser of email gives up on some hostile mails


def _events(message: Message, mail: bytes, about: str) -> Iterator[ProviderEvent]:
    parts = []
    for part in message.walk():
        parts.append(part)
        if len(parts) >= MAX_PARTS:
            break
    named = _Named(parts, about)
    reports = [part for part in parts if part.get_content_type() == "message/delivery-status"]
    feedback = [part for part in parts if part.get_content_type() == "message/feedback-report"]
    at, event = _date(message), _event(message, mail)
    if reports and named:
        yield from _deliveries(reports, named, at, event)
    elif feedback and named:
        yield from _complaints(feedback, named, at, event)
    elif _is_reply(message):
        yield from _reply(message, about, at, event)
    elif named and not reports and _may_be_worded(message, bool(about)):
        yield from _worded(mail, parts, named, at, event)


def _deliveries(
    reports: Sequence[Part], named: _Named, at: float, event: str
) -> Iterator[ProviderEvent]:
    """Read the groups of fields of delivery reports, one for each recipient."""
    groups = [
        group
        for report in reports
        for group in (report.get_payload() if isinstance(report.get_payload(), list) else ())
        if isinstance(group, Message)
    ]
    for number, group in enumerate(groups[: MAX_RECIPIENTS + 1]):
        action = _header(group, "Action").split(";")[0].strip().lower()
        final = _header(group, "Final-Recipient") or _header(group, "Original-Recipient")
        recipient = parseaddr(final.partition(";")[2] or final)[1]
        if not action or not recipient:
            continue  # the fields about the message, which come first
        status = _header(group, "Status").split(" ")[0].strip()
        answer = _header(group, "Diagnostic-Code").partition(";")[2].strip()
        if action == "failed":
            # 5.0.0 says nothing more: the server's own words may.
            vague = status in ("", "5.0.0")
            hard = is_permanent(answer or status) if vague else is_permanent(status)
            meaning = HARD if hard else SOFT
        else:
            meaning = _ACTIONS.get(action, OTHER)
        yield ProviderEvent(
            id=f"{event} {number} {action}",
            meaning=meaning,
            at=at,
            recipient=recipient,
            message_id=named.ours,
            rfc_message_id=named.theirs,
            code=status or code_of(answer, action),
            text=answer or action,
        )


def _complaints(
    feedback: Sequence[Part], named: _Named, at: float, event: str
) -> Iterator[ProviderEvent]:
    payload = feedback[0].get_payload()
    fields = (
        payload[0]
        if isinstance(payload, list) and payload
        else message_from_bytes(_content(feedback[0]), policy=policy.compat32)
    )
    if not isinstance(fields, Message):
        return
    kind = _header(fields, "Feedback-Type").strip().lower()
    recipient = parseaddr(_header(fields, "Original-Rcpt-To"))[1]  # often removed by the sender
    yield ProviderEvent(
        id=event,
        meaning=COMPLAINED if kind in _COMPLAINTS else OTHER,
        at=at,
        recipient=recipient if "@" in recipient else "",
        message_id=named.ours,
        rfc_message_id=named.theirs,
        code=kind,
        text=_header(fields, "User-Agent"),
    )


def _is_reply(message: Message) -> bool:
    """Returns whether a mail is an automatic reply (RFC 3834, section 5) of a mailbox.

    Mail systems mark their reports alike.
    """
    if message.get_content_type() == "multipart/report" or _is_from_mail_system(message):
        return False
    submitted = _header(message, "Auto-Submitted").split(";")[0].strip().lower()
    precedence = _header(message, "Precedence").strip().lower()
    return submitted == "auto-replied" or precedence == "auto_reply" or "X-Autoreply" in message


def _reply(message: Message, about: str, at: float, event: str) -> Iterator[ProviderEvent]:
    of = _header(message, "In-Reply-To") + " " + _header(message, "References")
    found = _MESSAGE_ID.findall(of)
    if found or about:
        yield ProviderEvent(
            id=event,
            meaning=REPLIED,
            at=at,
            recipient=parseaddr(_header(message, "From"))[1],
            message_id=about,
            rfc_message_id=_replied_to(message, found),
            code="auto-replied",
        )


def _replied_to(message: Message, ids: Sequence[str]) -> str:
    """Returns the Message-ID of the mail that a reply is to: the last of its References."""
    if not ids:
        return ""
    return ids[0] if _header(message, "In-Reply-To") else ids[-1]


def _is_from_mail_system(message: Message) -> bool:
    local = parseaddr(_header(message, "From"))[1].partition("@")[0].lower()
    return local in ("mailer-daemon", "postmaster")


def _may_be_worded(message: Message, to_return_path: bool) -> bool:
    """Returns whether a mail comes from a mail system (RFC 5321, section 4.5.5).

    One to a return path of ours does if it has no sender, whatever its From.
    """
    sender = _header(message, "Return-Path").strip()
    if to_return_path and sender == "<>":
        return True
    return sender in ("", "<>") and _is_from_mail_system(message)


def _worded(
    mail: bytes, parts: Sequence[Part], named: _Named, at: float, event: str
) -> Iterator[ProviderEvent]:
    """Read a report without structure."""
    from flufl.bounce import all_failures  # noqa: PLC0415  (its many detectors load slowly)

    message = message_from_bytes(mail[:MAX_WORDED_BYTES], policy=policy.compat32)
    temporary, permanent = all_failures(message)
    text = "\n".join(
        _content(part).decode("utf-8", "replace")[:10_000]
        for part in parts[:10]
        if part.get_content_maintype() == "text"
    )
    code = code_of(text, "")
    both: tuple[tuple[Set[bytes], Meaning], ...] = (
        (permanent, SOFT if code and not is_permanent(code) else HARD),
        (temporary - permanent, DEFERRED),
    )
    number = 0
    for addresses, meaning in both:
        for address in sorted(addresses)[:MAX_RECIPIENTS]:
            number += 1
            yield ProviderEvent(
                id=f"{event} {number}",
                meaning=meaning,
                at=at,
                recipient=address.decode("utf-8", "replace"),
                message_id=named.ours,
                rfc_message_id=named.theirs,
                code=code or "bounced",
            )


def _content(part: Part) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _header(message: Message, name: str) -> str:
    """Returns a field's value on one line, empty if there is none."""
    value = message.get(name)
    return " ".join(str(value or "")[:MAX_HEADER_CHARS].split())


def _date(message: Message) -> float:
    try:
        return parsedate_to_datetime(_header(message, "Date")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return time.time()


def _event(message: Message, mail: bytes) -> str:
    """Returns an id that is the same if the same mail is read again."""
    name = _header(message, "Message-ID").encode("utf-8", "surrogateescape") or mail
    return blake2b(name, digest_size=16).hexdigest()
