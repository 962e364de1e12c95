"""Labelled hits: what the rules must never do to people, and must do to machines."""

import re

import pytest

from app.ingest.classifier import RULES
from app.ingest.message_rules import MESSAGE_RULES
from tests.support.labelled_hits import DECIDING, FOLDER, patterns, score
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "counting.md"


@pytest.mark.parametrize("hints", [False, True], ids=["without networks", "with networks"])
def test_people_and_machines_are_told_apart(hints: bool) -> None:
    found = score(hints)
    assert found.recall(human=True) >= 0.99, found.wrong
    assert found.recall(human=False) >= 0.95, found.wrong
    assert not +found.alone_on_people, found.wrong


def test_every_rule_is_tried_by_a_pattern() -> None:
    fired = {rule for rule, _ in score(hints=True).fired}
    assert {*DECIDING, "datacentre", "soon_after_sending", "one_click"} <= fired


def test_every_pattern_says_what_happens_and_where_that_is_written() -> None:
    found = patterns()
    assert len(found) == len(list(FOLDER.iterdir())) >= 20
    for pattern in found:
        assert len(pattern.about) > 30, pattern.name
        assert re.match(r"https://[a-z0-9.-]+/", pattern.source), pattern.name
        assert len(pattern.hits) >= 8, pattern.name


def test_every_rule_is_explained() -> None:
    text = DOCS.read_text()
    for rule in [rule.name for rule in RULES] + [rule.__name__ for rule in MESSAGE_RULES]:
        assert f"| `{rule}` |" in text, rule
    assert "| `one_click` |" in text
