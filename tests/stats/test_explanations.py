"""Verdicts are explained in sentences, with the figures of their message."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.ingest.classifier import RULES
from app.ingest.message_rules import MESSAGE_RULES
from app.stats.explanations import HINTS, NOTHING, SCANS, SENTENCES, explained

SENT = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)


def hit(after: float, *reasons: str, link: int = 0, verdict: str = "scanner") -> dict[str, Any]:
    """`after` is in seconds."""
    return {
        "at": SENT + timedelta(seconds=after),
        "verdict": verdict,
        "reasons": list(reasons),
        "link_key": 100 + link,
        "position": link,
    }


def sentences(*hits: dict[str, Any]) -> list[str]:
    return [row["explanation"] for row in explained(hits, SENT)]


def test_every_rule_has_a_sentence() -> None:
    names = {rule.name for rule in RULES if rule.verdict}
    assert names | {"one_click"} <= SENTENCES.keys()
    assert {rule.name for rule in RULES if not rule.verdict} <= HINTS.keys()
    assert {rule.__name__ for rule in MESSAGE_RULES} == SCANS.keys()
    for sentence in [*SENTENCES.values(), *HINTS.values()]:
        assert sentence[0].isupper() and sentence.endswith("."), sentence
    for name in SCANS:
        (sentence,) = sentences(hit(3, name))
        assert sentence[0].isupper() or sentence[0].isdigit(), sentence
        assert sentence.endswith("."), sentence


def test_every_link_of_a_message() -> None:
    sweep = [hit(2 + link, "every_link", "burst", link=link) for link in range(5)]
    assert (
        sentences(*sweep)
        == [
            "Every link of this message was followed within 4 s, 2 s after sending: a mail scanner."
        ]
        * 5
    )
    assert sentences(*sweep) == sentences(*reversed(sweep))[::-1]


def test_each_scan_has_its_own_figures() -> None:
    first = [hit(3 + n / 10, "burst", link=n) for n in range(3)]
    again = [hit(10_800 + n, "sweep", link=n) for n in range(7)]
    found = sentences(*first, *again)
    assert set(found[:3]) == {
        "3 links were followed within 0.2 s, 3 s after sending: a mail scanner."
    }
    assert set(found[3:]) == {
        "7 links were followed within 6 s, 3 hours after sending: a mail scanner."
    }


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (15, "Came 12 s after a mail scanner, from the same sender."),
        (-3, "Came 5 s before a mail scanner, from the same sender."),
        (2, "Came at the same time as a mail scanner, from the same sender."),
    ],
)
def test_a_companion_is_near_a_scan(after: float, sentence: str) -> None:
    scan = [hit(2, "burst"), hit(3, "burst", link=1)]
    assert sentences(*scan, hit(after, "companion"))[2] == sentence


def test_hints_alone_do_not_make_a_machine() -> None:
    assert sentences(hit(9, verdict="human")) == [NOTHING]
    assert sentences(hit(9, "soon_after_sending", "datacentre", verdict="human")) == [
        "Came within a minute of sending. Came from a hosting provider's network."
        " That alone does not make it a machine."
    ]
    assert sentences(hit(9, "link_scanner", "datacentre")) == [SENTENCES["link_scanner"]]


def test_a_program_that_swept_is_explained_by_what_it_is() -> None:
    assert sentences(hit(3, "every_link", "http_library", verdict="bot")) == [
        SENTENCES["http_library"]
    ]


def test_a_rule_of_a_later_version_is_named() -> None:
    assert sentences(hit(9, "some_new_rule", verdict="bot")) == ["Some new rule."]


def test_a_clock_that_is_behind_claims_no_time_after_sending() -> None:
    assert (
        sentences(hit(-2, "every_link"), hit(1, "every_link", link=1))
        == ["Every link of this message was followed within 3 s: a mail scanner."] * 2
    )
