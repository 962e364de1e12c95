import base64
import json
import time
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from app.events.signing import headers, sent_as
from app.schemas.timestamps import timestamp

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Data(msgspec.Struct):
    text: str


@given(st.binary(min_size=24, max_size=64), st.text(max_size=50))
@settings(max_examples=30)
def test_any_secret_of_the_allowed_length_signs_any_body(key: bytes, text: str) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    sent = sent_as("message.opened", timestamp(time.time()), Data(text))
    verified = Verifier(secret).verify(sent, headers(secret, "evt_1", int(time.time()), sent))
    assert verified["data"] == {"text": text}


@pytest.mark.parametrize("changed", ["body", "id", "time", "secret"])
def test_the_signature_covers_id_time_and_body(changed: str) -> None:
    now, sent = int(time.time()), b'{"a":1}'
    signed = headers(SECRET, "evt_1", now, sent)
    assert Verifier(SECRET).verify(sent, signed) == {"a": 1}
    body = b'{"a":2}' if changed == "body" else sent
    if changed == "id":
        signed["webhook-id"] = "evt_2"
    if changed == "time":
        signed["webhook-timestamp"] = str(now - 1)
    secret = f"whsec_{base64.b64encode(bytes(24)).decode()}" if changed == "secret" else SECRET
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(body, signed)


def test_an_old_signature_is_refused_by_the_receiver() -> None:
    signed = headers(SECRET, "evt_1", int(time.time()) - 3600, b"{}")
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(b"{}", signed)


def test_the_headers_are_the_standards_own() -> None:
    signed = headers(SECRET, "evt_1", 1_674_087_231, b'{"test": 2432232314}')
    assert signed == {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1674087231",
        "webhook-signature": signed["webhook-signature"],
        "content-type": "application/json",
        "user-agent": "Mailwake-Webhooks",
    }


def test_the_example_of_the_specification() -> None:
    signed = headers(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_body_has_type_time_in_utc_and_data() -> None:
    at = datetime(2026, 5, 1, 14, 0, 0, 123999, timezone(timedelta(hours=2)))
    assert json.loads(sent_as("message.opened", timestamp(at), Data("é"))) == {
        "type": "message.opened",
        "timestamp": "2026-05-01T12:00:00.123Z",
        "data": {"text": "é"},
    }


@given(st.binary(min_size=1, max_size=500), st.text("abc_", min_size=1))
def test_any_body_is_verified_by_the_vendor_neutral_library(body: bytes, event: str) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent = json.dumps({"x": body.hex()}).encode()
    signed = headers(secret, event, int(time.time()), sent)
    assert Verifier(secret).verify(sent, signed) == {"x": body.hex()}
