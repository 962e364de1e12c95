from pathlib import Path
from typing import Any

import pytest

from app.events import followups
from app.events.event_filter import EventFilter
from app.events.feed import Cursor, Feed
from app.events.followup_config import OF_LINKS, make
from app.events.followups import FollowUp, FollowUps, Rule
from app.events.webhooks import Webhooks
from app.model.errors import FieldError
from app.schemas.followups import FollowUpIn
from app.storage.state_db import open_state


class Parts:
    def __init__(self, folder: Path) -> None:
        state = open_state(folder)
        self.followups, self.webhooks = FollowUps(state), Webhooks(state)
        self.feed = Feed(state)
        hook = self.webhooks.add("https://hooks.example/", EventFilter(), False, Cursor())
        self.webhook = hook.id

    def make(self, when: Any, **more: Any) -> FollowUp:
        wanted = FollowUpIn(**{"name": "n", "webhook_id": self.webhook, "when": when, **more})
        return make(self.followups, self.webhooks, self.feed, wanted)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def test_one_that_can_be_is_kept_with_its_rule(parts: Parts) -> None:
    made = parts.make("clicked", newsletters=("spring",), links=(1,), tags=("a",), name="Basket")
    assert made.rule == Rule(
        "clicked", 0, EventFilter(newsletters=("spring",), links=(1,), tags=("a",))
    )
    assert (made.name, made.webhook) == ("Basket", parts.webhook)
    assert [found.id for found in parts.followups.all()] == [made.id]
    assert parts.make("not_opened", after_hours=0.1).rule.after_hours == 0.1


@pytest.mark.parametrize("when", ["not_opened", "not_clicked"])
@pytest.mark.parametrize("field", OF_LINKS)
def test_silence_has_no_link(parts: Parts, when: str, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        parts.make(when, after_hours=1, **{field: ("x",)})
    assert caught.value.field == field
    assert parts.followups.all() == []


@pytest.mark.parametrize(
    ("when", "more", "field"),
    [
        ("not_opened", {}, "after_hours"),
        ("not_clicked", {"after_hours": 0.09}, "after_hours"),
        ("clicked", {"after_hours": 1}, "after_hours"),
        ("clicked", {"webhook_id": "wh_none"}, "webhook_id"),
    ],
)
def test_the_wrong_field_is_named(
    parts: Parts, when: str, more: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldError) as caught:
        parts.make(when, **more)
    assert caught.value.field == field
    assert parts.followups.all() == []


def test_a_workspace_has_a_limit(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followups, "MAX_FOLLOWUPS", 2)
    parts.make("clicked")
    parts.make("clicked")
    with pytest.raises(FieldError, match="already 2, the maximum is 2"):
        parts.make("clicked")
