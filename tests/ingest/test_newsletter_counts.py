"""Pages show of a newsletter what its hits and messages say, whatever happened to them."""

import asyncio
import uuid
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.demo import agents
from app.ingest import newsletter_counts
from app.ingest.corrections import FOREVER_MS, Corrections
from app.ingest.loader import Loader
from app.ingest.message_rules import classify_message
from app.ingest.newsletter_counts import NewsletterCounts
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, Message, Newsletter, Record, encode, now_ms
from app.stats.filters import Filters
from app.stats.queries import Queries
from app.storage.clickhouse import Storage, StorageError
from app.storage.sql import sql
from tests.support.patience import until
from tests.support.torture import LONG, longer

NOW = now_ms()
AGENTS = (agents.CHROME, agents.THUNDERBIRD, agents.APPLE_PRIVACY, agents.BARRACUDA, "")
PEOPLE = ("human", "privacy_proxy")
_names = count(1)


class Pages:
    """Two newsletters of their own, and what changes them."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.folder, self.storage = folder, storage
        self.names = [f"counted {next(_names)}" for _ in range(2)]
        self.keys = [newsletter_key("default", name) for name in self.names]
        self.loader = Loader(folder, storage)
        self.corrections = Corrections(folder, storage)
        self.counts = NewsletterCounts(storage, self.loader, self.corrections)
        self.queries = Queries(storage)
        self.messages = {key: [self._message(number) for number in range(6)] for key in self.keys}
        self.load([Newsletter(NOW, "default", key, name, "Name") for key, name in self._named()])

    def _named(self) -> list[tuple[int, str]]:
        return list(zip(self.keys, self.names, strict=True))

    def _message(self, number: int) -> str:
        """Returns an id; the last one is an id that all messages of a day share (a UUIDv8)."""
        name = new_id(NOW - 60_000).hex()
        return name if number < 5 else f"{name[:12]}8{name[13:]}"

    def load(self, records: list[Record]) -> None:
        path = self.folder / f"{uuid.UUID(bytes=new_id())}.seg"
        path.write_bytes(b"".join(map(encode, records)))
        self.loader.load(path)

    def hit(self, which: int, message: int, kind: str, agent: int) -> Hit:
        key = self.keys[which]
        hit = Hit(kind, NOW + agent, "default", key, self.messages[key][message], 7 + message)  # type: ignore[arg-type]
        return Hit(
            **{
                **{name: getattr(hit, name) for name in hit.__struct_fields__},
                "variant": message % 2,
                "user_agent": AGENTS[agent],
                "position": agent,
                "url": f"https://example.com/{agent}" if kind == "click" else "",
            }
        )

    def send(self, which: int, message: int) -> None:
        key = self.keys[which]
        name = self.messages[key][message]
        flags = (0, 2, 8, 10)[message % 4]
        self.load(
            [Message(NOW + message, "default", key, name, 7, "7@x", message % 2, flags=flags)]
        )

    def change(self, what: str, *of: Any) -> None:
        match what:
            case "hit":
                self.load([self.hit(*each) for each in of])
            case "send":
                self.send(*of)
            case "correct":
                self.corrections.reclassify_recent(0)
            case "erase":
                for table in ("messages", "hits"):
                    self.storage.change(
                        table,
                        sql(f"erase_{table}"),
                        {"workspace": "default", "recipients": [7 + of[0]]},
                    )
            case "reclassify":
                with pytest.MonkeyPatch.context() as patch:

                    def strict(*args: Any) -> Any:
                        """Newer rules, by which every other hit is a bot's."""
                        verdicts = list(classify_message(*args))
                        return [
                            one._replace(verdict="bot", reasons=("strict",)) if n % 2 else one
                            for n, one in enumerate(verdicts)
                        ]

                    if of[0]:
                        patch.setattr("app.ingest.corrections.classify_message", strict)
                    for _ in self.corrections.reclassify("default", 0, FOREVER_MS):
                        pass
            case "merge":
                for table in ("hits", "hits_by_message", "hits_by_newsletter"):
                    with self.storage.reader() as client:
                        client.command(f"OPTIMIZE TABLE {table} FINAL")
            case _:
                self.counts.count_changed()

    def expected(self, which: int, show: str) -> dict[str, int]:
        """Counts hits and messages one by one."""
        them = {"n": self.keys[which]}
        rows = self.storage.query(
            "SELECT toString(kind) AS kind, message, toString(verdict) AS verdict,"
            " toInt64(sum(sign)) AS n FROM hits WHERE newsletter = {n:UInt64}"
            " GROUP BY ALL HAVING n != 0",
            them,
        )
        shown: dict[str, set[uuid.UUID]] = {"open": set(), "click": set(), "unsubscribe": set()}
        totals = {"open": 0, "click": 0, "unsubscribe": 0}
        read, perhaps = set(), set()
        for row in rows:
            is_person = row["verdict"] in PEOPLE
            groups = ("all", "human") if is_person else ("all", "machine")
            shared = row["message"].version == 8
            if show in groups:
                totals[row["kind"]] += row["n"]
            if (show in groups or row["kind"] == "unsubscribe") and not shared:
                shown[row["kind"]].add(row["message"])
            if row["kind"] == "open" and not shared:
                if is_person:
                    read.add(row["message"])
                elif row["verdict"] in ("unknown", "prefetch"):
                    perhaps.add(row["message"])
        sent = self.storage.query(
            "SELECT flags, at FROM messages WHERE newsletter = {n:UInt64}", them
        )
        return {
            "messages": len(sent),
            "opens_tracked": sum(row["flags"] & 3 < 2 for row in sent),
            "clicks_tracked": sum(row["flags"] & 12 < 8 for row in sent),
            "opens": totals["open"],
            "clicks": totals["click"],
            "opened": len(shown["open"]),
            "clicked": len(shown["click"]),
            "unsubscribes": len(shown["unsubscribe"]),
            "unknowable": len(perhaps - read),
        }

    def check(self) -> None:
        self.queries = Queries(self.storage)  # which remembers nothing that took long
        for show in ("human", "machine", "all"):
            filters = Filters.read({"show": show, "search": "counted "})
            rows = {row["id"]: row for row in self.queries.newsletters(filters, 1000)}
            for which, name in enumerate(self.names):
                expected = self.expected(which, show)
                assert {figure: rows[name][figure] for figure in expected} == expected, show
                variants = self.queries.variants(name, filters.show)
                assert sum(row["messages"] for row in variants) == expected["messages"]
                if {row["variant"] for row in variants} == {0, 1}:
                    for figure in ("opened", "clicked", "unknowable"):
                        assert sum(row[figure] for row in variants) == expected[figure], figure
                stats = self.queries.stats(name)
                opens, clicks = getattr(stats.opens, show), getattr(stats.clicks, show)
                assert (opens.total, clicks.total) == (expected["opens"], expected["clicks"])
                assert (opens.unique, clicks.unique) == (expected["opened"], expected["clicked"])
                assert stats.unknowable == expected["unknowable"]
                assert stats.unsubscribes == expected["unsubscribes"]
                assert stats.messages == expected["messages"]


