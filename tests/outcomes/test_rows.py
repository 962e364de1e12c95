import msgspec

from app.model.records import Outcome
from app.outcomes.rows import NO_MESSAGE, event_key, outcome_row, without_person


def record(**more: object) -> Outcome:
    fields = {
        "at": 1_500,
        "received": 2_500,
        "workspace": "default",
        "event": "e",
        "kind": "bounced",
        "message": "0190" * 8,
        "recipient": 5,
        "newsletter": 6,
        "permanent": True,
        "code": "550",
        "text": "gone",
        "provider": "ses",
        "rfc_message_id": "a@b",
    }
    return msgspec.convert({**fields, **more, "record": "outcome"}, Outcome)


def test_a_row_has_what_the_record_has_and_waits_for_its_message() -> None:
    row = outcome_row(record(), "segment", 4)
    assert not row.is_matched
    assert (row.message, row.stated_newsletter, row.newsletter) == ("0190" * 8, 6, 0)
    assert (row.at, row.received, row.permanent) == (1.5, 2.5, 1)
    assert (row.code, row.text, row.provider, row.rfc_message_id) == ("550", "gone", "ses", "a@b")
    assert (row.recipient, row.event_id, row.segment, row.line) == (5, "e", "segment", 4)
    assert outcome_row(record(message=""), "segment", 4).message == NO_MESSAGE


def test_an_event_has_a_key_of_its_workspace() -> None:
    assert event_key("a", "b") == event_key("a", "b")
    assert event_key("a", "b") != event_key("ab", "")
    assert len({event_key(w, e) for w in "xy" for e in ("1", "2")}) == 4
    assert outcome_row(record(), "s", 1).event == event_key("default", "e")


def test_a_row_without_its_person_has_nothing_that_names_one() -> None:
    row = without_person(outcome_row(record(), "s", 1))
    assert (row.recipient, row.text, row.event_id, row.rfc_message_id) == (0, "", "", "")
    assert (row.kind, row.code, row.event) == ("bounced", "550", event_key("default", "e"))
