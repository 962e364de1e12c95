"""What gives persons away in what is kept outside ClickHouse, and where that is found."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from sqlalchemy import Engine, Row, select

from app.model.ids import recipient_key
from app.storage.tables import deliveries, webhooks

PAGE = 500  # deliveries looked at together


class SubjectMatcher(NamedTuple):
    """What gives persons of one workspace away: their keys, and their addresses in any text."""

    workspace: str
    keys: frozenset[int]
    addresses: tuple[str, ...]  # small letters
    secret: str  # of the workspace's recipient keys

    @property
    def names(self) -> re.Pattern[bytes]:
        """Matches text that holds an address, as it is or percent-encoded."""
        spelt = {form.encode() for one in self.addresses if one for form in (one, quote(one))}
        return re.compile(b"|".join(map(re.escape, sorted(spelt))) or b"(?!)", re.IGNORECASE)

    @property
    def words(self) -> re.Pattern[bytes]:
        """Matches text that holds an address or a key."""
        keys = [rb"(?<!\d)%d(?!\d)" % key for key in sorted(self.keys)]
        return re.compile(b"|".join([self.names.pattern, *keys]), re.IGNORECASE)


def deliveries_of(engine: Engine, marks: SubjectMatcher) -> Iterator[Row[Any]]:
    """Rows of deliveries, with `url`, that tell or told a webhook about them."""
    table, names = deliveries.c, marks.names
    for first in numbers(engine, table.id, PAGE):
        with engine.connect() as connection:
            rows = connection.execute(
                select(deliveries, webhooks.c.url)
                .join(webhooks, webhooks.c.id == table.webhook)
                .where(webhooks.c.workspace == marks.workspace, table.state != "erased")
                .where(table.id >= first, table.id < first + PAGE)
                .order_by(table.id)
            ).fetchall()
        for row in rows:
            if names.search(row.body) or _tells(msgspec.json.decode(row.body), marks):
                yield row


def _tells(body: Mapping[str, Any], marks: SubjectMatcher) -> bool:
    """However the address is spelt."""
    told = body.get("data", {}).get("recipient")
    return bool(told) and recipient_key(marks.secret, marks.workspace, told) in marks.keys


def numbers(engine: Engine, column: Any, step: int = 1) -> Iterator[int]:
    """A table's numbers, or only each first of `step`, without holding the table meanwhile."""
    last = -1
    while True:
        with engine.connect() as connection:
            found = connection.execute(
                select(column).where(column > last).order_by(column).limit(1)
            ).scalar()
        if found is None:
            return
        yield found
        last = found + step - 1
