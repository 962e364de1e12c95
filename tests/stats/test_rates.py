"""Rates: what they are shares of on every page and in lists, and where they have no meaning."""

import uuid
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.consent.suppression_rules import SuppressionRules
from app.demo import agents
from app.events.feed import Feed
from app.ingest.loader import Loader
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, Message, Newsletter, Outcome, OutcomeKind, encode, now_ms
from app.outcomes.loading import OutcomeLoader
from app.schemas.stats import Stats
from app.stats.filters import Filters
from app.stats.queries import Queries
from app.stats.rates import (
    Basis,
    Denominators,
    NotShown,
    bounded_share,
    click_to_open,
    share,
)
from app.storage.clickhouse import Storage
from app.storage.state_db import open_state
from app.web.views import compare, newsletters, report
from app.web.views.templating import NO_CLICK_TO_OPEN

COUNT = st.integers(0, 1000)


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) is None
    assert share(1, 4) == 0.25


def test_a_bounded_share_is_never_above_one() -> None:
    assert bounded_share(4, 4) == 1.0
    assert bounded_share(5, 4) is None
    assert bounded_share(0, 0) is None
    assert Basis("delivered", 5, 4, 3).holds(4, 3)
    assert not Basis("delivered", 5, 4, 3).holds(4, 4)


def denominators(messages: int, arrived: int, known: int) -> Denominators:
    return Denominators(
        Basis("sent", messages, messages, messages),
        Basis("delivered", arrived, arrived, arrived),
        known,
    )


@pytest.mark.parametrize(
    ("messages", "arrived", "known", "opened", "expected"),
    [
        (100, 91, 95, 91, "delivered"),
        (100, 91, 95, 92, "sent"),
        (100, 91, 94, 1, "sent"),
        (0, 0, 0, 0, "sent"),
        (1, 0, 1, 0, "delivered"),
    ],
)
def test_rates_are_of_delivered_messages_from_95_percent_on(
    messages: int, arrived: int, known: int, opened: int, expected: str
) -> None:
    both = denominators(messages, arrived, known)
    assert both.basis(None, opened, 0).of == both.default(opened, 0) == expected
    assert both.basis("sent", opened, 0) == both.sent
    assert both.basis("delivered", opened, 0) == both.delivered


@given(st.lists(st.tuples(COUNT, COUNT, COUNT)))
def test_denominators_add_up(parts: list[tuple[int, int, int]]) -> None:
    whole = Denominators.sum(denominators(*part) for part in parts)
    assert whole == denominators(*(sum(part[place] for part in parts) for place in range(3)))


@pytest.mark.parametrize(
    ("opened", "unknowable", "clicked", "tracked", "expected"),
    [
        (10, 0, 5, (20, 20), (0.5, "")),
        (10, 1, 5, (20, 20), (0.5, "")),
        (10, 2, 5, (20, 20), (None, "unknowable")),
        (0, 2, 0, (20, 20), (None, "unknowable")),
        (10, 0, 30, (40, 40), (None, "more_clicks")),
        (0, 0, 3, (20, 20), (None, "no_opens")),
        (10, 0, 5, (20, 30), (None, "other_messages")),
    ],
    ids=[
        "plain",
        "few unknowable",
        "many unknowable",
        "all",
        "300 %",
        "no opens",
        "other messages",
    ],
)
def test_clicks_are_compared_with_opens_where_that_means_something(
    opened: int,
    unknowable: int,
    clicked: int,
    tracked: tuple[int, int],
    expected: tuple[float | None, str],
) -> None:
    assert click_to_open(opened, unknowable, clicked, *tracked) == expected


def test_each_reason_has_a_text_on_pages() -> None:
    assert set(NO_CLICK_TO_OPEN) == set(get_args(NotShown)) - {""}


@given(COUNT, COUNT, COUNT, COUNT, COUNT)
def test_no_rate_is_above_one(
    opened: int, unknowable: int, clicked: int, opens: int, clicks: int
) -> None:
    rate, reason = click_to_open(opened, unknowable, clicked, opens, clicks)
    assert reason if rate is None else 0 <= rate <= 1 and not reason


# By newsletter: delivered, bounced and unknown messages, and how many of the first ones were opened
# and clicked. All messages of `partly`, but for the first four, are not tracked.
MAILINGS = {
    "known": (18, 2, 0, 9, 3),
    "unknown": (10, 0, 10, 12, 2),
    "beyond": (1, 1, 0, 2, 2),
    "partly": (9, 1, 0, 3, 1),
    "silent": (0, 0, 5, 4, 0),
}
NOT_TRACKED = 0b1111
WORKSPACE = "rated"


