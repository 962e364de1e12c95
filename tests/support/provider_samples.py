"""Requests of mail providers, written after their documentation and signed with keys of our own.

The pages are named in app/outcomes/provider_events.py and provider_signatures.py. SAMPLES has for
each provider bodies by the outcome that they report, about the message and recipient of `Of`.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-central-1:123456789012:mailwake"
CERTIFICATE_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123.pem"
SENDGRID_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
MAILGUN_KEY = "key-of-mailgun-0123456789"
RESEND_KEY = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


class Of(NamedTuple):
    """What a sample is about: our id of the message, its Message-ID and its recipient."""

    message: str
    rfc_message_id: str
    recipient: str
    event: str = "e1"


def der(key: Any) -> str:
    public = key.public_key()
    return base64.b64encode(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()


def config(workspace: str = "default") -> str:
    """The TOML file with the keys of all providers that sign."""
    keys = {
        "sendgrid": der(SENDGRID_KEY),
        "mailgun": MAILGUN_KEY,
        "resend": RESEND_KEY,
        "postal": der(RSA_KEY),
    }
    signed = "".join(
        f'[[provider]]\nname = "{name}"\nworkspace = "{workspace}"\nkey = "{key}"\n'
        for name, key in keys.items()
    )
    return f'{signed}[[provider]]\nname = "ses"\nworkspace = "{workspace}"\ntopics = ["{TOPIC}"]\n'


def certificate() -> bytes:
    """A certificate of RSA_KEY, as SNS serves one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(RSA_KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(RSA_KEY, SHA256())
    )
    return built.public_bytes(Encoding.PEM)


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


# What is sent


def ses(of: Of, name: str, part: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventType": name,
        "mail": {
            "timestamp": stamp(),
            "source": "shop@shop.example",
            "messageId": f"0100-{of.event}-000000",
            "destination": [of.recipient],
            "headersTruncated": False,
            "headers": [
                {"name": "From", "value": "Shop <shop@shop.example>"},
                {"name": "Message-ID", "value": f"<{of.rfc_message_id}>"},
            ],
            "commonHeaders": {"messageId": f"<{of.rfc_message_id}>", "subject": "Boots"},
            "tags": {"ses:configuration-set": ["shop"]},
            "unknown": {"field": [1]},
        },
        {"DeliveryDelay": "deliveryDelay"}.get(name, name.lower()): part,
    }


def ses_bounce(of: Of, kind: str, status: str) -> dict[str, Any]:
    part = {
        "bounceType": kind,
        "bounceSubType": "General",
        "bouncedRecipients": [
            {
                "emailAddress": of.recipient,
                "action": "failed",
                "status": status,
                "diagnosticCode": f"smtp; 550 {status} <{of.recipient}>: refused",
            }
        ],
        "timestamp": stamp(),
        "feedbackId": f"0100-feedback-{of.event}",
        "reportingMTA": "dns; mta.example.com",
    }
    return ses(of, "Bounce", part)


def sendgrid(of: Of, name: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "email": of.recipient,
            "timestamp": int(time.time()),
            "smtp-id": f"<{of.rfc_message_id}>",
            "event": name,
            "category": ["shop"],
            "sg_event_id": f"sg-{of.event}-{name}",
            "sg_message_id": "sg_message.filter001.1.1",
            "mailwake_message_id": of.message,
            **more,
        }
    ]


def mailgun(of: Of, name: str, **more: Any) -> dict[str, Any]:
    return {
        "event-data": {
            "event": name,
            "id": f"mg-{of.event}-{name}",
            "timestamp": time.time(),
            "log-level": "info",
            "recipient": of.recipient,
            "recipient-domain": "example.com",
            "message": {"headers": {"message-id": of.rfc_message_id, "subject": "Boots"}},
            "user-variables": {},
            "delivery-status": {"code": 250, "message": "OK", "attempt-no": 1},
            **more,
        }
    }


def postmark(of: Of, name: str, **more: Any) -> dict[str, Any]:
    return {
        "RecordType": name,
        "MessageStream": "outbound",
        "ServerID": 23,
        "MessageID": f"883953f4-{of.event}",
        "Tag": "shop",
        "Metadata": {"mailwake_message_id": of.message},
        **more,
    }


def sparkpost(of: Of, name: str, group: str = "message_event", **more: Any) -> list[dict[str, Any]]:
    event = {
        "type": name,
        "event_id": f"sp-{of.event}-{name}",
        "message_id": "0e0d94b7-9085-4e3c-ab30-e3f2cd9c273e",
        "rcpt_to": of.recipient,
        "raw_rcpt_to": of.recipient,
        "rcpt_meta": {"mailwake_message_id": of.message},
        "timestamp": str(int(time.time())),
        "subaccount_id": "101",
        **more,
    }
    return [{"msys": {group: event}}, {"msys": {}}]


