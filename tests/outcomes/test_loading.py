from pathlib import Path

import pytest

from app.consent.suppressions import ALL, Suppressions
from app.model.ids import new_id
from app.model.records import Message, encode, now_ms
from app.outcomes.loading import RETRIED_SECONDS
from app.storage.clickhouse import Storage, StorageError
from tests.support.reported import Mailing, outcome, sent


@pytest.fixture
def mailing(tmp_path: Path, storage: Storage) -> Mailing:
    return Mailing(tmp_path, storage)


def rows(mailing: Mailing) -> list[dict[str, object]]:
    return mailing.storage.query(
        "SELECT * FROM outcomes FINAL WHERE newsletter = {n:UInt64} ORDER BY at",
        {"n": mailing.key},
    )


def test_an_outcome_gets_the_message_that_it_names(mailing: Mailing) -> None:
    message = sent(mailing, variant=3)
    mailing.load(encode(message))
    mailing.load(
        outcome("bounced", message, "e1", permanent=True, code="5.1.1", text="no", provider="ses")
    )
    (row,) = rows(mailing)
    assert str(row["message"]).replace("-", "") == message.message
    shown = {name: row[name] for name in ("recipient", "variant", "kind", "permanent", "event_id")}
    assert shown == {
        "recipient": 7,
        "variant": 3,
        "kind": "bounced",
        "permanent": 1,
        "event_id": "e1",
    }
    assert (row["code"], row["text"], row["provider"]) == ("5.1.1", "no", "ses")
    assert mailing.states() == {"bounced": 1}


def test_message_and_outcome_may_be_in_one_journal_segment(mailing: Mailing) -> None:
    message = sent(mailing)
    mailing.load(outcome("delivered", message), encode(message))
    assert mailing.states() == {"delivered": 1}


def test_the_same_report_counts_once_and_is_one_event(mailing: Mailing) -> None:
    message = sent(mailing)
    line = outcome("delivered", message, "the same")
    mailing.load(encode(message), line, line)
    mailing.load(line)
    assert len({row["event"] for row in rows(mailing)}) == 1
    assert mailing.states() == {"delivered": 1}
    assert mailing.event_types() == {"message.delivered": 1}


def test_a_journal_segment_that_is_loaded_again_changes_nothing(mailing: Mailing) -> None:
    message = sent(mailing)
    path = mailing.segment(encode(message), outcome("complained", message))
    content = path.read_bytes()
    for _ in range(3):
        path.write_bytes(content)
        mailing.loader.load(path)
    assert mailing.states() == {"complained": 1}
    assert mailing.event_types() == {"message.complained": 1}


def test_an_event_is_not_lost_when_loading_is_cut_off_and_the_report_repeated(
    mailing: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = sent(mailing)
    mailing.load(encode(message))
    line = outcome("bounced", message, permanent=True)
    path = mailing.segment(line)
    append = mailing.feed.append_outcomes

    def fails(*_: object) -> None:
        raise StorageError("cut off")

    monkeypatch.setattr(mailing.feed, "append_outcomes", fails)
    with pytest.raises(StorageError):
        mailing.loader.load(path)  # ClickHouse has the row, the feed has not
    monkeypatch.setattr(mailing.feed, "append_outcomes", append)
    later = mailing.segment(line)
    mailing.loader.load(later)
    assert mailing.event_types() == {}
    mailing.loader.load(path)
    assert mailing.event_types() == {"message.bounced": 1}
    assert Suppressions(mailing.state).of(7) == {ALL}


def test_an_outcome_that_comes_before_its_message_is_matched_later(mailing: Mailing) -> None:
    message, other = sent(mailing), sent(mailing, 8)
    mailing.load(outcome("delivered", message), outcome("bounced", other, permanent=True))
    assert mailing.states() == {}
    now = now_ms() / 1000
    assert mailing.outcomes.match_again(now) == 0  # not due
    assert mailing.outcomes.match_again(now + 3) == 0  # not recorded yet
    mailing.load(encode(message))
    assert mailing.outcomes.match_again(now + 20) == 1
    mailing.load(encode(other))
    assert mailing.outcomes.match_again(now + 200) == 1
    assert mailing.outcomes.match_again(now + 2000) == 0
    assert mailing.states() == {"delivered": 1, "bounced": 1}
    assert mailing.event_types() == {"message.delivered": 1, "message.bounced": 1}
    assert Suppressions(mailing.state).of(8) == {ALL}


def test_a_late_match_that_is_cut_off_is_completed(
    mailing: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = sent(mailing)
    mailing.load(outcome("complained", message))
    mailing.load(encode(message))
    now = now_ms() / 1000

    def fails(*_: object) -> None:
        raise StorageError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(mailing.feed, "append_outcomes", fails)
        with pytest.raises(StorageError):
            mailing.outcomes.match_again(now + 3)
    assert mailing.event_types() == {}
    assert mailing.outcomes.match_again(now + 3) == 1
    assert mailing.event_types() == {"message.complained": 1}
    assert mailing.states() == {"complained": 1}


def test_outcomes_of_mails_that_are_not_ours_are_given_up(mailing: Mailing) -> None:
    mailing.load(outcome("delivered", rfc_message_id="of@another.system"))
    now, tries = now_ms() / 1000, 0
    while mailing.state.connect().exec_driver_sql("SELECT 1 FROM unmatched_outcomes").first():
        tries += 1
        now += RETRIED_SECONDS / 8
        assert mailing.outcomes.match_again(now) == 0
    assert tries <= 10
    assert mailing.states() == {}


def test_a_report_without_a_message_still_suppresses_its_recipient(mailing: Mailing) -> None:
    mailing.load(outcome("complained", recipient=99))
    assert Suppressions(mailing.state).of(99) == {ALL}
    assert mailing.event_types() == {}
    waiting = mailing.state.connect().exec_driver_sql("SELECT 1 FROM unmatched_outcomes").first()
    assert waiting is None


def test_an_erased_recipient_is_not_stored(mailing: Mailing) -> None:
    message = sent(mailing)
    mailing.load(encode(message))
    mailing.feed.erasures.begin("default", 7, "7@example.com")
    mailing.load(
        outcome("bounced", message, "7@example.com", permanent=True, text="7 is unknown"),
        outcome("complained", event="7@example.com again", recipient=7, rfc_message_id="7@x"),
    )
    (row,) = rows(mailing)
    assert (row["recipient"], row["text"], row["event_id"]) == (0, "", "")
    (row,) = mailing.storage.query(
        "SELECT recipient, rfc_message_id, event_id FROM outcomes WHERE newsletter = 0"
        " AND segment IN (SELECT segment FROM outcomes WHERE newsletter = {n:UInt64})",
        {"n": mailing.key},
    )
    assert (row["recipient"], row["rfc_message_id"], row["event_id"]) == (0, "", "")
    assert Suppressions(mailing.state).of(7) == {ALL}  # a key only


def test_opens_and_clicks_of_a_provider_are_kept_and_not_mixed_in(mailing: Mailing) -> None:
    message = sent(mailing)
    mailing.load(encode(message), outcome("opened", message), outcome("other", message))
    assert len(rows(mailing)) == 2
    assert mailing.states() == {}
    assert mailing.event_types() == {}


def test_a_message_of_another_workspace_is_not_matched(mailing: Mailing) -> None:
    other = Message(now_ms(), "other", mailing.key, new_id().hex(), 7, "a@example.com")
    mailing.load(encode(other), outcome("delivered", other))
    assert mailing.states() == {}