@pytest.fixture(scope="module")
def queries(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Queries:
    folder, now = tmp_path_factory.mktemp("rates"), now_ms()
    records: list[Hit | Message | Newsletter | Outcome] = []
    for name, (delivered, bounced, unknown, opened, clicked) in MAILINGS.items():
        key, tags = newsletter_key(WORKSPACE, name), [name]
        if name in ("known", "partly"):
            tags.append("delivered")
        records.append(Newsletter(now, WORKSPACE, key, name, tags=tuple(tags)))
        kinds: list[OutcomeKind] = [*["delivered"] * delivered, *["bounced"] * bounced]  # type: ignore[list-item]
        for number in range(delivered + bounced + unknown):
            at, variant = now - 60_000, number % 2
            flags = NOT_TRACKED if name == "partly" and number > 3 else 0
            message = new_id(at).hex()
            address = f"{number}@example.com"
            records.append(
                Message(at, WORKSPACE, key, message, 1000 + number, address, variant, flags)
            )
            if number < len(kinds):
                records.append(
                    Outcome(
                        now, now, WORKSPACE, message, kinds[number], message=message, permanent=True
                    )
                )
            hit: dict[str, Any] = {"variant": variant, "user_agent": agents.CHROME}
            hit |= {"fetch_mode": "navigate", "address": f"192.0.2.{number}"}
            place = (now, WORKSPACE, key, message, 1000 + number)
            if number < opened:
                records.append(Hit("open", *place, **hit))
            if number < clicked:
                records.append(Hit("click", *place, 0, "https://example.com/", **hit))
    state = open_state(folder)
    outcomes = OutcomeLoader(folder, storage, state, Feed(state), lambda _: SuppressionRules())
    (folder / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(b"".join(map(encode, records)))
    Loader(folder, storage, outcomes=outcomes).load_all()
    return Queries(storage, WORKSPACE)


def shares(row: Any) -> tuple[Any, ...]:
    """What the rates of a list's row, or of a newsletter, are shares of."""
    names = ("rates_of", "rated", "open_rate_messages", "click_rate_messages")
    if isinstance(row, Stats):
        return tuple(getattr(row, name) for name in names)
    return tuple(row[name] for name in names)


def test_each_mailing_has_its_own_default(queries: Queries) -> None:
    assert {name: shares(queries.stats(name)) for name in MAILINGS} == {
        "known": ("delivered", 18, 18, 18),
        "unknown": ("sent", 20, 20, 20),
        "beyond": ("sent", 2, 2, 2),
        "partly": ("delivered", 9, 4, 4),
        "silent": ("sent", 5, 5, 5),
    }


@pytest.mark.parametrize("of", ["auto", "sent", "delivered"])
@pytest.mark.parametrize("period", ["all", "24h"])
def test_every_list_has_the_rates_of_the_mailing_itself(
    queries: Queries, of: str, period: str
) -> None:
    filters = Filters.read({"of": of, "period": period})
    own = {name: queries.stats(name, of=filters.rates_of) for name in MAILINGS}
    for sort, kind, whole in (
        ("open_rate", "opened", "open_rate_messages"),
        ("click_rate", "clicked", "click_rate_messages"),
    ):
        page = newsletters.newsletters(queries, filters.but(sort=sort))
        assert {row["id"]: shares(row) for row in page["rows"]} == {
            name: shares(stats) for name, stats in own.items()
        }
        order = [bounded_share(row[kind], row[whole]) or 0 for row in page["rows"]]
        assert order == sorted(order, reverse=True) and len(set(order)) > 2
    tags = {row["tag"]: row for row in newsletters.tags(queries, filters)["rows"]}
    assert {name: shares(tags[name]) for name in MAILINGS} == {
        name: shares(stats) for name, stats in own.items()
    }
    names = ["known", "unknown", "partly"]
    compared = compare.compare(queries, names, filters)
    assert [shares(row) for row in compared["rows"]] == [shares(own[name]) for name in names]
    assert compared["mixed"] == (of == "auto")
    for name, stats in own.items():
        shown = report.figures(queries, name, filters)
        assert shares(shown["stats"]) == shares(stats)
        says = f"are of messages {stats.rates_of}:" in report.text(shown, "")
        assert says == (stats.outcomes.known > 0)
        variants = shown["variants"]
        assert sum(variant.open_rate_messages for variant in variants) == stats.open_rate_messages
        by_provider = queries.mail_providers(name, of=filters.rates_of)
        assert by_provider.rates_of == stats.rates_of
        assert by_provider.providers[0].open_rate == stats.open_rate


def test_the_sums_of_a_list_have_a_default_too(queries: Queries) -> None:
    whole = newsletters.newsletters(queries, Filters())
    assert shares(whole["totals"]) == ("sent", 57, 51, 51) and whole["mixed"]
    assert whole["totals"]["known"] == 42
    known = newsletters.newsletters(queries, Filters(tag="known"))
    assert shares(known["totals"]) == ("delivered", 18, 18, 18) and not known["mixed"]
    (row,) = known["rows"]
    assert row["delta"] == {"opened": None, "clicked": None}  # there are no others


def test_a_row_is_compared_with_the_others_by_the_same_messages(queries: Queries) -> None:
    rows = {row["id"]: row for row in newsletters.newsletters(queries, Filters())["rows"]}
    assert rows["known"]["delta"]["opened"] == pytest.approx(100 * (9 / 20 - 21 / 31))
    delivered = newsletters.newsletters(queries, Filters(of="delivered"))["rows"]
    assert [row["delta"] for row in delivered if row["id"] == "known"] == [rows["known"]["delta"]]
    both = newsletters.newsletters(queries, Filters(tag="delivered"))["rows"]
    (row,) = (row for row in both if row["id"] == "known")
    assert row["delta"]["opened"] == pytest.approx(100 * (9 / 18 - 3 / 4))
