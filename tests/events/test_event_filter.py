import re
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events.event_filter import EventFilter, _fits, verdicts
from app.events.feed import Cursor, Event, Row
from app.links import identity
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.events import EventLink, EventOut
from app.stats.queries import Queries

LINK = EventLink("0" * 16, "hero", "Boots", "https://www.shop.example/boots/red?a=1", 2, ["a", "b"])
CLICK = EventOut(
    "evt_1",
    "message.clicked",
    "spring",
    "m1",
    "a@example.com",
    "2026-01-01T00:00:00.000Z",
    "human",
    [],
    LINK,
    {},
    None,
    "1.1",
)
OPEN = msgspec.structs.replace(CLICK, type="message.opened", link=None)


@pytest.mark.parametrize(
    ("field", "takes", "leaves"),
    [
        ("labels", "Boots", "boots"),
        ("tags", "b", "c"),
        ("names", "hero", "Boots"),
        ("urls", "https://www.shop.example/", "http://"),
        ("hosts", "Shop.example", "op.example"),
        ("paths", "/boots/*", "/boots"),
    ],
)
def test_each_field_of_links_takes_what_it_names_and_leaves_the_rest(
    field: str, takes: str, leaves: str
) -> None:
    def asked(*values: str) -> EventFilter:
        return EventFilter(**{field: values})

    assert asked().matches(CLICK)
    assert asked(takes).matches(CLICK)
    assert asked(leaves, takes).matches(CLICK)
    assert not asked(leaves).matches(CLICK)


def test_fields_are_joined_by_and() -> None:
    assert EventFilter(labels=("Boots",), tags=("a",)).matches(CLICK)
    assert not EventFilter(labels=("Boots",), tags=("c",)).matches(CLICK)


@pytest.mark.parametrize(
    ("event_filter", "reaches"),
    [
        (EventFilter(verdicts=("human",)), True),
        (EventFilter(verdicts=("scanner",)), True),
        (EventFilter(verdicts=("bot",)), False),
        (EventFilter(types=("message.clicked",), verdicts=("human",)), True),
        (EventFilter(types=("message.opened",), verdicts=("human",)), False),
        (EventFilter(types=("event.reclassified",), verdicts=("human",)), True),
        (EventFilter(types=("message.clicked",), verdicts=("scanner",)), False),
        (EventFilter(types=("message.clicked",)), False),
        (EventFilter(), True),
    ],
)
def test_a_taken_back_event_reaches_who_got_it(event_filter: EventFilter, reaches: bool) -> None:
    row = msgspec.structs.replace(event().row, verdict="scanner")
    taken = event()._replace(type="event.reclassified", before="human", row=row)
    assert event_filter.may_match(taken, KEYS) is reaches


@pytest.mark.parametrize("field", ["labels", "tags", "names", "urls", "hosts", "paths"])
def test_an_event_without_a_link_fits_no_filter_of_links(field: str) -> None:
    wanted = EventFilter(**{field: ("",)})
    assert wanted.of_links and not wanted.matches(OPEN)
    assert EventFilter().matches(OPEN)


def test_ids_of_links_are_no_look_up() -> None:
    assert not EventFilter(links=(1, "0" * 16), types=("x",)).of_links


def test_groups_of_verdicts_are_spelt_out() -> None:
    assert verdicts(["human"]) == set(HUMAN)
    assert verdicts(["machine", "unknown"]) == {*MACHINE, "unknown"}
    assert verdicts([]) == set()


@dataclass
class Keys:
    """Of newsletters, as Queries has them."""

    def key(self, newsletter_id: str) -> int:
        return {"spring": 1, "autumn": 2}[newsletter_id]


KEYS = cast(Queries, Keys())


def event(kind: str = "click", **more: Any) -> Event:
    row = Row("default", 1, "m1", 0.0, kind, 7, "human", "s", 0, **more)
    return Event("evt_1", "message.clicked" if kind == "click" else "message.opened", row, Cursor())


def test_before_any_look_up_rows_are_known_by_keys() -> None:
    key = int("ab" * 8, 16)
    click = event(position=2, link_key=key, family=5)
    for wanted in (
        EventFilter(),
        EventFilter(newsletters=("autumn", "spring")),
        EventFilter(types=("message.clicked",), verdicts=("human",)),
        EventFilter(links=(2,)),
        EventFilter(links=(identity.shown_id(key),)),
        EventFilter(links=(identity.shown_id(5),)),  # of the whole family
        EventFilter(tags=("anything",)),  # takes a look-up
    ):
        assert wanted.may_match(click, KEYS), wanted
    for wanted in (
        EventFilter(newsletters=("autumn",)),
        EventFilter(types=("message.opened",)),
        EventFilter(verdicts=("machine",)),
        EventFilter(links=(3, identity.shown_id(6))),
    ):
        assert not wanted.may_match(click, KEYS), wanted
    assert not EventFilter(links=(-1, 2)).may_match(event("open"), KEYS)


def test_rows_of_version_0_1_have_their_place_as_link() -> None:
    assert EventFilter(links=(4,)).may_match(event(link=4), KEYS)


def test_a_filter_is_stored_without_what_is_empty() -> None:
    wanted = EventFilter(types=("message.opened",), links=(1, "0" * 16))
    stored = msgspec.json.encode(wanted)
    assert stored == b'{"types":["message.opened"],"links":[1,"0000000000000000"]}'
    assert msgspec.json.decode(stored, type=EventFilter) == wanted
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"nonsense":1}', type=EventFilter)


WORD = st.text("ab*/%_\\", max_size=12)


@given(WORD, st.text("ab/%_\\", max_size=14))
def test_a_pattern_means_what_a_regular_expression_means(pattern: str, text: str) -> None:
    plain = ".*".join(map(re.escape, pattern.split("*")))
    assert _fits(pattern, text) == bool(re.fullmatch(plain, text, re.DOTALL))


HOSTS = st.sampled_from(["a.example", "b.a.example", "ba.example"])


@given(HOSTS, st.lists(HOSTS, max_size=2), st.lists(WORD, max_size=2))
def test_a_webhook_takes_what_fits_all_that_it_asks(
    host: str, hosts: list[str], patterns: list[str]
) -> None:
    link = EventLink("0" * 16, "", "", f"https://{host}/ab/a", 0, [])
    wanted = EventFilter(hosts=tuple(hosts), paths=tuple(patterns))
    expected = (not hosts or any(host == one or host.endswith(f".{one}") for one in hosts)) and (
        not patterns or any(_fits(one, urlsplit(link.url).path) for one in patterns)
    )
    assert wanted._follows(link) == expected
