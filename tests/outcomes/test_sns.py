import asyncio
import json

import pytest

from app.outcomes.provider_events import NotEventsError
from app.outcomes.sns import SnsError, SnsTopics
from tests.support.provider_samples import CERTIFICATE_URL, TOPIC, certificate, notification


class Amazon:
    """What stands in for SNS's hosts."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = certificate() if content is None else content
        self.urls: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.urls.append(url)
        return self.content


def accept(body: bytes, amazon: Amazon | None = None) -> bytes | None:
    topics = SnsTopics((amazon or Amazon()).fetch)
    topic, message = asyncio.run(topics.accept(body, {TOPIC}))
    assert topic == TOPIC
    return message


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_notification_has_a_message(version: str) -> None:
    assert accept(notification("the message", version=version)) == b"the message"
    assert accept(notification("ü\n", version=version, Subject="a subject")) == "ü\n".encode()


def test_a_certificate_is_fetched_once() -> None:
    amazon = Amazon()
    topics = SnsTopics(amazon.fetch)
    for _ in range(3):
        asyncio.run(topics.accept(notification("x"), {TOPIC}))
    assert amazon.urls == [CERTIFICATE_URL]


def test_a_subscription_is_confirmed() -> None:
    amazon = Amazon()
    assert accept(notification("confirm", "SubscriptionConfirmation"), amazon) is None
    assert len(amazon.urls) == 2 and "ConfirmSubscription" in amazon.urls[1]
    assert accept(notification("bye", "UnsubscribeConfirmation"), amazon) is None


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "another"},
        {"Timestamp": "2020-01-01T00:00:00.000Z"},
        {"Subject": "added"},
        {"Signature": "AAAA"},
        {"Signature": ""},
        {"SignatureVersion": "3"},
        {"SignatureVersion": "1"},
        {"TopicArn": "arn:aws:sns:eu-central-1:666:evil"},
    ],
)
def test_what_is_changed_is_refused(change: dict[str, str]) -> None:
    body = json.dumps({**json.loads(notification("x")), **change}).encode()
    with pytest.raises(SnsError):
        accept(body)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-central-1.amazonaws.com/a.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.example/a.pem",
        "https://evil.example/sns.eu-central-1.amazonaws.com/a.pem",
        "https://sns.eu-central-1.amazonaws.com@evil.example/a.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/a.pem",
        "https://bucket.s3.amazonaws.com/a.pem",
        "https://sns.eu-central-1.amazonaws.com/a",
        "https://[",
        "",
    ],
)
def test_no_other_host_is_asked_for_a_certificate(url: str) -> None:
    amazon = Amazon()
    body = json.dumps({**json.loads(notification("x")), "SigningCertURL": url}).encode()
    with pytest.raises(SnsError):
        accept(body, amazon)
    assert amazon.urls == []


def test_no_other_host_gets_a_confirmation() -> None:
    amazon = Amazon()
    evil = notification("x", "SubscriptionConfirmation", SubscribeURL="https://evil.example/")
    with pytest.raises(SnsError):
        accept(evil, amazon)
    assert amazon.urls == [CERTIFICATE_URL]


def test_a_certificate_that_is_none_is_refused() -> None:
    with pytest.raises(SnsError):
        accept(notification("x"), Amazon(b"<html>"))


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[]", b'{"Type": "Other"}'])
def test_what_is_no_notification_is_an_error(body: bytes) -> None:
    with pytest.raises(NotEventsError):
        accept(body)