def mailjet(of: Of, name: str, **more: Any) -> dict[str, Any]:
    return {
        "event": name,
        "time": int(time.time()),
        "MessageID": 19421777835146490,
        "Message_GUID": f"1ab23cd4-{of.event}",
        "email": of.recipient,
        "mj_campaign_id": 7257,
        "CustomID": of.message,
        "Payload": "",
        **more,
    }


def brevo(of: Of, name: str, **more: Any) -> dict[str, Any]:
    return {
        "event": name,
        "email": of.recipient,
        "id": 26224,
        "date": "2026-11-28 11:00:00",
        "ts": int(time.time()),
        "ts_event": int(time.time()),
        "message-id": f"<{of.rfc_message_id}>",
        "subject": "Boots",
        "tags": ["shop"],
        **more,
    }


def resend(of: Of, name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": name,
        "created_at": stamp(),
        "data": {
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "from": "Shop <shop@shop.example>",
            "to": [of.recipient],
            "subject": "Boots",
            "created_at": stamp(),
            "tags": {"mailwake_message_id": of.message},
            **more,
        },
    }


def postal(of: Of, name: str, **more: Any) -> dict[str, Any]:
    message = {
        "id": 12345,
        "token": "abcdef123",
        "direction": "outgoing",
        "message_id": of.rfc_message_id,
        "to": of.recipient,
        "from": "shop@shop.example",
        "subject": "Boots",
        "timestamp": time.time(),
        "tag": "shop",
    }
    about = "original_message" if name == "MessageBounced" else "message"
    return {
        "event": name,
        "timestamp": time.time(),
        "payload": {about: message, "timestamp": time.time(), **more},
        "uuid": f"postal-{of.event}-{name}",
    }