@pytest.fixture
def pages(tmp_path: Path, storage: Storage) -> Pages:
    return Pages(tmp_path, storage)


HITS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 5),
        st.sampled_from(["open", "open", "click", "unsubscribe"]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=12,
).map(lambda hits: ("hit", *hits))
CHANGES = st.one_of(
    HITS,
    HITS,
    st.tuples(st.just("send"), st.integers(0, 1), st.integers(0, 5)),
    st.sampled_from([("correct",), ("count",), ("count",), ("merge",)]),
    st.tuples(st.just("reclassify"), st.booleans()),
    st.tuples(st.just("erase"), st.integers(0, 5)),
)


EVERYTHING: list[Any] = [
    *(("send", 0, message) for message in range(6)),
    # People and machines at one message, and unknown openers, of both variants and of a shared id.
    ("hit", *((0, message, "open", agent) for message in (0, 1, 5) for agent in (0, 2, 3, 4))),
    ("hit", (0, 2, "open", 4), (0, 3, "click", 3), (0, 0, "click", 0), (0, 1, "unsubscribe", 0)),
    ("count",),
    ("reclassify", True),
    ("merge",),
    ("erase", 0),
    ("hit", (0, 2, "open", 0)),
    ("count",),
    ("reclassify", False),
]


@longer
@example(EVERYTHING)
@settings(
    max_examples=200 if LONG else 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(CHANGES, min_size=3, max_size=8))
