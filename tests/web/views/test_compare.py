"""Figures side by side, from made-up answers; tests/stats/test_queries.py asks a database."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.schemas.stats import Newsletter, OutcomeCounts
from app.stats.filters import FilterError, Filters
from app.stats.queries import Queries
from app.web.views.compare import MAX_NEWSLETTERS, STEPS, WIDTHS, compare, since


@dataclass
class Answers:
    """Newsletters by id: how long ago they were sent, to how many, and hits by step."""

    sent_ago: dict[str, timedelta]
    messages: int = 10
    hits: dict[str, dict[int, int]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def newsletters(self, filters: object, limit: int) -> list[dict[str, Any]]:
        return [{"id": name} for name in self.sent_ago]

    def newsletter(self, newsletter_id: str) -> Newsletter:
        return Newsletter(newsletter_id, "", "", ())

    def sent(self, newsletter_id: str, filters: object) -> dict[str, Any]:
        return {"first_at": datetime.now(UTC) - self.sent_ago[newsletter_id]}

    def stats(self, newsletter_id: str, filters: object, of: object, show: object) -> Any:
        counts = SimpleNamespace(human=SimpleNamespace(unique=3), all=SimpleNamespace(unique=5))
        return SimpleNamespace(
            messages=self.messages,
            opens_tracked=self.messages,
            clicks_tracked=self.messages,
            outcomes=OutcomeCounts(),
            rates_of="sent",
            rated=self.messages,
            open_rate_messages=self.messages,
            click_rate_messages=self.messages,
            unsubscribes=0,
            unknowable=0,
            opens=counts,
            clicks=counts,
        )

    def key(self, newsletter_id: str) -> int:
        return sorted(self.sent_ago).index(newsletter_id)

    def run(self, name: str, **values: Any) -> list[dict[str, int]]:
        self.asked.append({"name": name, **values})
        return [
            {"newsletter": self.key(name), "number": step, "opens": hits, "clicks": 0}
            for name, steps in self.hits.items()
            if self.key(name) in values["newsletters"]
            for step, hits in steps.items()
        ]


def compared(answers: Answers, *ids: str, **filters: Any) -> dict[str, Any]:
    return compare(cast(Queries, answers), ids, Filters(**filters))


def test_lines_add_up_per_message_from_the_first_step_to_the_last() -> None:
    answers = Answers({"a": timedelta(hours=1)}, hits={"a": {0: 2, 3: 5}})
    (row,) = compared(answers, "a")["rows"]
    assert row["opens"] == [0.2] * 3 + [0.7] * (STEPS - 3)
    assert row["clicks"] == [0.0] * STEPS
    drawn = compared(answers, "a")["charts"]
    assert drawn["opens"]["ticks"] == [1, 0.75, 0.5, 0.25, 0]
    assert drawn["clicks"]["ticks"][-1] == 0.0


def test_the_youngest_decides_how_wide_a_step_is() -> None:
    for age, width in (
        (timedelta(minutes=48 - 1), 60),
        (timedelta(minutes=48 + 1), 300),
        (timedelta(days=47), 86_400),
        (timedelta(days=900), WIDTHS[-1]),
    ):
        answers = Answers({"new": age, "old": timedelta(days=4000)})
        assert compared(answers, "new", "old")["step"] == width


def test_a_newsletter_is_shown_once_and_not_offered_again() -> None:
    answers = Answers(dict.fromkeys("abcde", timedelta(hours=1)))
    page = compared(answers, "b", "a", "b")
    assert [row["newsletter"].id for row in page["rows"]] == ["b", "a"]
    assert [offered["id"] for offered in page["offered"]] == ["c", "d", "e"]
    assert not page["full"] and compared(answers, *"abcd")["full"]
    with pytest.raises(FilterError, match=f"at most {MAX_NEWSLETTERS} times"):
        compared(answers, *"abcde")


def test_what_was_never_sent_has_no_rate() -> None:
    answers = Answers({"a": timedelta()}, messages=0, hits={"a": {0: 2}})
    (row,) = compared(answers, "a")["rows"]
    assert row["first_at"] is None and set(row["opens"]) == {0.0}


def test_nothing_chosen_asks_nothing() -> None:
    answers = Answers({"a": timedelta(hours=1)})
    assert compared(answers)["rows"] == [] and answers.asked == []


def test_figures_are_of_whom_the_filter_shows() -> None:
    answers = Answers({"a": timedelta(hours=1)})
    assert compared(answers, "a")["rows"][0]["opened"] == 3
    assert compared(answers, "a", show="all")["rows"][0]["opened"] == 5
    assert [asked["show"] for asked in answers.asked] == ["human"] * 2 + ["all"] * 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(60, "1 minute"), (10_800, "3 hours"), (604_800, "7 days"), (90, "90 seconds")],
)
def test_a_stretch_of_time_in_words(seconds: int, text: str) -> None:
    assert since(seconds) == text