SAMPLES: Mapping[str, Mapping[str, Callable[[Of], Any]]] = {
    "ses": {
        "sent": lambda of: ses(of, "Send", {}),
        "deferred": lambda of: ses(
            of,
            "DeliveryDelay",
            {
                "timestamp": stamp(),
                "delayType": "TransientCommunicationFailure",
                "delayedRecipients": [
                    {"emailAddress": of.recipient, "status": "4.4.1", "diagnosticCode": "timeout"}
                ],
            },
        ),
        "delivered": lambda of: ses(
            of,
            "Delivery",
            {
                "timestamp": stamp(),
                "recipients": [of.recipient],
                "smtpResponse": "250 2.6.0 Message received",
                "reportingMTA": "mta.example.com",
            },
        ),
        "hard": lambda of: ses_bounce(of, "Permanent", "5.1.1"),
        "soft": lambda of: ses_bounce(of, "Transient", "4.2.2"),
        "rejected": lambda of: ses(of, "Reject", {"reason": "Bad content"}),
        "complained": lambda of: ses(
            of,
            "Complaint",
            {
                "complainedRecipients": [{"emailAddress": of.recipient}],
                "timestamp": stamp(),
                "feedbackId": f"0100-complaint-{of.event}",
                "complaintFeedbackType": "abuse",
            },
        ),
        "opened": lambda of: ses(of, "Open", {"timestamp": stamp(), "ipAddress": "192.0.2.1"}),
        "other": lambda of: ses(of, "Something New", {}),
    },
    "sendgrid": {
        "queued": lambda of: sendgrid(of, "processed"),
        "deferred": lambda of: sendgrid(of, "deferred", response="400 try again later"),
        "delivered": lambda of: sendgrid(of, "delivered", response="250 2.0.0 OK"),
        "hard": lambda of: sendgrid(
            of, "bounce", type="bounce", status="5.1.1", reason="550 no such user"
        ),
        "soft": lambda of: sendgrid(of, "bounce", type="blocked", reason="554 blocked"),
        "rejected": lambda of: sendgrid(of, "dropped", reason="Bounced Address", status="5.0.0"),
        "complained": lambda of: sendgrid(of, "spamreport"),
        "opened": lambda of: sendgrid(of, "open", sg_machine_open=False),
        "other": lambda of: sendgrid(of, "group_resubscribe"),
    },
    "mailgun": {
        "queued": lambda of: mailgun(of, "accepted"),
        "deferred": lambda of: mailgun(of, "failed", severity="temporary", reason="generic"),
        "delivered": lambda of: mailgun(of, "delivered"),
        "hard": lambda of: mailgun(
            of,
            "failed",
            severity="permanent",
            reason="bounce",
            **{"delivery-status": {"code": 550, "message": "5.1.1 no such user"}},
        ),
        "soft": lambda of: mailgun(of, "failed", severity="permanent", reason="old"),
        "rejected": lambda of: mailgun(
            of, "failed", severity="permanent", reason="suppress-bounce"
        ),
        "complained": lambda of: mailgun(of, "complained"),
        "opened": lambda of: mailgun(of, "opened"),
        "other": lambda of: mailgun(of, "stored"),
    },
    "postmark": {
        "deferred": lambda of: postmark(
            of, "Bounce", ID=41, Type="Transient", Email=of.recipient, BouncedAt=stamp()
        ),
        "delivered": lambda of: postmark(
            of,
            "Delivery",
            Recipient=of.recipient,
            DeliveredAt="2026-11-28T09:00:00.1234567+01:00",
            Details="250 2.0.0 OK",
        ),
        "hard": lambda of: postmark(
            of,
            "Bounce",
            ID=42,
            Type="HardBounce",
            TypeCode=1,
            Email=of.recipient,
            BouncedAt=stamp(),
            Details=f"smtp;550 5.1.1 <{of.recipient}> unknown",
        ),
        "soft": lambda of: postmark(
            of, "Bounce", ID=43, Type="SoftBounce", Email=of.recipient, BouncedAt=stamp()
        ),
        "rejected": lambda of: postmark(
            of, "Bounce", ID=44, Type="ManuallyDeactivated", Email=of.recipient, BouncedAt=stamp()
        ),
        "complained": lambda of: postmark(
            of, "SpamComplaint", ID=45, Type="SpamComplaint", Email=of.recipient, BouncedAt=stamp()
        ),
        "replied": lambda of: postmark(
            of, "Bounce", ID=46, Type="AutoResponder", Email=of.recipient, BouncedAt=stamp()
        ),
        "opened": lambda of: postmark(
            of, "Open", Recipient=of.recipient, ReceivedAt=stamp(), FirstOpen=True
        ),
        "other": lambda of: postmark(
            of, "Bounce", ID=47, Type="OpenRelayTest", Email=of.recipient, BouncedAt=stamp()
        ),
    },
    "sparkpost": {
        "queued": lambda of: sparkpost(of, "injection"),
        "deferred": lambda of: sparkpost(of, "delay", bounce_class="21"),
        "delivered": lambda of: sparkpost(of, "delivery"),
        "hard": lambda of: sparkpost(
            of, "bounce", bounce_class="10", error_code="550", raw_reason="550 5.1.1 unknown"
        ),
        "soft": lambda of: sparkpost(of, "out_of_band", bounce_class="22", reason="mailbox full"),
        "rejected": lambda of: sparkpost(of, "policy_rejection", reason="suppressed"),
        "complained": lambda of: sparkpost(of, "spam_complaint", fbtype="abuse"),
        "replied": lambda of: sparkpost(of, "bounce", bounce_class="60"),
        "opened": lambda of: sparkpost(of, "open", "track_event"),
        "other": lambda of: sparkpost(of, "amp_open", "track_event"),
    },
    "mailjet": {
        "delivered": lambda of: mailjet(of, "sent", smtp_reply="250 2.0.0 OK"),
        "hard": lambda of: mailjet(
            of,
            "bounce",
            hard_bounce=True,
            blocked=False,
            error_related_to="recipient",
            error="user unknown",
            comment="550 5.1.1 unknown",
        ),
        "soft": lambda of: mailjet(of, "bounce", hard_bounce=False, error="mailbox inactive"),
        "rejected": lambda of: mailjet(of, "blocked", error_related_to="recipient", error="x"),
        "complained": lambda of: mailjet(of, "spam", source="JMRPP"),
        "opened": lambda of: [mailjet(of, "open", ip="192.0.2.1")],
        "other": lambda of: mailjet(of, "news"),
    },
    "brevo": {
        "queued": lambda of: brevo(of, "request"),
        "deferred": lambda of: brevo(of, "deferred", reason="451 try later"),
        "delivered": lambda of: brevo(of, "delivered"),
        "hard": lambda of: brevo(of, "hard_bounce", reason="550 5.1.1 unknown"),
        "soft": lambda of: brevo(of, "soft_bounce", reason="452 4.2.2 full"),
        "rejected": lambda of: brevo(of, "blocked", reason="blocked : due to blacklist user"),
        "complained": lambda of: brevo(of, "spam"),
        "opened": lambda of: brevo(of, "unique_opened"),
        "other": lambda of: brevo(of, "list_addition"),
    },
    "resend": {
        "queued": lambda of: resend(of, "email.scheduled"),
        "sent": lambda of: resend(of, "email.sent"),
        "deferred": lambda of: resend(of, "email.delivery_delayed"),
        "delivered": lambda of: resend(of, "email.delivered"),
        "hard": lambda of: resend(
            of,
            "email.bounced",
            bounce={"type": "Permanent", "subType": "General", "message": "550 5.1.1 unknown"},
        ),
        "soft": lambda of: resend(
            of,
            "email.bounced",
            bounce={"type": "Transient", "subType": "MailboxFull", "message": "full"},
        ),
        "rejected": lambda of: resend(of, "email.failed", failed={"reason": "quota"}),
        "complained": lambda of: resend(of, "email.complained"),
        "opened": lambda of: resend(of, "email.opened"),
        "other": lambda of: resend(of, "email.new"),
    },
    "postal": {
        "queued": lambda of: postal(of, "MessageHeld", status="Held", details="limit"),
        "deferred": lambda of: postal(
            of, "MessageDelayed", status="SoftFail", output="451 4.7.1 greylisted"
        ),
        "delivered": lambda of: postal(
            of, "MessageSent", status="Sent", output="250 2.0.0 OK", sent_with_ssl=True
        ),
        "hard": lambda of: postal(
            of, "MessageDeliveryFailed", status="HardFail", output="550 5.1.1 unknown user"
        ),
        "soft": lambda of: postal(
            of, "MessageDeliveryFailed", status="HardFail", output="554 5.7.1 spam"
        ),
        "opened": lambda of: postal(of, "MessageLoaded", ip_address="192.0.2.1"),
        "other": lambda of: postal(of, "MessageRenamed"),
    },
}


