"""Which message an outcome is about, by each way of naming it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.model.ids import new_id
from app.model.records import Message, Outcome, encode, now_ms
from app.outcomes.matching import REPORTS, matched
from app.outcomes.rows import outcome_row
from app.storage.clickhouse import Row, Storage
from tests.support.reported import WORKSPACE, Mailing, sent

DAY_MS = 86_400_000


@pytest.fixture
def mailing(tmp_path: Path, storage: Storage) -> Mailing:
    return Mailing(tmp_path, storage)


def named(at: int | None = None, **more: object) -> Outcome:
    now = now_ms() if at is None else at
    return Outcome(now, now, WORKSPACE, new_id().hex(), "delivered", **more)  # type: ignore[arg-type]


def found(mailing: Mailing, *records: Outcome) -> list[str]:
    """The message of each record; empty if none is found."""
    rows = [outcome_row(record, "s", n) for n, record in enumerate(records)]
    answers = matched(mailing.storage, rows)
    assert [row.line for row in answers] == list(range(len(records)))
    return [row.message if row.is_matched else "" for row in answers]


def load(mailing: Mailing, messages: Sequence[Message]) -> None:
    mailing.load(*map(encode, messages))


def test_by_our_id(mailing: Mailing) -> None:
    messages = [sent(mailing, n) for n in range(1, 4)]
    load(mailing, messages)
    ids = [message.message for message in reversed(messages)]
    unknown = new_id().hex()
    assert found(mailing, *[named(message=one) for one in [*ids, unknown, ids[0]]]) == [
        *ids,
        "",
        ids[0],
    ]


def test_by_an_id_of_a_time_that_cannot_be(mailing: Mailing) -> None:
    assert found(mailing, named(message="f" * 32), named(message="0" * 31 + "1")) == ["", ""]


def test_by_message_id(mailing: Mailing) -> None:
    mine = sent(mailing, rfc_message_id=f"{mailing.key}@example.com")
    load(mailing, [mine, sent(mailing, rfc_message_id=f"other {mailing.key}@example.com")])
    of = named(rfc_message_id=mine.rfc_message_id)
    assert found(mailing, of, named(rfc_message_id="nobody's")) == [mine.message, ""]


def test_copies_with_one_message_id_are_told_apart_by_recipient_or_not_at_all(
    mailing: Mailing,
) -> None:
    shared = f"{mailing.key}@example.com"
    copies = [sent(mailing, recipient, rfc_message_id=shared) for recipient in (1, 2)]
    load(mailing, copies)
    assert found(
        mailing,
        named(rfc_message_id=shared, recipient=2),
        named(rfc_message_id=shared, recipient=1),
        named(rfc_message_id=shared, recipient=3),
        named(rfc_message_id=shared),
    ) == [copies[1].message, copies[0].message, "", ""]


@pytest.mark.parametrize("days", [0, 1, 30])
def test_long_after_the_message_was_sent(mailing: Mailing, days: int) -> None:
    message = sent(mailing, 5, rfc_message_id=f"{mailing.key}@example.com")
    load(mailing, [message])
    at = now_ms() + days * DAY_MS
    assert (
        found(
            mailing,
            named(at, rfc_message_id=message.rfc_message_id),
            named(at, recipient=5, newsletter=mailing.key),
            named(at, message=message.message),
        )
        == [message.message] * 3
    )


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_reporters_clock_may_be_wrong(mailing: Mailing, hours: int) -> None:
    message = sent(mailing, rfc_message_id=f"{mailing.key}@example.com")
    load(mailing, [message])
    of = named(rfc_message_id=message.rfc_message_id)
    wrong = replace(of, at=of.at + hours * 3_600_000)
    assert found(mailing, wrong) == [message.message]


def test_by_recipient_and_newsletter_the_latest_that_was_sent_by_then(mailing: Mailing) -> None:
    now = now_ms()
    first, second = sent(mailing, 5, now - 3 * DAY_MS), sent(mailing, 5, now - DAY_MS)
    load(mailing, [first, second, sent(mailing, 6, now - DAY_MS)])

    def of(at: int, recipient: int = 5, newsletter: int = mailing.key) -> Outcome:
        return named(at, recipient=recipient, newsletter=newsletter)

    assert found(
        mailing,
        of(now),
        of(now - 2 * DAY_MS),
        of(now - 4 * DAY_MS),
        of(now, 7),
        of(now, newsletter=1),
        of(second.at - 60_000),  # the reporter's clock is a minute behind
    ) == [second.message, first.message, "", "", "", second.message]


def test_a_recipient_alone_names_no_message(mailing: Mailing) -> None:
    load(mailing, [sent(mailing, 5)])
    assert found(mailing, named(recipient=5)) == [""]


def test_many_are_looked_up_together(mailing: Mailing, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [sent(mailing, n) for n in range(1, REPORTS + 102)]
    load(mailing, messages)
    query, queries = mailing.storage.query, []

    def counted(sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        queries.append(sql)
        return query(sql, parameters)

    monkeypatch.setattr(mailing.storage, "query", counted)
    ids = [message.message for message in messages]
    assert found(mailing, *[named(message=one) for one in ids]) == ids
    assert len(queries) == 2
