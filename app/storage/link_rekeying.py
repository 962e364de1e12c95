"""Migration steps that need Python: `{python:name}` in a migration's file.

Each may be interrupted anywhere and run again.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from app.links import identity, masking

PLACES = 4_000  # in one mutation, which must fit into a node of ClickHouse Keeper (1 MB)
_LINKS = (
    "newsletter_links",
    (
        "workspace",
        "newsletter",
        "link_key",
        "detail",
        "family",
        "is_family",
        "url",
        "name",
        "label",
        "tags",
        "at",
    ),
)
_PLACES = "link_places", ("workspace", "newsletter", "link_key", "position", "at")
_OLD_TABLES = (
    "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'links'"
)
_SELECT = """
SELECT
    workspace, newsletter, link, url, label, tags, at,
    cityHash64(workspace, newsletter, link) AS place
FROM links FINAL ORDER BY workspace, newsletter, link
"""
_PLACE = "cityHash64(workspace, newsletter, position)"
_UPDATE = f"""
ALTER TABLE hits {{cluster}}
UPDATE
    link_key = transform({_PLACE}, {{places}}, {{links}}, toUInt64(0)),
    family = transform({_PLACE}, {{places}}, {{families}}, toUInt64(0)),
    detail = transform({_PLACE}, {{places}}, {{details}}, toUInt32(0))
WHERE kind = 'click' AND link_key = 0 AND {_PLACE} IN {{places}}
"""
# Clicks at places without a recorded link get a key of their own.
_UPDATE_UNKNOWN = f"""
ALTER TABLE hits {{cluster}}
UPDATE link_key = {_PLACE}, family = {_PLACE}
WHERE kind = 'click' AND link_key = 0
"""
_SYNCHRONOUS = {"mutations_sync": 2, "max_query_size": 2_000_000}


class _Keyed(NamedTuple):
    """A link's place as version 0.1 recorded it, with the keys of its URL."""

    place: int
    link: int
    family: int
    detail: int


def rekey_links(client: Client, on: str) -> None:
    """Give links and clicks of version 0.1, which has them by place, the keys of their URLs.

    `on` is the ON CLUSTER clause, if any.
    """
    if int(client.query(_OLD_TABLES).result_rows[0][0]):
        rows = iter(client.query(_SELECT).result_rows)
        while batch := list(islice(rows, PLACES)):
            _update(client, on, list(_record(client, batch)))
    client.command(_UPDATE_UNKNOWN.replace("{cluster}", on), settings=_SYNCHRONOUS)


def _record(client: Client, batch: Sequence[Sequence[object]]) -> Iterator[_Keyed]:
    links: list[Sequence[object]] = []
    places: list[Sequence[object]] = []
    for workspace, newsletter, position, url, shown_label, tags, at, place in batch:
        link = identity.identify_shown(str(url))
        label = masking.mask_text(str(shown_label))
        detail = identity.detail(label, tuple(tags))  # type: ignore[arg-type]
        for key, shown, is_family in _shown(link):
            links.append(
                (
                    workspace,
                    newsletter,
                    key,
                    detail,
                    link.family,
                    is_family,
                    shown,
                    "",
                    label,
                    tags,
                    at,
                )
            )
            places.append((workspace, newsletter, key, position, at))
        yield _Keyed(int(str(place)), link.link, link.family, detail)
    for (table, columns), rows in ((_LINKS, links), (_PLACES, places)):
        client.insert(table, rows, column_names=columns)


def _shown(link: identity.Identity) -> Iterator[tuple[int, str, int]]:
    yield link.link, link.url, 0
    if link.family != link.link:
        yield link.family, link.template, 1


def _update(client: Client, on: str, keyed: Sequence[_Keyed]) -> None:
    columns = zip(*keyed, strict=True)
    names = ("{places}", "{links}", "{families}", "{details}")
    sql = _UPDATE.replace("{cluster}", on)
    for name, values in zip(names, columns, strict=True):
        sql = sql.replace(name, f"[{', '.join(map(str, values))}]")
    client.command(sql, settings=_SYNCHRONOUS)