# How it is signed


def signed(provider: str, content: Any, at: float | None = None) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request, as the provider signs it."""
    at = time.time() if at is None else at
    body = json.dumps(content).encode()
    if provider == "ses":
        return notification(body.decode()), {"content-type": "text/plain; charset=UTF-8"}
    headers = {"content-type": "application/json"}
    if provider == "sendgrid":
        stamped = str(int(at))
        signature = SENDGRID_KEY.sign(stamped.encode() + body, ec.ECDSA(SHA256()))
        headers |= {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamped,
        }
    elif provider == "mailgun":
        stamped, token = str(int(at)), hashlib.sha256(body).hexdigest()[:50]
        digest = hmac.new(MAILGUN_KEY.encode(), f"{stamped}{token}".encode(), hashlib.sha256)
        signature_of = {"timestamp": stamped, "token": token, "signature": digest.hexdigest()}
        body = json.dumps({"signature": signature_of, **content}).encode()
    elif provider == "resend":
        event, key = f"msg_{hashlib.sha256(body).hexdigest()[:20]}", RESEND_KEY[6:]
        to_sign = f"{event}.{int(at)}.".encode() + body
        digest_of = hmac.new(base64.b64decode(key), to_sign, hashlib.sha256).digest()
        value = (
            f"v1,{base64.b64encode(b'other').decode()} v1,{base64.b64encode(digest_of).decode()}"
        )
        headers |= {"svix-id": event, "svix-timestamp": str(int(at)), "svix-signature": value}
    elif provider == "postal":
        headers["X-Postal-Signature"] = base64.b64encode(
            RSA_KEY.sign(body, PKCS1v15(), SHA1())
        ).decode()
        headers["X-Postal-Signature-256"] = base64.b64encode(
            RSA_KEY.sign(body, PKCS1v15(), SHA256())
        ).decode()
    return body, headers


def notification(
    message: str, kind: str = "Notification", version: str = "2", **changes: str
) -> bytes:
    """What SNS posts, signed; `changes` are made before it is signed."""
    fields = {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message,
        "Timestamp": stamp(),
        **changes,
    }
    order: tuple[str, ...]
    if kind == "Notification":
        order = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
    else:
        fields.setdefault("Token", "a token")
        fields.setdefault(
            "SubscribeURL",
            "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=a",
        )
        order = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    to_sign = "".join(f"{name}\n{fields[name]}\n" for name in order if name in fields).encode()
    hash_ = SHA256() if version == "2" else SHA1()
    signature = RSA_KEY.sign(to_sign, PKCS1v15(), hash_)
    return json.dumps(
        {
            **fields,
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
            "SigningCertURL": CERTIFICATE_URL,
            "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
        }
    ).encode()
