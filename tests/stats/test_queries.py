"""Every question of the dashboard against known hits; roll-ups and raw hits must agree."""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.demo import agents
from app.ingest.loader import Loader
from app.model.errors import NotFoundError
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, Message, Newsletter, PlacedLink, encode, now_ms
from app.schemas.recipients import Counted
from app.stats import clickers, message_list, recipients, search
from app.stats.exports import (
    chunks,
)
from app.stats.filters import FilterError, Filters, Show
from app.stats.message_list import Criteria
from app.stats.queries import Queries
from app.storage.clickhouse import Row, Storage
from app.web.views import compare, newsletters

NOW = now_ms()
NAME = "queries"
KEY = newsletter_key("queried", NAME)
AGENTS = (agents.CHROME, agents.SAFARI_PHONE, agents.GMAIL_PROXY, agents.BARRACUDA)


@pytest.fixture(scope="module")
def queries(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Queries:
    """Forty messages of two variants; each fourth is opened by each agent, half of it clicked."""
    folder = tmp_path_factory.mktemp("queries")
    records: list[Hit | PlacedLink | Message | Newsletter] = [
        Newsletter(NOW, "queried", KEY, NAME, "=Known", "Subject", ("zebra", "news")),
        *(
            PlacedLink(NOW, "queried", KEY, n, f"https://example.com/{n}", f"=Link {n}", ("boots",))
            for n in range(3)
        ),
    ]
    for n in range(40):
        message = new_id(NOW - 86_400_000).hex()
        sent = NOW - 86_400_000
        records.append(
            Message(sent, "queried", KEY, message, 1000 + n, f"reader{n:02}@example.com", n % 2)
        )
        given: dict[str, Any] = {"variant": n % 2, "user_agent": AGENTS[n % 4]}
        given["address"] = f"192.0.2.{n}"
        at = NOW - 3_600_000 * (n % 3) - 90_000
        records += [
            Hit("open", at + k, "queried", KEY, message, 1000 + n, **given)
            for k in range(1 + n % 2)
        ]
        if n % 8 < 4 and AGENTS[n % 4] != agents.GMAIL_PROXY:
            records.append(
                Hit(
                    "click",
                    at + 9,
                    "queried",
                    KEY,
                    message,
                    1000 + n,
                    n % 3,
                    f"https://example.com/{n % 3}",
                    **given,
                )
            )
    (folder / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(b"".join(map(encode, records)))
    Loader(folder, storage).load_all()
    return Queries(storage, "queried")


@pytest.mark.parametrize("show", ["human", "machine", "all"])
def test_list_and_page_agree(queries: Queries, show: str) -> None:
    filters = Filters.read({"show": show, "search": "=known"})
    (row,) = newsletters.newsletters(queries, filters)["rows"]
    page = newsletters.newsletter(queries, NAME, filters)
    assert (row["opened"], row["clicked"]) == (page["opens"].unique, page["clicks"].unique)
    assert row["opens"] == page["opens"].total
    assert {"human": 30, "machine": 10, "all": 40}[show] == row["opened"]
    assert sum(column.highest > 0 for _, column in page["times"]) > 0
    assert sum(row["messages"] for row in queries.variants(NAME, "human")) == 40


def test_tags_add_up_what_carries_them(queries: Queries) -> None:
    (row,) = newsletters.tags(queries, Filters(show="all", search="ZEBRA"))["rows"]
    page = newsletters.newsletter(queries, NAME, Filters(show="all"))
    assert (row["newsletters"], row["messages"]) == (1, 40)
    assert (row["opened"], row["clicked"]) == (page["opens"].unique, page["clicks"].unique)
    assert newsletters.tags(queries, Filters(period="24h", search="zebra"))["rows"] == []


@pytest.mark.parametrize("show", ["human", "machine", "all"])
def test_a_period_selects_the_same_messages_on_every_page(queries: Queries, show: str) -> None:
    """All were sent a day ago: within a range of days that is open, or that has that day."""
    sent = datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(days=1)
    day, after = str(sent.date()), str(sent.date() + timedelta(days=1))
    base = {"show": show, "search": "=known"}
    whole = newsletters.newsletters(queries, Filters.read(base))
    for period in (
        {"period": "7d"},
        {"period": "365d"},
        {"from": day},
        {"to": day},
        {"from": day, "to": day},
    ):
        filters = Filters.read({**base, **period, "compare": "1"})
        listed = newsletters.newsletters(queries, filters)
        assert [*map(figures, listed["rows"])] == [*map(figures, whole["rows"])], period
        assert listed["totals"] == whole["totals"]
        page = newsletters.newsletter(queries, NAME, filters)
        (row,) = listed["rows"]
        assert (row["opened"], row["clicked"]) == (page["opens"].unique, page["clicks"].unique)
        assert row["messages"] == page["stats"].messages == 40
        (tag,) = newsletters.tags(queries, replace(filters, search="zebra"))["rows"]
        assert (tag["messages"], tag["opened"]) == (40, row["opened"])
        compared = compare.compare(queries, [NAME], filters)["rows"][0]
        assert (compared["messages"], compared["opened"]) == (40, row["opened"])
        everything = compare.compare(queries, [NAME], Filters.read({"show": show}))["rows"][0]
        assert compared["opens"][-1] == everything["opens"][-1]
        people = recipients.recipients(queries, Filters.read({**period, "show": show}), NAME)
        assert people["rows"][0]["messages"] == 1 and len(people["rows"]) == 40
        assert len(recipients.recipient(queries, 1000, span=filters.span(sent)).sent) == 1
    for period in (
        {"from": after},
        {"to": "2020-01-01"},
        {"from": "2020-01-01", "to": "2020-02-01"},
    ):
        filters = Filters.read({**base, **period})
        assert newsletters.newsletters(queries, filters)["rows"] == []
        assert newsletters.newsletter(queries, NAME, filters)["stats"].messages == 0
        assert newsletters.tags(queries, replace(filters, search="zebra"))["rows"] == []
        assert compare.compare(queries, [NAME], filters)["rows"][0]["messages"] == 0
        assert recipients.recipients(queries, Filters.read(period), NAME)["rows"] == []
        person = recipients.recipient(queries, 1000, span=filters.span(sent))
        assert (person.sent, person.email) == ([], "reader00@example.com")


def figures(row: Row) -> tuple[Any, ...]:
    names = "messages opened clicked opens clicks unknowable unsubscribes first_at last_at last_hit"
    return tuple(row[name] for name in names.split())


def test_a_period_is_compared_with_the_one_before(queries: Queries) -> None:
    sent = datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(days=1)
    after = str(sent.date() + timedelta(days=1))
    filters = Filters.read({"from": after, "to": after, "compare": "1", "search": "=known"})
    assert newsletters.newsletters(queries, filters)["changes"]["messages"] == ("100%", False, 0)
    page = newsletters.newsletter(queries, NAME, filters)
    assert page["changes"]["messages"] == ("100%", False, 0)
    assert page["changes"]["opened"] is None  # nothing was sent
    plain = replace(filters, compared=False)
    assert newsletters.newsletter(queries, NAME, plain)["changes"] == {}


def test_families_are_of_opens(queries: Queries) -> None:
    agents = queries.agents(NAME)
    families = {agent.name: agent.all for agent in agents.families}
    assert sum(families.values()) == queries.stats(NAME).opens.all.total
    assert families["Gmail"] == 10 and set(families) <= {
        "-",
        "Gmail",
        "Webmail in a browser",
        "Outlook",
        "Apple Mail",
    }


def test_a_filter_leaves_what_it_names(queries: Queries) -> None:
    whole = newsletters.newsletter(queries, NAME, Filters())
    for title, (part, ranking) in whole["rankings"].items():
        for share in ranking:
            if share.value:
                narrowed = newsletters.newsletter(queries, NAME, Filters(**{part: share.value}))
                hits = narrowed["opens"].total + narrowed["clicks"].total
                assert hits == share.hits, (title, share)
    lately = newsletters.newsletter(queries, NAME, Filters(period="7d"))
    assert (lately["stats"].messages, lately["opens"]) == (40, whole["opens"])
    early = newsletters.newsletter(queries, NAME, Filters(period="24h"))  # sent a day ago
    assert (early["stats"].messages, early["opens"].unique) == (0, 0)
    variants = [newsletters.newsletter(queries, NAME, Filters(variant=v)) for v in "01"]
    assert sum(page["opens"].unique for page in variants) == whole["opens"].unique
    assert [page["stats"].messages for page in variants] == [20, 20]
    links = [newsletters.newsletter(queries, NAME, Filters(link=n)) for n in "012"]
    assert sum(page["clicks"].unique for page in links) == whole["clicks"].unique
    assert all(page["opens"].total == 0 for page in links)


def test_filters_and_roll_ups_give_the_same_where_nothing_is_left_out(queries: Queries) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    span = NAME, now - timedelta(days=2), now, 3600
    every = {"variant": "1"}, {"variant": "0"}
    rolled = queries.timeline(*span)
    parts = [queries.timeline(*span, parts) for parts in every]
    for kind in ("opens", "clicks"):
        totals = [sum(getattr(step, kind).all.total for step in steps) for steps in parts]
        assert sum(getattr(step, kind).all.total for step in rolled) == sum(totals) > 0
    exact = queries.timeline(NAME, span[1], now - timedelta(seconds=1), 3600)
    assert sum(step.opens.all.total for step in exact) == sum(s.opens.all.total for s in rolled)


def test_newsletters_are_sorted_searched_and_paged(queries: Queries) -> None:
    found = queries.newsletters(Filters(tag="zebra"))
    assert [row["id"] for row in found] == [NAME]
    assert queries.newsletters(Filters(search="no such thing")) == []
    assert queries.newsletters(Filters(tag="zebr")) == []
    for sort in ("sent", "name", "messages", "opened", "clicked", "open_rate", "click_rate"):
        down = queries.newsletters(Filters.read({"sort": sort}), 1000)
        up = queries.newsletters(Filters.read({"sort": sort, "up": "1"}), 1000)
        figures: dict[str, Callable[[Row], Any]] = {
            "sent": lambda row: row["last_at"],
            "name": lambda row: (row["name"] or row["id"]).lower(),
            "open_rate": lambda row: row["opened"] / max(1, row["opens_tracked"]),
            "click_rate": lambda row: row["clicked"] / max(1, row["clicks_tracked"]),
        }
        figure = figures.get(sort, itemgetter(sort))
        assert [figure(row) for row in up] == sorted(figure(row) for row in up), sort
        assert [figure(row) for row in down] == sorted(map(figure, down), reverse=True), sort
    assert [row["id"] for row in queries.newsletters(Filters(period="7d", tag="zebra"))] == [NAME]
    assert queries.newsletters(Filters(period="24h", tag="zebra")) == []  # sent a day ago
    assert queries.newsletters(Filters(search=NAME))[0]["messages_in_all"] == 40
    assert [row["id"] for row in queries.newsletters(Filters(search=NAME), least=40)] == [NAME]
    assert queries.newsletters(Filters(search=NAME), least=41) == []
    assert queries.average("all")[0] > 0


def test_recipients_are_paged_without_gaps(
    queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipients, "PAGE", 7)
    for by in ("clicked", "opened", "address"):
        filters, seen = Filters.read({"by": by, "show": "all"}), []
        while True:
            page = recipients.recipients(queries, filters, NAME)
            seen += page["rows"]
            if not page["after"]:
                break
            filters = filters.but(after=page["after"])
        assert len(seen) == len({row["recipient"] for row in seen}) == 40, by
        assert all(row["messages"] == 1 and row["opened"] == 1 for row in seen)
        if by == "address":
            assert [row["person"] for row in seen] == sorted(row["person"] for row in seen)
        else:
            assert [row[by] for row in seen] == sorted((row[by] for row in seen), reverse=True)
    found = recipients.recipients(queries, Filters(search="READER07"), NAME)["rows"]
    assert [row["person"] for row in found] == ["reader07@example.com"]
    everywhere = recipients.recipients(queries, Filters(search="reader07@example.com"))["rows"]
    assert len(everywhere) == 1
    for after in ("x", "9:x:y", f"{2**70}:1:a", f"1:{2**64}:a", f"{'0' * 30}{2**70}:1:a"):
        with pytest.raises(FilterError):
            recipients.recipients(queries, Filters(after=after), NAME)


def test_a_recipient_has_a_history_and_preferences(queries: Queries) -> None:
    record = recipients.recipient(queries, 1000)
    assert record.email == "reader00@example.com"
    (message,) = record.sent
    assert (message["id"], message["name"]) == (NAME, "=Known")
    assert [hit["kind"] for hit in message["hits"]] == ["click", "open"]
    assert message["hits"][0]["url"] == "https://example.com/0"
    assert record.topics == [Counted("boots", 1)]
    assert record.sites == [Counted("example.com", 1)]
    scanned = recipients.recipient(queries, 1003, "machine")
    assert {reason for hit in scanned.sent[0]["hits"] for reason in hit["reasons"]} >= {
        "link_scanner"
    }
    assert recipients.recipient(queries, 1003).opened == 0
    with pytest.raises(NotFoundError):
        recipients.recipient(queries, 2**61 + 5)


def test_exports_follow_the_filters(queries: Queries, tmp_path: Path) -> None:
    def lines(wanted: str, **filters: str) -> list[bytes]:
        found = chunks(queries, NAME, Filters.read(filters), wanted)
        return b"".join(found).splitlines()

    whole = newsletters.newsletter(queries, NAME, Filters(show="all"))
    assert len(lines("json", show="all")) == whole["opens"].total + whole["clicks"].total
    people_only = newsletters.newsletter(queries, NAME, Filters(device="phone"))
    assert (
        len(lines("csv", device="phone")) - 1
        == people_only["opens"].total + people_only["clicks"].total
    )
    text = b"\n".join(lines("csv", link="0"))
    assert b"'=Link 0" in text and b",=Link" not in text and b'"=Link' not in text
    assert b'"=Link 0"' in b"\n".join(lines("json", link="0"))
    parquet = b"".join(chunks(queries, NAME, Filters(), "parquet"))
    assert parquet[:4] == parquet[-4:] == b"PAR1"


def test_newsletters_are_compared_by_time_since_sending(queries: Queries) -> None:
    page = compare.compare(queries, [NAME, NAME], Filters(show="all"))
    (row,) = page["rows"]
    assert (row["messages"], row["opened"]) == (40, 40)
    assert row["opens"] == sorted(row["opens"])
    stats = queries.stats(NAME)
    assert row["opens"][-1] == pytest.approx(stats.opens.all.total / 40)
    assert row["clicks"][-1] == pytest.approx(stats.clicks.all.total / 40)
    assert NAME not in [offered["id"] for offered in page["offered"]]
    assert compare.compare(queries, [], Filters())["rows"] == []
    with pytest.raises(FilterError):
        compare.compare(queries, list("abcde"), Filters())
    with pytest.raises(NotFoundError):
        compare.compare(queries, ["unknown"], Filters())
    told = [compare.since(seconds) for seconds in (60, 300, 3600, 86_400, 5400, 90)]
    assert told == ["1 minute", "5 minutes", "1 hour", "1 day", "90 minutes", "90 seconds"]


@pytest.mark.parametrize(("step", "seconds"), [("minute", 60), ("hour", 3600), ("day", 86_400)])
def test_a_timeline_has_the_step_that_was_asked_for(
    queries: Queries, step: str, seconds: int
) -> None:
    page = newsletters.newsletter(queries, NAME, Filters.read({"step": step, "show": "all"}))
    assert page["step"] == seconds
    starts = [at for at, _ in page["times"]]
    assert {(b - a).total_seconds() for a, b in pairwise(starts)} == {seconds}
    shown = sum(column.human_opens + column.machine_opens for _, column in page["times"])
    assert shown == page["opens"].total


def test_replaced_parts_are_removed_by_one_thread(storage: Storage) -> None:
    asked = "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"
    tables = storage.query(f"{asked} AND engine LIKE '%MergeTree'", {})
    assert {"hits", "messages"} < {table["name"] for table in tables}
    for table in tables:
        assert "concurrent_part_removal_threshold = 1000000" in table["engine_full"], table


def test_embedded_queries_leave_the_hits_half_the_cores(storage: Storage) -> None:
    asked = "SELECT getSetting('max_threads') AS threads, getSetting('os_threads_nice_value_query')"
    (row,) = storage.query(f"{asked} AS nice", {})
    assert row == {"threads": max(1, (os.cpu_count() or 1) // 2), "nice": 10}


def test_a_slow_result_is_remembered_for_twenty_times_its_duration(
    queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, read = [1000.0], list[float]()
    monkeypatch.setattr("app.stats.queries.time.monotonic", lambda: clock[0])

    def slow() -> int:
        clock[0] += 0.5
        read.append(clock[0])
        return len(read)

    assert [queries.remembered("slow", slow) for _ in range(2)] == [1, 1]
    clock[0] += 9.9
    assert queries.remembered("slow", slow) == 1
    assert queries.remembered("another", slow) == 2
    clock[0] += 0.2
    assert queries.remembered("slow", slow) == 3


def test_a_workspace_finds_its_own_alone(queries: Queries, storage: Storage) -> None:
    found = search.search(queries, "EXAMPLE.com")
    assert len(found.people) == search.FOUND and found.more >= {"people"}
    assert [row["url"] for row in found.links] == [f"https://example.com/{n}" for n in range(3)]
    assert [row["id"] for row in search.search(queries, "=known").mailings] == [NAME]
    other = Queries(storage, "other")
    for text in ("EXAMPLE.com", "=known", "reader"):
        assert search.search(other, text) == search.Found([], [], [], frozenset())
    year = Filters(period="365d")
    assert message_list.listed(queries, year, Criteria(text="reader0"))["rows"]
    assert message_list.listed(other, year, Criteria(text="reader0"))["rows"] == []
    url = Filters(period="365d", url="https://example.com/1", show="all")
    assert clickers.clickers(queries, url)["rows"]
    assert clickers.clickers(other, url)["rows"] == []


@pytest.mark.parametrize("show", ["human", "machine", "all"])
def test_who_clicked_is_as_many_as_the_figures_say(queries: Queries, show: Show) -> None:
    for link in queries.links(NAME):
        listed = clickers.clickers(queries, Filters(show=show, link=link.id), NAME)
        assert len(listed["rows"]) == listed["people"] == getattr(link, show).unique
        assert sum(row["clicks"] for row in listed["rows"]) == getattr(link, show).total
        url = Filters(show=show, period="365d", url=link.url)
        anywhere = [row["person"] for row in clickers.clickers(queries, url)["rows"]]
        assert {row["person"] for row in listed["rows"]} <= set(anywhere)


def test_figures_of_a_period_are_those_of_hits_one_by_one(queries: Queries) -> None:
    span = Filters(period="7d").hit_filters
    rolled = queries.stats(NAME, span)
    bound = {**queries.filtered(queries.key(NAME), span), "newsletter": queries.key(NAME)}
    exact = {row["kind"]: row for row in queries.run("newsletter_stats_filtered", **bound)}
    names = {"opens": "open", "clicks": "click"}
    for name, kind in names.items():
        split = getattr(rolled, name)
        for group in ("all", "human", "machine"):
            counted = getattr(split, group)
            assert counted.total == exact[kind][f"{group}_total"]
            assert counted.unique == exact[kind][f"{group}_unique"]
    assert rolled.unknowable == exact["open"]["unknowable"]


def test_an_export_has_the_time_on_the_clock_of_the_reader(queries: Queries) -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    lines = b"".join(chunks(queries, NAME, Filters(show="all", zone=zone), "json")).splitlines()
    assert lines
    for row in map(json.loads, lines):
        at = datetime.fromisoformat(row["at"]).astimezone(zone)
        assert row["local_at"] == f"{at:%Y-%m-%d %H:%M:%S}"
