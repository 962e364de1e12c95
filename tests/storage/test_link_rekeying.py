"""Links of version 0.1 get the keys of their URLs, as a migration has it."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clickhouse_connect.driver.client import Client

from app.links import identity, masking
from app.storage import link_rekeying
from app.storage.clickhouse_migrations import _STEPS
from app.storage.link_rekeying import rekey_links


@dataclass
class Database:
    """Rows of `links`, None where there is no such table, and what it is told to do."""

    rows: list[tuple[Any, ...]] | None
    inserted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    def query(self, sql: str) -> Any:
        if "system.tables" in sql:
            return SimpleNamespace(result_rows=[(int(self.rows is not None),)])
        return SimpleNamespace(result_rows=self.rows)

    def insert(self, table: str, rows: Any, column_names: Any) -> None:
        self.inserted.setdefault(table, []).extend(
            dict(zip(column_names, row, strict=True)) for row in rows
        )

    def command(self, sql: str, settings: dict[str, int]) -> None:
        assert settings["mutations_sync"] == 2  # it is done when the call returns
        self.commands.append(" ".join(sql.split()))


def rekeyed(rows: list[tuple[Any, ...]] | None, on: str = "") -> Database:
    database = Database(rows)
    rekey_links(cast(Client, database), on)
    return database


def row(place: int, url: str, label: str = "", tags: tuple[str, ...] = ()) -> tuple[Any, ...]:
    return "default", 7, place, url, label, tags, 5, 1000 + place


def test_a_link_gets_the_key_of_its_url() -> None:
    url = "https://shop.example/boots"
    found = identity.identify_shown(url)
    database = rekeyed([row(3, url, "Boots", ("shoes",))])
    (link,) = database.inserted["newsletter_links"]
    assert (link["link_key"], link["family"], link["url"]) == (found.link, found.family, url)
    assert (link["label"], link["tags"], link["is_family"], link["at"]) == (
        "Boots",
        ("shoes",),
        0,
        5,
    )
    (place,) = database.inserted["link_places"]
    assert (place["link_key"], place["position"]) == (found.link, 3)
    update, rest = database.commands
    assert f"[1003], [{found.link}]" in update and f"[{found.family}]" in update
    assert str(identity.detail("Boots", ("shoes",))) in update
    assert "link_key = cityHash64(workspace, newsletter, position)" in rest


def test_a_personal_link_brings_its_family() -> None:
    url = "https://shop.example/orders/1234567/track"
    found = identity.identify_shown(url)
    assert found.family != found.link
    links = rekeyed([row(0, url)]).inserted["newsletter_links"]
    assert [(link["link_key"], link["url"], link["is_family"]) for link in links] == [
        (found.link, found.url, 0),
        (found.family, found.template, 1),
    ]


def test_no_secret_of_a_url_or_label_is_written() -> None:
    secret = "8f3a9c77d1"
    database = rekeyed([row(0, f"https://h.example/reset/{secret}", f"See /reset/{secret}")])
    assert masking.MASK in str(database.inserted)
    assert secret not in str(database.inserted) + str(database.commands)


def test_many_places_are_updated_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_rekeying, "PLACES", 2)
    database = rekeyed([row(place, f"https://h.example/{place}") for place in range(5)])
    *updates, _ = database.commands
    assert ["[1000, 1001]" in updates[0], "[1002, 1003]" in updates[1]] == [True, True]
    assert "[1004]" in updates[2] and len(updates) == 3
    assert {place["position"] for place in database.inserted["link_places"]} == set(range(5))


@pytest.mark.parametrize("rows", [None, []])
def test_without_known_links_clicks_get_keys_of_their_places(rows: Any) -> None:
    database = rekeyed(rows)
    assert database.inserted == {} and len(database.commands) == 1


def test_a_cluster_is_told_as_a_whole() -> None:
    commands = rekeyed([row(0, "https://h.example/")], "ON CLUSTER c").commands
    assert all(command.startswith("ALTER TABLE hits ON CLUSTER c UPDATE") for command in commands)
    assert all("{" not in command for command in commands)
    assert _STEPS["rekey_links"] is rekey_links
