"""Pages of recipients and preferences, from made-up rows; test_queries.py asks the database."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.model.errors import NotFoundError
from app.schemas.recipients import Counted
from app.stats.filters import FilterError, Filters
from app.stats.queries import Queries
from app.stats.recipients import (
    PAGE,
    PREFERRED,
    RecipientRecord,
    _cursor,
    recipient,
    recipients,
)


@dataclass
class People:
    """As many recipients as the query would find, each with another figure."""

    count: int

    def key(self, newsletter_id: str) -> int:
        return 9

    def newsletter(self, newsletter_id: str) -> dict[str, str]:
        return {"id": newsletter_id}

    def run(self, name: str, **values: Any) -> list[dict[str, Any]]:
        if name == "recipients":  # in any order
            return [{"recipient": key} for key in sorted(values["recipients"], reverse=True)]
        if name != "recipients_page":
            return []
        rows: list[dict[str, Any]] = [
            {"figure": 1000 - number // 7, "recipient": number + 1, "person": f"a:{number}@x"}
            for number in range(self.count)
        ]

        def place(figure: int, recipient: int) -> tuple[int, int]:
            return -figure, recipient

        after = place(values["after_figure"], values["after_recipient"])
        later = [row for row in rows if place(row["figure"], row["recipient"]) > after]
        return later[: values["limit"]]


@pytest.mark.parametrize("count", [0, 1, PAGE, PAGE + 1, 3 * PAGE])
def test_pages_have_each_recipient_once_and_the_last_one_ends(count: int) -> None:
    queries, filters, seen = cast(Queries, People(count)), Filters(), []
    for _ in range(5):
        page = recipients(queries, filters, "n")
        assert len(page["rows"]) <= PAGE
        seen += [row["recipient"] for row in page["rows"]]
        if not page["after"]:
            break
        filters = filters.but(after=page["after"])
    assert seen == list(range(1, count + 1))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**64 - 1), st.text(max_size=20))
@settings(max_examples=40)
def test_a_cursor_is_read_as_it_was_written(figure: int, key: int, address: str) -> None:
    assert _cursor(Filters(after=f"{figure}:{key}")) == (figure, key)
    assert _cursor(Filters(after=f"{figure}:{key}:{address}")) == (figure, key)  # of an old link


@pytest.mark.parametrize(
    "after", ["x", "1", "1:2x:", ":1:a", "1::a", "-1:1:a", "²:1:a", f"{2**63}:1:a", f"1:{2**64}:a"]
)
def test_another_cursor_is_refused(after: str) -> None:
    with pytest.raises(FilterError) as caught:
        _cursor(Filters(after=after))
    assert caught.value.name == "after"


def test_the_first_page_begins_before_everybody() -> None:
    assert _cursor(Filters(by="address")) == (0, 0)
    assert _cursor(Filters(by="clicked"))[0] >= 2**62


class Person(People):
    """A recipient of two messages, with these hits."""

    def __init__(self, *hits: dict[str, Any]) -> None:
        super().__init__(0)
        self.hits = [*hits]

    def run(self, name: str, **values: Any) -> list[dict[str, Any]]:
        if name == "recipient_hits":
            assert (values["newsletters"], values["messages"]) == ([9], ["m1", "m2"])
            return self.hits
        if name == "messages_states":
            assert (values["newsletters"], values["messages"]) == ([9], ["m1", "m2"])
            return [{"message_id": "m2", "state": "bounced"}]
        row = {
            "newsletter": 9,
            "address": "a@x.example",
            "flags": 0,
            "sent_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        return [{**row, "message": name} for name in MESSAGES]


MESSAGES = ("m1", "m2")


def hit(kind: str, hour: int = 9, **more: Any) -> dict[str, Any]:
    at = datetime(2026, 1, 1, hour, tzinfo=UTC)
    rest = {"message": "m1", "verdict": "human", "tags": [], "url": "", "client": "", "reasons": []}
    return {"kind": kind, "at": at, **rest, **more}


def record(*hits: dict[str, Any], show: Any = "human") -> RecipientRecord:
    return recipient(cast(Queries, Person(*hits)), 7, show)


def test_who_was_sent_nothing_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        recipient(cast(Queries, People(0)), 1)


def test_preferences_are_the_commonest_first() -> None:
    found = record(
        hit("open", client="Gmail", tags=["not of a click"], url="https://not.example/"),
        hit("click", 20, client="Chrome", tags=["boots", "tents"], url="https://a.example/1"),
        hit("click", 20, client="Chrome", tags=["boots"], url="https://A.example:81/2"),
    )
    assert found.topics == [Counted("boots", 2), Counted("tents", 1)]
    assert found.sites == [Counted("a.example", 2)]
    assert found.clients == [Counted("Chrome", 2), Counted("Gmail", 1)]
    assert found.hours == [Counted("20:00", 2), Counted("09:00", 1)]


def test_figures_count_messages_and_each_message_has_its_hits() -> None:
    hits = [hit("click"), hit("open"), hit("open"), hit("open", message="m2")]
    found = record(*hits)
    assert (found.opened, found.clicked) == (2, 1)
    assert [len(row["hits"]) for row in found.sent] == [3, 1]
    assert [row["state"] for row in found.sent] == ["", "bounced"]
    assert found.last_seen_at == hits[0]["at"]


def test_people_and_machines_are_shown_apart() -> None:
    hits = [hit("open", verdict="scanner"), hit("open", verdict="privacy_proxy"), hit("click")]
    assert [record(*hits, show=show).opened for show in ("human", "machine", "all")] == [1, 1, 1]
    assert [record(*hits, show=show).clicked for show in ("human", "machine", "all")] == [1, 0, 1]


def test_an_open_without_an_agent_is_nobodys() -> None:
    unknown = hit("open", verdict="unknown")
    assert [record(unknown, show=show).opened for show in ("human", "machine")] == [0, 1]


def test_without_hits_there_is_nothing_to_prefer_and_lists_are_short() -> None:
    found = record()
    assert (found.opened, found.last_seen_at, found.topics, found.hours) == (0, None, [], [])
    many = [hit("click", tags=[f"tag {number}"]) for number in range(PREFERRED + 5)]
    assert len(record(*many).topics) == PREFERRED
