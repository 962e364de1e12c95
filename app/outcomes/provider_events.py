"""Reads what mail providers report about messages, each in its own vocabulary.

EVENTS maps each provider's events to ours; its comments name the vendor's pages. An event that is
not in the table is kept as `other`, unknown fields are ignored, and an event that cannot be read
leaves the others of its batch alone.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from app.model.errors import UNREADABLE
from app.model.records import OutcomeKind

MESSAGE_ID = "mailwake_message_id"  # of a mail's metadata at the provider: our id of the message
HEADER = "x-mailwake-message-id"  # the same as a field of the mail (MAILWAKE_SMTP_MESSAGE_ID)
MAX_EVENTS = 20_000  # of a request; SparkPost sends up to 10,000
MAX_RECIPIENTS = 100  # of an event; SES and Resend send a mail to at most 50
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_IN_TEXT = re.compile(rf"{MESSAGE_ID}\W{{1,5}}({_UUID.pattern})", re.IGNORECASE)
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_REPLY = re.compile(r"(?<![\d.])([45]\d\d)(?![\d.])")


class Meaning(NamedTuple):
    """What a provider's event means; `permanent` is of bounces."""

    kind: OutcomeKind
    permanent: bool = False


class ProviderEvent(NamedTuple):
    """An event of a provider about one recipient's mail. `at` is in seconds since 1970 UTC.

    `message_id` is ours, empty if the provider does not return it.
    """

    id: str
    meaning: Meaning
    at: float
    recipient: str
    message_id: str = ""
    rfc_message_id: str = ""
    code: str = ""
    text: str = ""


HARD, SOFT = Meaning("bounced", True), Meaning("bounced", False)
QUEUED, SENT, DEFERRED = Meaning("queued"), Meaning("sent"), Meaning("deferred")
DELIVERED, REJECTED, COMPLAINED = Meaning("delivered"), Meaning("rejected"), Meaning("complained")
REPLIED, OTHER = Meaning("autoresponded"), Meaning("other")
OPENED, CLICKED, UNSUBSCRIBED = Meaning("opened"), Meaning("clicked"), Meaning("unsubscribed")

