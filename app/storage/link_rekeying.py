"""Steps of migrations that SQL alone cannot take: `{python:name}` in a migration's file.

Each may be cut off anywhere and begun again.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from app.links import identity, masking

PLACES = 4_000  # in one mutation, which must fit into a node of Keeper (1 MB)
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
_EXISTS = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'links'"
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
# Clicks at places that nothing is known of keep a key of their own.
_REST = f"""
ALTER TABLE hits {{cluster}}
UPDATE link_key = {_PLACE}, family = {_PLACE}
WHERE kind = 'click' AND link_key = 0
"""
_WAITING = {"mutations_sync": 2, "max_query_size": 2_000_000}


class _Keyed(NamedTuple):
    """A place of version 0.1 and what it leads to."""

    place: int
    link: int
    family: int
    detail: int


def rekey_links(client: Client, on: str) -> None:
    """Give links and clicks of version 0.1, known by their places, the keys of their URLs.

    `on` is the ON CLUSTER clause, if any.
    """
    known = (
        "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'links'"
    )
    if int(client.query(known).result_rows[0][0]):
        rows = iter(client.query(_SELECT).result_rows)
        while batch := list(islice(rows, PLACES)):
            _update(client, on, list(_record(client, batch)))
    client.command(_REST.replace("{cluster}", on), settings=_WAITING)


def _record(client: Client, batch: Sequence[Sequence[object]]) -> Iterator[_Keyed]:
    links: list[Sequence[object]] = []
    places: list[Sequence[object]] = []
    for workspace, newsletter, position, url, shown_label, tags, at, place in batch:
        found = identity.identify_shown(str(url))
        label = masking.mask_text(str(shown_label))
        detail = identity.detail(label, tuple(tags))  # type: ignore[arg-type]
        for key, shown, is_family in _shown(found):
            links.append(
                (
                    workspace,
                    newsletter,
                    key,
                    detail,
                    found.family,
                    is_family,
                    shown,
                    "",
                    label,
                    tags,
                    at,
                )
            )
            places.append((workspace, newsletter, key, position, at))
        yield _Keyed(int(str(place)), found.link, found.family, detail)
    for (table, columns), rows in ((_LINKS, links), (_PLACES, places)):
        client.insert(table, rows, column_names=columns)


def _shown(found: identity.Identity) -> Iterator[tuple[int, str, int]]:
    yield found.link, found.url, 0
    if found.family != found.link:
        yield found.family, found.template, 1


def _update(client: Client, on: str, keyed: Sequence[_Keyed]) -> None:
    columns = zip(*keyed, strict=True)
    names = ("{places}", "{links}", "{families}", "{details}")
    sql = _UPDATE.replace("{cluster}", on)
    for name, values in zip(names, columns, strict=True):
        sql = sql.replace(name, f"[{', '.join(map(str, values))}]")
    client.command(sql, settings=_WAITING)


STEPS = {"rekey_links": rekey_links}
