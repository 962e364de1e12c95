"""Modes from the token to the row: what is written, and what never is."""

import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import agents
from app.events.feed import Cursor, Feed
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.model.ids import new_id, newsletter_key, sent_at
from app.model.records import Hit, Message, Newsletter, encode, now_ms
from app.model.tracking_modes import (
    AGGREGATE,
    DAY_MS,
    MODES,
    PSEUDONYMOUS,
    SHARED,
    Modes,
    aggregate_id,
    modes,
    pseudonym,
    pseudonymous_id,
    reduce_to_mode,
    summarise_modes,
)
from app.stats.queries import Queries, clicked
from app.storage.clickhouse import Storage
from app.storage.state_db import open_state
from app.tracking.tokens import MessageToken, Tokens

SECRET = "a key of pseudonyms"
TOKENS = Tokens(["secret-key-0123456789"])
some_modes = st.builds(Modes, st.sampled_from(MODES), st.sampled_from(MODES))


@given(some_modes, st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
def test_flags_go_through_a_token(given_: Modes, message: bytes, recipient: int) -> None:
    token = MessageToken(message, 7, recipient, given_.flags)
    read = TOKENS.read_message(TOKENS.message(token))
    assert modes(read.flags) == given_
    assert MODES[read.mode("open")] == given_.opens
    assert MODES[read.mode("click")] == given_.clicks
    assert 0 <= given_.flags < 16


def test_a_token_from_before_modes_is_full() -> None:
    assert modes(0) == Modes("full", "full")
    assert Modes().without(["clicks"]) == Modes("full", "off")
    assert summarise_modes([]) == {"opens": "full", "clicks": "full"}
    assert summarise_modes([SHARED, SHARED | 3]) == {"opens": "mixed", "clicks": "aggregate"}


@given(st.integers(0, 2**47), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_ids_keep_the_day_and_lead_nowhere(at: int, newsletter: int, recipient: int) -> None:
    shared, own = aggregate_id(newsletter, at), new_id(at)
    assert sent_at(shared.hex()) == at // DAY_MS * DAY_MS
    assert uuid.UUID(bytes=shared).version == 8
    assert shared == aggregate_id(newsletter, at // DAY_MS * DAY_MS + DAY_MS - 1)
    hidden = pseudonymous_id(SECRET, own)
    assert sent_at(hidden.hex()) == at // DAY_MS * DAY_MS
    assert uuid.UUID(bytes=hidden).version == 7
    assert hidden == pseudonymous_id(SECRET, own) != pseudonymous_id("another", own)
    assert pseudonym(SECRET, newsletter, recipient) != pseudonym(SECRET, newsletter ^ 1, recipient)
    hit = Hit("open", at, "default", newsletter, own.hex(), recipient, mode=AGGREGATE)
    once = reduce_to_mode(hit, "")
    assert reduce_to_mode(once, "") == once, "a token that is shared already stays the same"
    assert (once.recipient, once.message) == (0, shared.hex())


def test_without_a_key_there_is_no_pseudonym() -> None:
    with pytest.raises(ValueError, match="secret"):
        pseudonym("", 1, 2)


def hits(
    key: int, mode: int, messages: list[str], at: int, kind: str = "click", links: int = 4
) -> list[Hit]:
    """Every message is clicked through as by a scanner, within 300 ms."""
    return [
        Hit(
            kind,  # type: ignore[arg-type]
            at + link * 100,
            "default",
            key,
            message,
            9_710_000 + n,
            link,
            address="203.0.113.9",
            user_agent=agents.CHROME,
            mode=mode,
        )
        for n, message in enumerate(messages)
        for link in range(links)
    ]


def load(folder: Path, storage: Storage, *records: Hit | Message | Newsletter) -> None:
    path = folder / f"{uuid.UUID(bytes=new_id())}.seg"
    path.write_bytes(b"".join(map(encode, records)))
    Loader(folder, storage, feed=Feed(open_state(folder.parent)), secret=SECRET).load(path)


def stored(storage: Storage, key: int) -> list[dict[str, object]]:
    return storage.query("SELECT * FROM hits FINAL WHERE newsletter = {n:UInt64}", {"n": key})


def test_of_aggregate_hits_only_the_verdict_is_stored(tmp_path: Path, storage: Storage) -> None:
    name, folder = "aggregate rows", tmp_path / "journal"
    folder.mkdir()
    key, now = newsletter_key("default", name), now_ms()
    messages = [new_id(now).hex() for _ in range(3)]
    machine = Hit("open", now, "default", key, messages[0], 9, user_agent="curl/8", mode=AGGREGATE)
    load(
        folder,
        storage,
        Newsletter(now, "default", key, name),
        machine,
        *hits(key, AGGREGATE, messages, now),
    )
    rows = stored(storage, key)
    assert len(rows) == 13
    assert {str(row["message"]) for row in rows} == {str(uuid.UUID(bytes=aggregate_id(key, now)))}
    for row in rows:
        for column in ("address", "user_agent", "purpose", "fetch_mode", "client", "os", "country"):
            assert row[column] == "", column
        assert (row["recipient"], row["asn"], row["reasons"]) == (0, 0, [])
    assert {row["verdict"] for row in rows} == {"bot", "human"}, "no burst is made of them"
    work = Corrections(folder, storage)
    assert work.reclassify_recent(after=0) == 0
    list(work.reclassify("default", 0, now + 10**9))  # other tests' hits may change
    assert sorted(map(str, stored(storage, key))) == sorted(map(str, rows))
    stats = Queries(storage).stats(name)
    assert (stats.clicks.human.total, stats.clicks.human.unique) == (12, 0)
    assert (stats.opens.machine.total, stats.opens.all.unique) == (1, 0)
    link = Queries(storage).stats(name, {"link": "0"}).clicks.human
    assert (link.total, link.unique) == (3, 0)
    events, _ = Feed(open_state(tmp_path)).after(Cursor(), "default", 100)
    assert {event.row.recipient for event in events} == {0}


def test_pseudonymous_hits_lead_to_no_address_and_are_judged_as_ever(
    tmp_path: Path, storage: Storage
) -> None:
    name, folder = "pseudonymous rows", tmp_path / "journal"
    folder.mkdir()
    key, now = newsletter_key("default", name), now_ms()
    messages = [new_id(now).hex() for _ in range(2)]
    flags = Modes("full", "pseudonymous").flags
    sent = [
        Message(now, "default", key, message, 9_710_000 + n, f"p{n}@example.com", flags=flags)
        for n, message in enumerate(messages)
    ]
    load(
        folder,
        storage,
        Newsletter(now, "default", key, name),
        *sent,
        *hits(key, PSEUDONYMOUS, messages[:1], now),
        *hits(key, PSEUDONYMOUS, messages[1:], now, links=1),
    )
    rows = stored(storage, key)
    assert {row["verdict"] for row in rows} == {"scanner", "human"}
    assert {row["address"] for row in rows} == {""}
    ledger = {uuid.UUID(message) for message in messages}
    assert not ledger & {row["message"] for row in rows}
    assert not {9_710_000, 9_710_001} & {row["recipient"] for row in rows}
    joined = storage.query(
        "SELECT count() AS n FROM hits INNER JOIN messages USING (recipient)"
        " WHERE hits.newsletter = {n:UInt64}",
        {"n": key},
    )
    assert joined[0]["n"] == 0
    assert Corrections(folder, storage).reclassify_recent(after=0) == 0
    stats = Queries(storage).stats(name)
    assert (stats.clicks.human.unique, stats.clicks.machine.unique) == (1, 1)


def test_nobody_is_silent_who_could_not_be_seen(tmp_path: Path, storage: Storage) -> None:
    name, folder = "silent and unseen", tmp_path / "journal"
    folder.mkdir()
    key, now = newsletter_key("default", name), now_ms()
    given_ = {one: new_id(now).hex() for one in MODES}
    load(
        folder,
        storage,
        Newsletter(now, "default", key, name),
        *(
            Message(
                now,
                "default",
                key,
                message,
                9_730_000 + n,
                f"{one}@x.example",
                flags=Modes(one, "full").flags,
            )
            for n, (one, message) in enumerate(given_.items())
        ),
    )
    queries = Queries(storage)
    rows = queries.run(
        "followup_silent",
        newsletters=[key],
        kinds=["open"],
        after_ms=0,
        after_message=str(uuid.UUID(int=0)),
        until_ms=now + 1,
        limit=100,
    )
    assert [row["address"] for row in rows if not row["acted"]] == ["full@x.example"]
    names = ("newsletter", "opened", "clicked", "not_clicked", "bounced", "not_delivered")
    nothing = dict.fromkeys(names, 0)
    found = queries.run(
        "segment",
        tags=[],
        since_ms=0,
        neutral=0,
        limit=100,
        not_opened=key,
        newsletters=[],
        linked=0,
        unsettled=[],
        **clicked({}),
        **nothing,
    )
    assert [row["recipient"] for row in found] == ["full@x.example"]