EVENTS: Mapping[str, Mapping[str, Meaning]] = {
    # https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
    # A Bounce is named after its bounceType.
    "ses": {
        "Send": SENT,
        "Reject": REJECTED,
        "Rendering Failure": REJECTED,
        "DeliveryDelay": DEFERRED,
        "Delivery": DELIVERED,
        "Permanent": HARD,
        "Transient": SOFT,
        "Undetermined": SOFT,
        "Complaint": COMPLAINED,
        "Open": OPENED,
        "Click": CLICKED,
        "Subscription": UNSUBSCRIBED,
    },
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
    # A bounce is named after its type.
    "sendgrid": {
        "processed": QUEUED,
        "deferred": DEFERRED,
        "delivered": DELIVERED,
        "bounce": HARD,
        "blocked": SOFT,
        "dropped": REJECTED,
        "spamreport": COMPLAINED,
        "unsubscribe": UNSUBSCRIBED,
        "group_unsubscribe": UNSUBSCRIBED,
        "open": OPENED,
        "click": CLICKED,
    },
    # https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-types
    # A failure is named after its severity and, if that is permanent, its reason: `suppress-*` was
    # not sent, and only `bounce` says that there is no such mailbox.
    "mailgun": {
        "accepted": QUEUED,
        "rejected": REJECTED,
        "delivered": DELIVERED,
        "temporary": DEFERRED,
        "bounce": HARD,
        "suppress-bounce": REJECTED,
        "suppress-complaint": REJECTED,
        "suppress-unsubscribe": REJECTED,
        "permanent": SOFT,
        "complained": COMPLAINED,
        "unsubscribed": UNSUBSCRIBED,
        "opened": OPENED,
        "clicked": CLICKED,
    },
    # https://postmarkapp.com/developer/webhooks/webhooks-overview
    # https://postmarkapp.com/developer/api/bounce-api#bounce-types
    # A Bounce is named after its Type.
    "postmark": {
        "Delivery": DELIVERED,
        "SpamComplaint": COMPLAINED,
        "Open": OPENED,
        "Click": CLICKED,
        "SubscriptionChange": UNSUBSCRIBED,
        "HardBounce": HARD,
        "BadEmailAddress": HARD,
        "SoftBounce": SOFT,
        "DnsError": SOFT,
        "Blocked": SOFT,
        "SpamNotification": SOFT,
        "VirusNotification": SOFT,
        "DMARCPolicy": SOFT,
        "Transient": DEFERRED,
        "AutoResponder": REPLIED,
        "AddressChange": REPLIED,
        "ChallengeVerification": REPLIED,
        "Unsubscribe": UNSUBSCRIBED,
        "ManuallyDeactivated": REJECTED,
        "Unconfirmed": REJECTED,
        "SMTPApiError": REJECTED,
        "TemplateRenderingFailed": REJECTED,
    },
    # https://developers.sparkpost.com/api/webhooks/ and, for the classes of bounces,
    # https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
    # A bounce, in or out of band, is named after its class where that is listed here.
    "sparkpost": {
        "injection": QUEUED,
        "delay": DEFERRED,
        "delivery": DELIVERED,
        "bounce": SOFT,
        "out_of_band": SOFT,
        "10": HARD,  # invalid recipient
        "30": HARD,  # no recipient, by the server's answer
        "25": REJECTED,  # by the account's own suppression list or policy
        "60": REPLIED,  # automatic reply
        "90": UNSUBSCRIBED,
        "policy_rejection": REJECTED,
        "generation_failure": REJECTED,
        "generation_rejection": REJECTED,
        "spam_complaint": COMPLAINED,
        "list_unsubscribe": UNSUBSCRIBED,
        "link_unsubscribe": UNSUBSCRIBED,
        "open": OPENED,
        "initial_open": OPENED,
        "click": CLICKED,
    },
    # https://dev.mailjet.com/email/guides/webhooks/
    # `sent` says that the recipient's server has accepted the mail. `hard_bounce` is a bounce with
    # that flag.
    "mailjet": {
        "sent": DELIVERED,
        "hard_bounce": HARD,
        "bounce": SOFT,
        "blocked": REJECTED,
        "spam": COMPLAINED,
        "unsub": UNSUBSCRIBED,
        "open": OPENED,
        "click": CLICKED,
    },
    # https://developers.brevo.com/docs/transactional-webhooks
    "brevo": {
        "request": QUEUED,
        "deferred": DEFERRED,
        "delivered": DELIVERED,
        "hard_bounce": HARD,
        "invalid_email": HARD,
        "soft_bounce": SOFT,
        "blocked": REJECTED,
        "error": REJECTED,
        "spam": COMPLAINED,
        "unsubscribed": UNSUBSCRIBED,
        "opened": OPENED,
        "unique_opened": OPENED,
        "proxy_open": OPENED,
        "unique_proxy_open": OPENED,
        "click": CLICKED,
    },
    # https://resend.com/docs/webhooks/event-types
    # A bounce is named after its type.
    "resend": {
        "email.scheduled": QUEUED,
        "email.sent": SENT,
        "email.delivery_delayed": DEFERRED,
        "email.delivered": DELIVERED,
        "Permanent": HARD,
        "Transient": SOFT,
        "Undetermined": SOFT,
        "email.bounced": SOFT,
        "email.failed": REJECTED,
        "email.suppressed": REJECTED,
        "email.complained": COMPLAINED,
        "email.opened": OPENED,
        "email.clicked": CLICKED,
    },
    # https://docs.postalserver.io/developer/webhooks
    # MessageSent says that the recipient's server has accepted the mail. Whether a failure is
    # permanent is in the server's answer.
    "postal": {
        "MessageSent": DELIVERED,
        "MessageDelayed": DEFERRED,
        "MessageDeliveryFailed": HARD,
        "MessageHeld": QUEUED,
        "MessageBounced": SOFT,
        "MessageLoaded": OPENED,
        "MessageLinkClicked": CLICKED,
    },
}
PROVIDERS = tuple(EVENTS)


class ProviderEvents(NamedTuple):
    """The events of a request, and how many others could not be read."""

    events: list[ProviderEvent]
    unreadable: int


