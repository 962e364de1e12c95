"""What each provider's events mean, on samples written after its documentation."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outcomes.provider_events import (
    EVENTS,
    MAX_EVENTS,
    PROVIDERS,
    Meaning,
    NotEventsError,
    is_permanent,
    plausible,
    read,
)
from tests.support.provider_samples import SAMPLES, Of, mailjet, sendgrid, ses_bounce

OF = Of("0192f3c4-a5b6-7c8d-9e0f-1a2b3c4d5e6f", "boots.1@shop.example", "ann@example.com")
MEANINGS = {
    "hard": Meaning("bounced", True),
    "soft": Meaning("bounced", False),
    "replied": Meaning("autoresponded"),
}
CASES = [(provider, name) for provider, samples in SAMPLES.items() for name in samples]
BY_RFC_MESSAGE_ID = ("ses", "mailgun", "brevo", "postal")  # the others return our id


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_a_sample_means_what_it_says(provider: str, name: str) -> None:
    found = read(provider, json.dumps(SAMPLES[provider][name](OF)).encode(), "delivery")
    assert found.unreadable == 0
    (event,) = found.events
    assert event.meaning == MEANINGS.get(name) or event.meaning.kind == name
    assert event.recipient == "ann@example.com"
    if provider in BY_RFC_MESSAGE_ID:
        assert event.rfc_message_id.strip("<>") == OF.rfc_message_id
    else:
        assert event.message_id == OF.message
    assert event.id and event.code and abs(event.at - time.time()) < 86_400 * 2


@pytest.mark.parametrize("provider", PROVIDERS)
def test_events_have_ids_of_their_own_that_stay_the_same(provider: str) -> None:
    ids = []
    for name, sample in SAMPLES[provider].items():
        body = json.dumps(sample(OF._replace(event=name))).encode()
        (first,), (again,) = (read(provider, body, f"d {name}").events for _ in range(2))
        assert first == again
        ids.append(first.id)
    assert len(set(ids)) == len(ids)


def test_every_provider_has_samples_of_what_matters() -> None:
    assert set(SAMPLES) == set(EVENTS)
    for provider, samples in SAMPLES.items():
        assert {"delivered", "hard", "soft", "opened", "other"} <= set(samples), provider
        kinds = {meaning.kind for meaning in EVENTS[provider].values()}
        assert {"delivered", "bounced", "opened", "clicked"} <= kinds


def test_what_a_server_said_is_kept() -> None:
    (event,) = read("ses", json.dumps(ses_bounce(OF, "Permanent", "5.1.1")).encode()).events
    assert (event.code, event.text) == ("5.1.1", "smtp; 550 5.1.1 <ann@example.com>: refused")
    (event,) = read("mailjet", json.dumps(SAMPLES["mailjet"]["hard"](OF)).encode()).events
    assert (event.code, event.text) == ("5.1.1", "recipient user unknown 550 5.1.1 unknown")


def test_one_notification_about_several_recipients_is_several_events() -> None:
    body = ses_bounce(OF, "Permanent", "5.1.1")
    recipients = body["bounce"]["bouncedRecipients"]
    recipients.append({**recipients[0], "emailAddress": "bob@example.com"})
    events = read("ses", json.dumps(body).encode()).events
    assert [event.recipient for event in events] == ["ann@example.com", "bob@example.com"]
    assert len({event.id for event in events}) == 2


def test_a_bad_event_leaves_the_others_of_its_batch() -> None:
    batch: list[Any] = [*sendgrid(OF, "delivered"), 5, {}, {"event": "open"}, None, []]
    batch += sendgrid(OF, "open", timestamp="yesterday") + sendgrid(OF, "bounce", type=7)
    found = read("sendgrid", json.dumps(batch).encode())
    assert [event.meaning.kind for event in found.events] == ["delivered", "bounced"]
    assert found.unreadable == 6


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_not_json_is_an_error(provider: str, body: bytes) -> None:
    with pytest.raises(NotEventsError):
        read(provider, body)


def test_a_request_of_too_many_events_is_refused() -> None:
    with pytest.raises(NotEventsError, match="more than"):
        read("sendgrid", b"[" + b"{}," * MAX_EVENTS + b"{}]")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(CASES), JSON, st.data())
def test_any_value_anywhere_is_read_or_counted(
    case: tuple[str, str], value: Any, data: st.DataObject
) -> None:
    provider, name = case
    sample = SAMPLES[provider][name](OF)
    place = sample[0] if isinstance(sample, list) else sample
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = value
        break
    found = read(provider, json.dumps(sample).encode())
    assert all(isinstance(event.recipient, str) for event in found.events)


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [
        ("550 5.1.1 no such user", True),
        ("550-5.1.2 no such host", True),
        ("552 5.2.2 mailbox full", False),
        ("550 5.2.1 disabled", True),
        ("554 5.7.1 blocked", False),
        ("550 unknown user", True),
        ("554 delivery error", False),
        ("421 4.3.2 shutting down", False),
        ("451 later", False),
        ("connected to 10.5.1.1 and left", False),
        ("", False),
    ],
)
def test_a_servers_answer_says_whether_a_mailbox_exists(answer: str, permanent: bool) -> None:
    assert is_permanent(answer) is permanent


def test_a_time_that_cannot_be_is_now() -> None:
    now = time.time()
    assert plausible(now - 5) == now - 5
    for wrong in (0.0, -1e12, now + 1e7, 1e300):
        assert abs(plausible(wrong) - now) < 5


def test_our_id_may_be_inside_a_text() -> None:
    for payload in (
        f"mailwake_message_id={OF.message}",
        json.dumps({"mailwake_message_id": OF.message}),
    ):
        body = json.dumps(mailjet(OF, "sent", CustomID="order 5", Payload=payload)).encode()
        (event,) = read("mailjet", body).events
        assert event.message_id == OF.message
