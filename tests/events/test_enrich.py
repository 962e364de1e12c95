"""What is told of a click is the link of that very mail."""

import uuid
from pathlib import Path

import pytest

from app.events.enrich import EventEnricher
from app.events.feed import Cursor, Event, Row
from app.ingest.loader import Loader
from app.links import identity
from app.model.ids import new_id, newsletter_key
from app.model.records import Carried, Hit, Link, Message, Newsletter, PlacedLink, encode
from app.schemas.events import EventLink
from app.stats.queries import Queries
from app.storage.clickhouse import Storage
from app.storage.sql import sql

NAME = "told links"
KEY = newsletter_key("default", NAME)
AT = 1_780_000_000_000
BOOTS = identity.identify("https://shop.example/boots")
LABELS = {"Boots": ("boots",), "Shop now": ("sale",)}


@pytest.fixture(scope="module")
def enricher(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> EventEnricher:
    folder = tmp_path_factory.mktemp("told")
    records: list[Newsletter | PlacedLink | Link] = [
        Newsletter(AT, "default", KEY, NAME),
        PlacedLink(AT, "default", KEY, 7, "https://shop.example/help", "Help", ("help",)),
        *(
            Link(
                AT + n,
                "default",
                KEY,
                BOOTS.link,
                BOOTS.family,
                n,
                BOOTS.url,
                BOOTS.template,
                "",
                identity.detail(label, tags),
                label,
                tags,
            )
            for n, (label, tags) in enumerate(LABELS.items())
        ),
    ]
    (folder / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(b"".join(map(encode, records)))
    Loader(folder, storage).load_all()
    return EventEnricher(Queries(storage))


def told(enricher: EventEnricher, **more: object) -> EventLink:
    fields = {
        "workspace": "default",
        "newsletter": KEY,
        "message": new_id().hex(),
        "at": AT / 1000,
        "kind": "click",
        "recipient": 7,
        "verdict": "human",
        "segment": str(uuid.uuid4()),
        "line": 0,
        **more,
    }
    row = Row(**fields)  # type: ignore[arg-type]
    (event,) = enricher.enrich([Event("evt_1", "message.clicked", row, Cursor(1, 1))])
    assert event.link
    return event.link


@pytest.mark.parametrize("label", list(LABELS))
def test_label_and_topics_are_those_of_that_mail(enricher: EventEnricher, label: str) -> None:
    detail = identity.detail(label, LABELS[label])
    url = "https://shop.example/boots?utm_source=mail"
    link = told(enricher, link_key=BOOTS.link, detail=detail, position=3, url=url)
    assert link == EventLink(identity.shown_id(BOOTS.link), "", label, url, 3, list(LABELS[label]))


def test_without_its_own_label_the_latest_is_told(enricher: EventEnricher) -> None:
    link = told(enricher, link_key=BOOTS.link, position=0, url="")
    assert (link.label, link.url) == ("Shop now", BOOTS.url)


def test_a_click_that_version_0_1_put_into_the_feed_has_the_link_of_its_place(
    enricher: EventEnricher,
) -> None:
    link = told(enricher, link=7)
    assert link.url == "https://shop.example/help" and link.position == 7
    assert link.id == identity.shown_id(identity.identify(link.url).link)
    assert (link.label, link.tags) == ("Help", ["help"])


def test_a_link_that_nothing_is_known_of_is_told_by_what_the_hit_says(
    enricher: EventEnricher,
) -> None:
    link = told(enricher, link_key=99, position=1, url="https://x.example/")
    assert link == EventLink(identity.shown_id(99), "", "", "https://x.example/", 1, [])


def test_a_segment_from_before_a_migration_is_not_counted_again(
    storage: Storage, tmp_path: Path
) -> None:
    """The roll-ups that a migration builds have the segment's hits, but no memory of its insert."""
    key = newsletter_key("default", "before the migration")
    message = new_id(AT).hex()
    lines = encode(Message(AT, "default", key, message, 7, "a@example.com")) + encode(
        Hit("click", AT, "default", key, message, 7, 0, "https://shop.example/x")
    )
    path = tmp_path / f"{uuid.UUID(bytes=new_id(AT))}.seg"

    def counted() -> int:
        sql = "SELECT sum(human + machine) AS n FROM clicks_by_link WHERE newsletter = {n:UInt64}"
        return int(storage.query(sql, {"n": key})[0]["n"])

    loader = Loader(tmp_path, storage)
    path.write_bytes(lines)
    loader.load(path)
    assert counted() == 1
    forget = "ALTER TABLE clicks_by_link MODIFY SETTING non_replicated_deduplication_window = "
    with storage.reader() as client:
        client.command(f"{forget}0")
        client.command(f"{forget}10000")
    loader._migrated_at = AT / 1000 + 1
    path.write_bytes(lines)  # its acknowledgement was lost
    assert loader.load(path) == 2
    assert counted() == 1 and not path.exists()
    other = tmp_path / f"{uuid.UUID(bytes=new_id(AT))}.seg"
    other.write_bytes(lines)  # as old, but not inserted yet
    loader.load(other)
    assert counted() == 2


def test_erasing_finds_the_links_that_only_one_person_was_sent(
    storage: Storage, tmp_path: Path
) -> None:
    key, who = newsletter_key("default", "own links"), 9_000_001
    own, shared, plain = (
        identity.identify(f"https://shop.example/{path}")
        for path in ("parcel/4711", "parcel/4712", "boots")
    )
    assert own.family == shared.family != own.link
    message = new_id(AT).hex()
    records: list[Carried | Hit] = [
        Carried(AT, "default", key, (own.link, own.family, plain.link), 1),
        Carried(AT, "default", key, (shared.link, shared.family), 2),
        *(
            Hit("click", AT, "default", key, message, who, 0, found.url, link=found.link)
            for found in (own, shared, plain)
        ),
    ]
    path = tmp_path / f"{uuid.UUID(bytes=new_id())}.seg"
    path.write_bytes(b"".join(map(encode, records)))
    Loader(tmp_path, storage).load(path)
    rows = storage.query(sql("erase_own_links"), {"workspace": "default", "recipients": [who]})
    assert [(row["newsletter"], row["link_key"]) for row in rows] == [(key, own.link)]
