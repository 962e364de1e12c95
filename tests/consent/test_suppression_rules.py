"""Which outcomes suppress: the rules of the settings, or those of a workspace."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.consent.suppression_rules import SuppressionRules, WorkspaceRules
from app.consent.suppressions import Suppressions
from app.model.records import Outcome, decode, encode
from app.outcomes.loading import OutcomeLoader
from app.outcomes.rows import outcome_row
from app.settings.load import load
from app.storage.clickhouse import Storage
from app.storage.state_db import StateError, open_state
from tests.support.reported import Mailing, outcome, sent
from tests.support.service import Service

STRICT, LAX = SuppressionRules(True, True, 1), SuppressionRules(False, True, 0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, SuppressionRules(True, True, 5)),
        ({"suppress_soft_bounces": 2}, SuppressionRules(True, True, 2)),
        ({"suppress_outcomes": False}, SuppressionRules(False, False, 0)),
        (
            {"suppress_outcomes": False, "suppress_soft_bounces": 2},
            SuppressionRules(False, False, 0),
        ),
    ],
)
def test_the_settings_have_the_default(
    settings: dict[str, Any], expected: SuppressionRules
) -> None:
    assert SuppressionRules.of(load(**settings)) == expected


def test_a_workspace_has_rules_of_its_own_until_they_are_reset(tmp_path: Path) -> None:
    rules = WorkspaceRules(open_state(tmp_path), STRICT)
    assert (rules.own("a"), rules.of("a")) == (None, STRICT)
    for own in (SuppressionRules(), LAX):
        rules.put("a", own)
        assert (rules.own("a"), rules.of("a"), rules.of("b")) == (own, own, STRICT)
    rules.reset("b")
    assert rules.of("a") == LAX
    rules.reset("a")
    assert (rules.own("a"), rules.of("a")) == (None, STRICT)


def test_outcomes_are_judged_by_the_rules_of_their_workspace(
    tmp_path: Path, storage: Storage
) -> None:
    mailing = Mailing(tmp_path, storage)
    rules = WorkspaceRules(mailing.state, LAX)
    mailing.outcomes = OutcomeLoader(mailing.folder, storage, mailing.state, mailing.feed, rules.of)
    mailing.loader.outcomes = mailing.outcomes
    hard, soft, angry = (mailing.key % 10**9 + number for number in (1, 2, 3))

    def bounce_all() -> set[int]:
        for recipient, kind, permanent in (
            (hard, "bounced", True),
            (soft, "bounced", False),
            (angry, "complained", False),
        ):
            message = sent(mailing, recipient)
            mailing.load(
                encode(message),
                outcome(kind, message, permanent=permanent),  # type: ignore[arg-type]
            )
        entries = Suppressions(mailing.state).page(0, 1000)
        return {entry.recipient for entry in entries} & {hard, soft, angry}

    assert bounce_all() == {angry}
    rules.put("default", STRICT)
    assert bounce_all() == {hard, soft, angry}


def test_outcomes_wait_while_the_rules_cannot_be_read(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage)
    message = sent(mailing)
    mailing.load(encode(message))
    rules = WorkspaceRules(mailing.state, STRICT)
    loader = OutcomeLoader(mailing.folder, storage, mailing.state, mailing.feed, rules.of)
    path = mailing.segment(outcome("complained", message))
    record = decode(path.read_bytes())
    assert isinstance(record, Outcome)
    rows = [outcome_row(record, path.stem, 0)]
    with mailing.state.begin() as connection:
        connection.execute(text("ALTER TABLE suppression_rules RENAME TO away"))
    with pytest.raises(StateError, match=r"state\.db"):
        loader.load(path.stem, rows)
    with mailing.state.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO suppression_rules"))
    loader.load(path.stem, rows)
    assert len(Suppressions(mailing.state).of(7)) == 1


def test_the_api_shows_and_changes_them(service: Service) -> None:
    url = "/v1/suppression-rules"
    default = {"bounces": True, "complaints": True, "soft_bounces": 5, "is_default": True}
    assert service.get(url) == default
    own = {"bounces": False, "complaints": True, "soft_bounces": 0}
    assert service.client.put(url, json=own).json() == {**own, "is_default": False}
    message = service.rewrite("ruled", "<p>x</p>", "ann@ruled.example")["message_id"]
    report = {
        "id": "ruled",
        "type": "bounced",
        "permanent": True,
        "message_id": message,
        "occurred_at": "2026-11-28T08:00:00Z",
    }
    assert service.client.post("/v1/outcomes", json=report).status_code == 200
    service.drained()
    assert not service.rewrite("ruled", "<p>x</p>", "ann@ruled.example")["suppressed"]
    for wrong, field in (
        ({**own, "soft_bounces": 101}, "soft_bounces"),
        ({"bounces": True}, "complaints"),
        ({**own, "soft": 1}, "soft"),
    ):
        answer = service.client.put(url, json=wrong)
        assert answer.status_code == 422 and field in answer.text
    assert service.client.delete(url).json() == default == service.get(url)
