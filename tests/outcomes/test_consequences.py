"""Whom outcomes suppress, and the state that messages are in whatever the order of reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.consent.suppression_rules import SuppressionRules
from app.consent.suppressions import ALL, Suppressions
from app.model.records import Message, OutcomeKind, encode, now_ms
from app.stats.periods import ALWAYS
from app.storage.clickhouse import Storage
from tests.support.reported import Mailing, outcome, sent

DAY_MS = 86_400_000


def suppressed(mailing: Mailing) -> dict[int, str]:
    """The reason of each suppressed recipient."""
    entries = Suppressions(mailing.state).page(0, 1000)
    assert {entry.newsletter for entry in entries} <= {ALL}
    return {entry.recipient: entry.reason for entry in entries}


def bounces(mailing: Mailing, recipient: int, *kinds: OutcomeKind) -> None:
    """Load one message after another, each with one outcome; bounces are temporary."""
    for number, kind in enumerate(kinds):
        message = sent(mailing, recipient)
        at = now_ms() + number * 1000
        mailing.load(encode(message), outcome(kind, message, at=at))


def test_permanent_bounces_and_complaints_suppress_with_their_reason(
    tmp_path: Path, storage: Storage
) -> None:
    mailing = Mailing(tmp_path, storage)
    kinds: dict[int, tuple[OutcomeKind, bool]] = {
        1: ("bounced", True),
        2: ("complained", False),
        3: ("bounced", False),
        4: ("delivered", False),
        5: ("rejected", True),
        6: ("deferred", False),
        7: ("autoresponded", False),
    }
    for recipient, (kind, permanent) in kinds.items():
        message = sent(mailing, recipient)
        mailing.load(encode(message), outcome(kind, message, permanent=permanent))
    assert suppressed(mailing) == {1: "bounced", 2: "complained"}


def test_a_setting_lets_them_pass(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage, SuppressionRules(False, False, 0))
    for recipient in (1, 2):
        message = sent(mailing, recipient)
        complaint = outcome("complained", message)
        mailing.load(encode(message), outcome("bounced", message, permanent=True), complaint)
    for _ in range(6):
        bounces(mailing, 3, "bounced")
    assert suppressed(mailing) == {}


def test_temporary_bounces_suppress_when_so_many_messages_in_a_row_had_one(
    tmp_path: Path, storage: Storage
) -> None:
    mailing = Mailing(tmp_path, storage, SuppressionRules(soft_bounces=3))
    first, second, third = mailing.key % 10**9 + 1, mailing.key % 10**9 + 2, mailing.key % 10**9 + 3
    bounces(mailing, first, "bounced", "bounced")
    bounces(mailing, second, "bounced", "bounced", "delivered", "bounced", "bounced")
    bounces(mailing, third, "bounced", "bounced", "bounced")
    assert suppressed(mailing) == {third: "soft_bounced"}


def test_repeated_bounces_of_one_message_are_one(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage, SuppressionRules(soft_bounces=2))
    recipient = mailing.key % 10**9 + 10
    message = sent(mailing, recipient)
    mailing.load(encode(message), *[outcome("bounced", message) for _ in range(5)])
    assert suppressed(mailing) == {}
    bounces(mailing, recipient, "bounced")
    assert suppressed(mailing) == {recipient: "soft_bounced"}


def test_a_repeated_report_does_not_suppress_again(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage)
    message = sent(mailing, 11)
    line = outcome("complained", message)
    mailing.load(encode(message), line)
    assert Suppressions(mailing.state).remove(11, ALL)  # they have subscribed again
    mailing.load(line)
    assert suppressed(mailing) == {}


# The state of a message


class Report(NamedTuple):
    """What is said of a message: `at` in milliseconds since its sending."""

    kind: OutcomeKind
    permanent: bool
    at: int


def state(reports: Sequence[Report]) -> str | None:
    """The state that docs/outcomes.md describes, worked out in Python."""
    kinds = {report.kind for report in reports}
    if "complained" in kinds:
        return "complained"
    if any(report.kind == "bounced" and report.permanent for report in reports):
        return "bounced"
    arrived = [report.at for report in reports if report.kind in ("delivered", "autoresponded")]
    soft = [report.at for report in reports if report.kind == "bounced"]
    if soft and (not arrived or max(soft) > max(arrived)):
        return "bounced"
    if arrived:
        return "delivered"
    return next(
        (kind for kind in ("rejected", "deferred", "sent", "queued") if kind in kinds), None
    )


KINDS: tuple[OutcomeKind, ...] = get_args(OutcomeKind)
reports = st.builds(Report, st.sampled_from(KINDS), st.booleans(), st.integers(0, 5))
several = st.lists(reports, max_size=6)


@pytest.fixture(scope="module")
def mailings(tmp_path_factory: pytest.TempPathFactory, storage: Storage) -> Mailing:
    return Mailing(tmp_path_factory.mktemp("states"), storage)


def lines_of(message: Message, of: Sequence[Report], name: str) -> list[bytes]:
    return [
        outcome(
            report.kind,
            message,
            f"{name} {number}",
            message.at + report.at,
            permanent=report.permanent,
        )
        for number, report in enumerate(of)
    ]


@settings(max_examples=25)
@given(messages=st.lists(several, min_size=1, max_size=8), data=st.data())
def test_any_order_and_repetition_of_reports_ends_in_the_same_state(
    mailings: Mailing, messages: list[list[Report]], data: st.DataObject
) -> None:
    drafts = [sent(mailings, number + 1) for number in range(len(messages))]
    lines = [
        line
        for draft, of in zip(drafts, messages, strict=True)
        for line in lines_of(draft, of, draft.message)
    ]
    repeated = lines + data.draw(st.lists(st.sampled_from(lines), max_size=6)) if lines else []
    shuffled = [*map(encode, drafts), *data.draw(st.permutations(repeated))]
    cut = data.draw(st.integers(0, len(shuffled)))
    mailings.load(*shuffled[:cut])
    mailings.load(*shuffled[cut:])
    mailings.outcomes.match_again(now_ms() / 1000 + 100)
    rows = mailings.queries.run("message_states_of", newsletters=[mailings.key])
    states = {row["message"].hex: row["state"] for row in rows}
    for draft, of in zip(drafts, messages, strict=True):
        assert states.get(draft.message) == state(of), of


def test_a_newsletter_counts_each_message_in_one_state(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage)
    every: list[list[Report]] = [
        [Report("sent", False, 1), Report("delivered", False, 2)],
        [Report("sent", False, 1), Report("deferred", False, 2)],
        [Report("sent", False, 1)],
        [Report("delivered", False, 1), Report("bounced", False, 2)],
        [Report("bounced", False, 1), Report("delivered", False, 2)],
        [Report("delivered", False, 1), Report("complained", False, 0)],
        [Report("bounced", True, 1), Report("delivered", False, 5)],
        [Report("rejected", False, 1)],
        [],
    ]
    for of in every:
        message = sent(mailing, variant=1)
        mailing.load(encode(message), *lines_of(message, of, message.message))
    counts = {
        "delivered": 2,
        "deferred": 1,
        "sent": 1,
        "bounced": 2,
        "complained": 1,
        "rejected": 1,
    }
    assert mailing.states() == counts
    by_variant = mailing.queries.run(
        "newsletter_outcomes", newsletters=[mailing.key], variant="2", **ALWAYS.parameters
    )
    assert by_variant == []
    later = mailing.queries.run(
        "newsletter_outcomes",
        newsletters=[mailing.key],
        variant="1",
        **{**ALWAYS.parameters, "since_ms": now_ms() + DAY_MS},
    )
    assert later == []