class NotEventsError(ValueError):
    """A body is not what the provider sends; the message says why."""


def read(provider: str, body: bytes, delivery: str = "") -> ProviderEvents:
    """Returns the events of a body. Raises NotEventsError if it is not JSON of their shape.

    `delivery` is the provider's id of the request, for one whose events have none.
    """
    try:
        content = msgspec.json.decode(body)
    except (*UNREADABLE, RecursionError) as error:
        raise NotEventsError(f"the body is not valid JSON: {error}") from None
    items = content if isinstance(content, list) else [content]
    if len(items) > MAX_EVENTS:
        raise NotEventsError(f"the body has more than {MAX_EVENTS:,} events")
    events: list[ProviderEvent] = []
    unreadable = 0
    for item in items:
        try:
            events += list(_READERS[provider](_Item(item), delivery))
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            unreadable += 1
    return ProviderEvents(events, unreadable)


def meaning(provider: str, *names: object) -> Meaning:
    """Returns what the first of some names that the table has means; OTHER if it has none."""
    table = EVENTS[provider]
    return next((table[name] for name in names if isinstance(name, str) and name in table), OTHER)


def is_permanent(answer: str) -> bool:
    """Returns whether a server's answer says that a mailbox does not exist.

    By its enhanced status code (RFC 3463): 5.1.x is about the email address, 5.2.1 a disabled
    mailbox, 5.4.4 a host that is not found, 5.0.0 says no more than permanent. A full mailbox, a
    policy or a system's trouble may end. Without such a code, by the SMTP reply code.
    """
    if status := _STATUS.search(answer):
        kind, subject, detail = status.groups()
        return kind == "5" and (
            subject == "1" or (subject, detail) in {("0", "0"), ("2", "1"), ("4", "4")}
        )
    reply = _REPLY.search(answer)
    return reply is not None and reply[1] in ("550", "551", "553")


