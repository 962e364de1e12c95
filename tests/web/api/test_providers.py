"""Mail providers report over HTTP, each as it sends and signs it, to a running service."""

import base64
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.outcomes.provider_events import PROVIDERS
from app.outcomes.provider_signatures import SIGNED
from tests.support.provider_samples import (
    SAMPLES,
    TOPIC,
    Of,
    certificate,
    config,
    notification,
    sendgrid,
    signed,
)
from tests.support.service import Service
from tests.support.two_tenants import shell

MAIL = '<a href="https://example.com/a">A</a>'
BY_KEY = sorted(set(PROVIDERS) - {*SIGNED, "ses"})
# Instead of Amazon's hosts, which only SNS can be.
AMAZON = f"""
from app.outcomes import sns
confirmed = []
async def fetch(url):
    if "ConfirmSubscription" in url:
        print("confirmed", url, flush=True)
    return {certificate()!r}
sns.SnsTopics.__init__.__defaults__ = (fetch,)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("told")
    file = folder / "outcomes.toml"
    file.write_text(config())
    env = {"MAILWAKE_OUTCOMES_FILE": str(file), "MAILWAKE_SUPPRESS_OUTCOMES": "0"}
    with Service(folder / "data", AMAZON, **env) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def key(told: Service) -> str:
    return shell(told, "keys", "add", "providers", "--scope", "outcomes")


def post(
    service: Service, provider: str, body: bytes, headers: dict[str, str], key: str = ""
) -> httpx2.Response:
    """Post as a provider does: it has no API key of the session, and may have one of its own."""
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        if key:
            secret = base64.b64encode(f"mailwake:{key}".encode()).decode()
            headers = {**headers, "authorization": f"Basic {secret}"}
        return client.post(f"/v1/outcomes/{provider}", content=body, headers=headers)


def report(service: Service, provider: str, content: Any, key: str) -> httpx2.Response:
    body, headers = signed(provider, content)
    return post(service, provider, body, headers, key if provider in BY_KEY else "")


STATES = {
    "queued": "queued",
    "sent": "sent",
    "deferred": "deferred",
    "delivered": "delivered",
    "hard": "bounced",
    "soft": "bounced",
    "rejected": "rejected",
    "complained": "complained",
    "replied": "delivered",
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_sample_gives_its_message_its_state(told: Service, key: str, provider: str) -> None:
    messages = {}
    for name, sample in SAMPLES[provider].items():
        recipient = f"{name}@{provider}.example"
        rfc_message_id = f"{uuid.uuid4().hex}@shop.example"
        message = told.rewrite(provider, MAIL, recipient, rfc_message_id=rfc_message_id)
        messages[name] = message["message_id"]
        of = Of(message["message_id"], rfc_message_id, recipient.title(), uuid.uuid4().hex)
        content = sample(of)
        for _ in range(2):  # a provider that gets no answer sends it again
            answer = report(told, provider, content, key)
            assert (answer.status_code, answer.json()) == (200, {"stored": 1, "unreadable": 0})
    told.drained()
    shown = {name: told.get(f"/v1/messages/{message}") for name, message in messages.items()}
    for name, history in shown.items():
        assert history["state"] == STATES.get(name), name
        (outcome,) = history["outcomes"]
        assert outcome["provider"] == provider and "example" not in outcome["id"]
        assert "@" not in outcome["text"].replace("***@", "")
        if name in ("hard", "soft"):
            assert outcome["permanent"] is (name == "hard")
    stats = told.stats(provider)
    assert stats["opens"]["all"]["total"] == stats["clicks"]["all"]["total"] == 0


@pytest.mark.parametrize("provider", [*SIGNED, "ses"])
def test_a_wrong_signature_is_401(told: Service, key: str, provider: str) -> None:
    of = Of(str(uuid.uuid4()), "a@b.example", "ann@example.com")
    body, headers = signed(provider, SAMPLES[provider]["delivered"](of))
    if provider in ("mailgun", "ses"):
        content = json.loads(body)
        if provider == "ses":
            content["Message"] += " "
        else:
            content["signature"]["token"] += "0"
        body = json.dumps(content).encode()
    else:
        body = body[:-1] + b" " + body[-1:]
    # An API key is no substitute for a signature.
    answer = post(told, provider, body, headers, key)
    assert answer.status_code == 401 and "signature is wrong" in answer.json()["detail"]


@pytest.mark.parametrize("provider", BY_KEY)
def test_who_does_not_sign_needs_a_key(told: Service, key: str, provider: str) -> None:
    of = Of(str(uuid.uuid4()), "a@b.example", "ann@example.com")
    body = json.dumps(SAMPLES[provider]["delivered"](of)).encode()
    assert post(told, provider, body, {}).status_code == 401
    assert post(told, provider, body, {}, "mw_wrong").status_code == 401
    assert post(told, provider, body, {"authorization": "Basic !"}).status_code == 401
    reader = shell(told, "keys", "add", f"reads {provider}", "--scope", "read")
    assert post(told, provider, body, {}, reader).status_code == 403
    assert post(told, provider, body, {"authorization": f"Bearer {key}"}).status_code == 200


def test_a_topic_is_confirmed_only_if_it_is_configured(told: Service) -> None:
    answer = post(told, "ses", notification("x", "SubscriptionConfirmation"), {})
    assert (answer.status_code, answer.json()) == (200, {"stored": 0, "unreadable": 0})
    assert told.log.read_text().count("confirmed https://sns.") == 1
    other = notification("x", "SubscriptionConfirmation", TopicArn=f"{TOPIC}-of-another")
    assert post(told, "ses", other, {}).status_code == 401
    assert told.log.read_text().count("confirmed https://sns.") == 1


def test_a_batch_with_a_bad_event_keeps_the_rest(told: Service, key: str) -> None:
    message = told.rewrite("mixed", MAIL, "ann@mixed.example")["message_id"]
    of = Of(message, "", "ann@mixed.example", uuid.uuid4().hex)
    batch = [{"event": "delivered"}, *sendgrid(of, "delivered"), 5]
    batch += sendgrid(of._replace(recipient=f"{'x' * 600}@example.com"), "open")
    answer = report(told, "sendgrid", batch, key)
    assert (answer.status_code, answer.json()) == (200, {"stored": 1, "unreadable": 3})
    told.drained()
    assert told.stats("mixed")["outcomes"]["delivered"] == 1


def test_other_requests_are_errors(told: Service, key: str) -> None:
    assert post(told, "fax", b"{}", {}, key).status_code == 404
    assert post(told, "brevo", b"{", {}, key).status_code == 400
    assert post(told, "ses", b"{}", {}).status_code == 400
    assert post(told, "sendgrid", b"x" * 2_000_001, {}).status_code == 413
    assert post(told, "mailjet", b"x" * 10_000_001, {}, key).status_code == 413
    with httpx2.Client(base_url=told.url, trust_env=False) as client:
        assert client.get("/v1/outcomes/ses").status_code == 405


def test_a_provider_that_is_not_configured_is_refused(service: Service) -> None:
    for provider in (*SIGNED, "ses"):
        body, headers = signed(provider, {})
        answer = post(service, provider, body, headers)
        assert answer.status_code == 401 and "not configured" in answer.json()["detail"]


def test_a_key_signs_for_its_workspace_only(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.toml"
    file.write_text(config("shop"))
    env = {"MAILWAKE_OUTCOMES_FILE": str(file)}
    with Service(tmp_path / "data", **env) as service:
        shell(service, "workspaces", "add", "shop", "https://click.shop.example")
        secret = shell(service, "keys", "add", "all", "--scope", "admin", "--workspace", "shop")
        service.wait_for(
            lambda: (
                service.client.get(
                    "/v1/newsletters", headers={"authorization": f"Bearer {secret}"}
                ).status_code
                == 200
            ),
            "workspace",
        )
        service.ready()
        mine = service.rewrite("own", MAIL, "ann@example.com")["message_id"]
        service.client.headers["authorization"] = f"Bearer {secret}"
        theirs = service.rewrite("own", MAIL, "ann@example.com")["message_id"]
        for message in (mine, theirs):
            of = Of(message, "", "ann@example.com", uuid.uuid4().hex)
            body, headers = signed("sendgrid", sendgrid(of, "delivered"), time.time())
            assert post(service, "sendgrid", body, headers).status_code == 200
        service.drained()
        assert service.stats("own")["outcomes"]["delivered"] == 1
        service.client.headers["authorization"] = f"Bearer {service.api_key}"
        assert service.stats("own")["outcomes"]["delivered"] == 0


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.toml"
    file.write_text('[[provider]]\nname = "fax"')
    service = Service(tmp_path / "data", MAILWAKE_OUTCOMES_FILE=str(file))
    with pytest.raises(AssertionError, match="MAILWAKE_OUTCOMES_FILE"):
        service.start()
