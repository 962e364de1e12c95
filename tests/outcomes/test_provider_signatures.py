import json
import time
from typing import Any

import pytest

from app.outcomes.provider_signatures import SIGNED, KeyFormatError, Verify
from tests.support.provider_samples import (
    MAILGUN_KEY,
    RESEND_KEY,
    RSA_KEY,
    SAMPLES,
    SENDGRID_KEY,
    Of,
    der,
    signed,
)

KEYS = {
    "sendgrid": der(SENDGRID_KEY),
    "mailgun": MAILGUN_KEY,
    "resend": RESEND_KEY,
    "postal": der(RSA_KEY),
}
OF = Of("0192f3c4-a5b6-7c8d-9e0f-1a2b3c4d5e6f", "boots.1@shop.example", "ann@example.com")


def request(provider: str, at: float | None = None) -> tuple[Verify, bytes, dict[str, str]]:
    body, headers = signed(provider, SAMPLES[provider]["delivered"](OF), at)
    lowered = {name.lower(): value for name, value in headers.items()}
    return SIGNED[provider](KEYS[provider]), body, lowered


@pytest.mark.parametrize("provider", SIGNED)
def test_a_request_of_the_provider_is_accepted(provider: str) -> None:
    verify, body, headers = request(provider)
    assert verify(body, headers)


@pytest.mark.parametrize("provider", SIGNED)
def test_a_signature_of_another_is_not(provider: str) -> None:
    verify, body, headers = request(provider)
    if provider == "mailgun":
        content: dict[str, Any] = json.loads(body)
        for name in ("timestamp", "token", "signature"):
            changed = {**content["signature"], name: content["signature"][name] + "0"}
            assert not verify(json.dumps({**content, "signature": changed}).encode(), headers)
        assert not verify(b'{"signature": 5}', headers) and not verify(b"{", headers)
        return
    assert not verify(body + b" ", headers)
    assert not verify(body, {})
    for name in headers:
        if "signature" in name and name != "x-postal-signature":  # the strong one decides
            for wrong in ("", "AAAA", "no base64!", headers[name][::-1]):
                absent = {"x-postal-signature": ""} if not wrong else {}
                assert not verify(body, {**headers, name: wrong, **absent})


def test_a_timestamp_is_signed_too() -> None:
    verify, body, headers = request("sendgrid")
    assert not verify(body, {**headers, "x-twilio-email-event-webhook-timestamp": "1"})
    verify, body, headers = request("resend")
    assert not verify(body, {**headers, "svix-timestamp": str(int(time.time()) - 1)})


@pytest.mark.parametrize("seconds", [-1000, 1000])
def test_a_standard_webhook_of_another_time_is_refused(seconds: int) -> None:
    verify, body, headers = request("resend", time.time() + seconds)
    assert not verify(body, headers)


def test_a_server_of_postal_that_signs_with_sha_1_only() -> None:
    verify, body, headers = request("postal")
    del headers["x-postal-signature-256"]
    assert verify(body, headers)
    assert not verify(body + b" ", headers)


@pytest.mark.parametrize(
    ("provider", "key"),
    [
        ("sendgrid", ""),
        ("sendgrid", "no base64!"),
        ("sendgrid", der(RSA_KEY)),
        ("postal", der(SENDGRID_KEY)),
        ("mailgun", "short"),
        ("resend", "0123456789abcdef"),
        ("resend", "whsec_"),
    ],
)
def test_a_key_of_another_form_is_an_error(provider: str, key: str) -> None:
    with pytest.raises(KeyFormatError):
        SIGNED[provider](key)