def test_every_figure_is_what_the_hits_say(
    storage: Storage, tmp_path_factory: pytest.TempPathFactory, changes: list[Any]
) -> None:
    pages = Pages(tmp_path_factory.mktemp("counted"), storage)
    for what, *of in changes:
        pages.change(what, *of)
        pages.check()
    pages.change("count")
    pages.check()


def changed(pages: Pages) -> set[int]:
    rows = pages.storage.query(sql("newsletters_changed"), {"workspace": "default", "limit": 9999})
    return {row["newsletter"] for row in rows} & set(pages.keys)


def test_what_changed_alone_is_counted_again(pages: Pages) -> None:
    pages.change("hit", (0, 0, "open", 1), (1, 0, "open", 1))
    assert changed(pages) == set(pages.keys)
    pages.counts.count_changed()
    assert changed(pages) == set() and pages.counts.count_changed() == 0
    counted = "SELECT newsletter, counted.1 AS at FROM hits_by_newsletter FINAL"
    before = {row["newsletter"]: row["at"] for row in pages.storage.query(counted, {})}
    pages.change("hit", (0, 1, "open", 1))
    assert changed(pages) == {pages.keys[0]} and pages.counts.count_changed() == 1
    after = {row["newsletter"]: row["at"] for row in pages.storage.query(counted, {})}
    assert {key for key in after if before[key] != after[key]} == {pages.keys[0]}
    pages.check()


def test_a_verdict_that_changes_is_a_change(pages: Pages) -> None:
    """As many hits as before, of another group."""
    pages.change("hit", (0, 0, "open", 1), (0, 0, "open", 1))
    pages.counts.count_changed()
    pages.change("reclassify", True)
    assert changed(pages) == {pages.keys[0]}
    pages.check()
    pages.change("reclassify", False)
    assert changed(pages) == set()
    pages.check()


def test_stored_counts_are_read_and_not_counted(pages: Pages) -> None:
    """What is read is what was stored: a roll-up that nobody has changed is not read at all."""
    pages.change("hit", (0, 0, "open", 1))
    pages.counts.count_changed()
    with pages.storage.own_client(60) as client:
        client.command(
            f"ALTER TABLE hits_by_message DELETE WHERE newsletter = {pages.keys[0]}",
            settings={"mutations_sync": 2},
        )
    pages.check()


def test_counts_with_another_checksum_are_not_shown(pages: Pages) -> None:
    """As if a row had been lost, or a count had been stored late: what is stored is wrong."""
    pages.change("hit", (0, 0, "open", 1), (1, 1, "click", 1))
    pages.counts.count_changed()
    key = pages.keys[0]
    with pages.storage.own_client(60) as client:
        client.command(
            "INSERT INTO hits_by_newsletter (workspace, newsletter, checksum, counted)"
            f" SELECT 'default', {key}, 0, (now64(3) + 1, 7, [('open', 0, 9, 9, 9, 9, 9, 9)])"
        )
    assert changed(pages) == {key}
    pages.check()


def test_hits_that_are_all_cancelled_are_not_shown(pages: Pages) -> None:
    """Then the roll-up by message has no rows that could be counted."""
    pages.change("hit", (0, 0, "open", 1), (0, 1, "click", 1), (1, 1, "open", 1))
    pages.counts.count_changed()
    with pages.storage.own_client(60) as client:
        client.command(
            "INSERT INTO hits SELECT * REPLACE (-sign AS sign) FROM hits FINAL"
            f" WHERE newsletter = {pages.keys[0]}"
        )
    pages.change("merge")
    pages.check()
    pages.change("count")
    assert changed(pages) == set()
    pages.check()


def test_the_task_counts_what_was_loaded(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newsletter_counts, "PAUSE_SECONDS", 0.01)
    query, failures = pages.storage.query, iter([True, True])

    def unavailable(text: str, parameters: Any) -> Any:
        if next(failures, False):
            raise StorageError("no connection")
        return query(text, parameters)

    async def test() -> None:
        task = asyncio.create_task(pages.counts.run())
        await asyncio.sleep(0)
        pages.loader.ready = True
        for message in range(2):
            pages.change("hit", (0, message, "open", 1))
            await until(lambda: not changed(pages))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with monkeypatch.context() as patch:
        patch.setattr(pages.counts, "_storage", _Unavailable(pages.storage, unavailable))
        asyncio.run(test())
    pages.check()


class _Unavailable:
    """A storage whose queries fail at first."""

    def __init__(self, storage: Storage, query: Any) -> None:
        self.query, self.reader = query, storage.reader