class _Item:
    """A JSON object of a provider; `of` and `text` look into it without raising errors."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise TypeError("is not an object")
        self.value: Mapping[str, Any] = value

    def __getitem__(self, name: str) -> Any:
        return self.value[name]

    def of(self, *path: str) -> "_Item":
        """Returns an object inside, an empty one if there is none."""
        value: Any = self.value
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return _Item(value if isinstance(value, Mapping) else {})

    def text(self, *names: str) -> str:
        """Returns the first of some values that is there, as text."""
        for name in names:
            value = self.value.get(name)
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return str(value)
        return ""

    def required(self, *names: str) -> str:
        """Returns the first of some values that is there. Raises ValueError for none."""
        text = self.text(*names)
        if not text:
            raise ValueError(f"{names[0]} is missing")
        return text

    def list(self, name: str) -> list[Any]:
        """Returns a list inside, an empty one if there is none."""
        value = self.value.get(name)
        return value if isinstance(value, list) else []


def _ses(item: _Item, _: str) -> Iterator[ProviderEvent]:
    """Read the message of a notification; the envelope is read by sns.py."""
    name, mail = item.required("eventType", "notificationType"), item.of("mail")
    headers = {
        str(field.get("name", "")).lower(): str(field.get("value", ""))
        for field in mail.list("headers")
        if isinstance(field, Mapping)
    }
    tagged = mail.of("tags").list(MESSAGE_ID)
    ours = our_id(headers.get(HEADER), tagged[0] if tagged else None)
    # SES replaces the mail's own Message-ID, which only these fields have.
    theirs = mail.of("commonHeaders").text("messageId") or headers.get("message-id", "")
    part = item.of(
        {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}.get(name, name.lower())
    )
    what = meaning("ses", part.text("bounceType") if name == "Bounce" else name)
    if name == "Complaint" and part.text("complaintFeedbackType") == "not-spam":
        what = OTHER
    addressed: list[Any] = next(
        (
            part.list(names)
            for names in ("bouncedRecipients", "complainedRecipients", "delayedRecipients")
            if part.list(names)
        ),
        part.list("recipients") or mail.list("destination"),
    )
    at = _time(part.text("timestamp") or mail.text("timestamp"))
    event = part.text("feedbackId") or f"{mail.required('messageId')} {name} {at}"
    for one in addressed[:MAX_RECIPIENTS]:
        about = _Item(one if isinstance(one, Mapping) else {"emailAddress": one})
        recipient = about.required("emailAddress")
        answer = about.text("diagnosticCode") or part.text(
            "smtpResponse", "reason", "errorMessage", "complaintFeedbackType", "bounceSubType"
        )
        yield ProviderEvent(
            id=f"{event} {recipient}",
            meaning=what,
            at=at,
            recipient=recipient,
            message_id=ours,
            rfc_message_id=theirs,
            code=about.text("status") or code_of(answer, name),
            text=answer,
        )


def _sendgrid(item: _Item, _: str) -> Iterator[ProviderEvent]:
    name = item.required("event")
    answer = item.text("reason", "response")
    yield ProviderEvent(
        id=item.required("sg_event_id"),
        meaning=meaning("sendgrid", item.text("type") if name == "bounce" else name, name),
        at=_time(item["timestamp"]),
        recipient=item.required("email"),
        message_id=our_id(item.text(MESSAGE_ID)),
        rfc_message_id=item.text("smtp-id"),
        code=item.text("status") or code_of(answer, name),
        text=answer,
    )


def _mailgun(item: _Item, _: str) -> Iterator[ProviderEvent]:
    data = item.of("event-data")
    name, status = data.required("event"), data.of("delivery-status")
    names = [name]
    if name == "failed":
        severity = data.required("severity")
        names = [data.text("reason"), severity] if severity == "permanent" else [severity]
    answer = status.text("message") or status.text("description") or data.text("reason")
    at = _time(data["timestamp"])
    yield ProviderEvent(
        # Their id is unique within a day only.
        id=f"{data.required('id')} {at}",
        meaning=meaning("mailgun", *names),
        at=at,
        recipient=data.required("recipient"),
        message_id=our_id(data.of("user-variables").text(MESSAGE_ID)),
        rfc_message_id=data.of("message", "headers").text("message-id"),
        code=status.text("enhanced-code") or status.text("code") or name,
        text=answer,
    )


def _postmark(item: _Item, _: str) -> Iterator[ProviderEvent]:
    name = item.required("RecordType")
    about = item.text("Type") if name == "Bounce" else name
    what = meaning("postmark", about)
    if name == "SubscriptionChange" and item.value.get("SuppressSending") is False:
        what = OTHER
    answer = item.text("Details", "Description", "SuppressionReason")
    at = _time(item.required("BouncedAt", "DeliveredAt", "ReceivedAt", "ChangedAt"))
    recipient = item.required("Email", "Recipient")
    event = item.text("ID") or f"{item.required('MessageID')} {recipient} {at}"
    yield ProviderEvent(
        id=f"{name} {event}",
        meaning=what,
        at=at,
        recipient=recipient,
        message_id=our_id(item.of("Metadata").text(MESSAGE_ID)),
        code=code_of(answer, about),
        text=answer,
    )


def _sparkpost(item: _Item, _: str) -> Iterator[ProviderEvent]:
    groups = list(item.of("msys").value.values())
    for group in groups[:1]:  # an event is in one group
        event = _Item(group)
        name = event.required("type")
        bounced = name in ("bounce", "out_of_band")
        answer = event.text("raw_reason", "reason")
        yield ProviderEvent(
            id=event.required("event_id"),
            meaning=meaning("sparkpost", event.text("bounce_class") if bounced else name, name),
            at=_time(event["timestamp"]),
            recipient=event.required("raw_rcpt_to", "rcpt_to"),
            message_id=our_id(event.of("rcpt_meta").text(MESSAGE_ID)),
            code=code_of(answer, event.text("error_code") or name),
            text=answer,
        )


def _mailjet(item: _Item, _: str) -> Iterator[ProviderEvent]:
    name, at = item.required("event"), _time(item["time"])
    hard = name == "bounce" and item.value.get("hard_bounce") in (True, 1, "1", "true")
    answer = " ".join(
        text
        for text in (item.text("error_related_to"), item.text("error"), item.text("comment"))
        if text
    ) or item.text("smtp_reply")
    recipient = item.required("email")
    yield ProviderEvent(
        id=f"{item.required('Message_GUID', 'MessageID')} {name} {at} {recipient}",
        meaning=meaning("mailjet", "hard_bounce" if hard else name),
        at=at,
        recipient=recipient,
        message_id=our_id(item.text("CustomID"), item.text("Payload")),
        code=code_of(answer, name),
        text=answer,
    )


def _brevo(item: _Item, _: str) -> Iterator[ProviderEvent]:
    name = item.required("event")
    at = _time(item.required("ts_event", "ts"))
    recipient, answer = item.required("email"), item.text("reason")
    yield ProviderEvent(
        # `id` is that of the webhook.
        id=f"{item.text('message-id')} {name} {at} {recipient}",
        meaning=meaning("brevo", name),
        at=at,
        recipient=recipient,
        message_id=our_id(item.text("X-Mailin-custom")),
        rfc_message_id=item.text("message-id"),
        code=code_of(answer, name),
        text=answer,
    )


def _resend(item: _Item, delivery: str) -> Iterator[ProviderEvent]:
    name, data = item.required("type"), item.of("data")
    bounce = data.of("bounce")
    names = [bounce.text("type"), name] if name == "email.bounced" else [name]
    fields = {
        str(field.get("name", "")).lower(): str(field.get("value", ""))
        for kind in ("headers", "tags")
        for field in data.list(kind)
        if isinstance(field, Mapping)
    }
    ours = our_id(data.of("tags").text(MESSAGE_ID), fields.get(HEADER), fields.get(MESSAGE_ID))
    answer = bounce.text("message") or data.of("failed").text("reason")
    at = _time(item.required("created_at"))
    event = delivery or f"{data.required('email_id')} {name} {at}"
    for recipient in data.list("to")[:MAX_RECIPIENTS]:
        yield ProviderEvent(
            id=f"{event} {recipient}",
            meaning=meaning("resend", *names),
            at=at,
            recipient=str(recipient),
            message_id=ours,
            rfc_message_id=data.text("message_id") or fields.get("message-id", ""),
            code=code_of(answer, bounce.text("subType") or name),
            text=answer,
        )


def _postal(item: _Item, _: str) -> Iterator[ProviderEvent]:
    name, payload = item.required("event"), item.of("payload")
    message = payload.of("original_message") if name == "MessageBounced" else payload.of("message")
    answer = payload.text("output") or payload.text("details", "url")
    what = meaning("postal", name)
    if what == HARD and not is_permanent(answer):
        what = SOFT
    at = _time(payload.text("timestamp") or item["timestamp"])
    yield ProviderEvent(
        id=item.text("uuid") or f"{message.required('id')} {name} {at}",
        meaning=what,
        at=at,
        recipient=message.required("to"),
        rfc_message_id=message.text("message_id"),
        code=code_of(answer, payload.text("status") or name),
        text=answer,
    )


_READERS: Mapping[str, Callable[[_Item, str], Iterable[ProviderEvent]]] = {
    "ses": _ses,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
    "postmark": _postmark,
    "sparkpost": _sparkpost,
    "mailjet": _mailjet,
    "brevo": _brevo,
    "resend": _resend,
    "postal": _postal,
}


def our_id(*candidates: object) -> str:
    """Returns the first of some values that is a message id, or contains a named one."""
    for candidate in candidates:
        if isinstance(candidate, str):
            if _UUID.fullmatch(candidate.strip()):
                return candidate.strip()
            if found := _IN_TEXT.search(candidate):
                return found[1]
    return ""


def code_of(answer: str, other: str) -> str:
    """Returns the enhanced status code of an answer, its reply code, or another name for it."""
    found = _STATUS.search(answer) or _REPLY.search(answer)
    return found[0] if found else other


def _time(value: object) -> float:
    """Returns seconds since 1970 UTC of a number of seconds, or of an RFC 3339 time."""
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    try:
        return float(text)
    except ValueError:
        # Postmark has seven digits of a second, and some have a space instead of T.
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def plausible(at: float) -> float:
    """Returns a provider's time, or now if it cannot be right."""
    now = time.time()
    return at if 946_684_800 <= at <= now + 86_400 else now  # from the year 2000 on
