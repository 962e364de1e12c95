"""Segments: recipients selected by the messages they were sent and what they did with them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.postgresql import insert

from app.model.errors import FieldError, NotFoundError
from app.schemas.segments import Segment
from app.stats.queries import Queries, clicked
from app.storage.clickhouse import Row
from app.storage.row_limits import limit_reached
from app.storage.tables import saved_segments

EVERYBODY = 2**63
MAX_SEGMENTS = 1_000  # saved ones of a workspace
# Filters on a clicked link by their names in Queries.
LINKED = {
    "link": "clicked_link",
    "link_name": "clicked_name",
    "label": "clicked_label",
    "url": "clicked_url",
    "host": "clicked_host",
    "path": "clicked_path",
}
NAMED = (
    "newsletter",
    "opened",
    "clicked",
    "not_opened",
    "not_clicked",
    "bounced",
    "not_delivered",
)


class SavedSegments:
    """The saved segments of one workspace, by name; each use evaluates them again. Blocking."""

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace

    def put(self, name: str, segment: Segment) -> None:
        """Save a segment under a name, replacing one that has it. Raises FieldError."""
        content = msgspec.json.encode(segment)
        values = {"workspace": self._workspace, "name": name, "segment": content}
        table = saved_segments.c
        with self._engine.begin() as connection:
            others = table.name != name
            if problem := limit_reached(
                connection, saved_segments, self._workspace, MAX_SEGMENTS, others
            ):
                raise FieldError("name", f"no further segment can be saved: {problem}")
            connection.execute(
                insert(saved_segments)
                .values(values)
                .on_conflict_do_update(
                    index_elements=["workspace", "name"], set_={"segment": content}
                )
            )

    def all(self) -> dict[str, Segment]:
        """Returns all saved segments, sorted by name."""
        table = saved_segments.c
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.name, table.segment)
                .where(table.workspace == self._workspace)
                .order_by(table.name)
            )
            return {row.name: msgspec.json.decode(row.segment, type=Segment) for row in rows}

    def get(self, name: str) -> Segment:
        """Returns a saved segment. Raises NotFoundError."""
        segment = self.all().get(name)
        if segment is None:
            raise NotFoundError("name", f"there is no saved segment {name!r}")
        return segment

    def remove(self, name: str) -> None:
        """Delete a saved segment; does nothing if there is none of that name."""
        table = saved_segments.c
        with self._engine.begin() as connection:
            connection.execute(
                delete(saved_segments).where(table.workspace == self._workspace, table.name == name)
            )


def chunks(
    queries: Queries, segment: Segment, form: str = "JSONEachRow", neutral: bool = False
) -> Iterator[bytes]:
    """Yields a segment's recipients, sorted by email address, in one of ClickHouse's formats.

    With `neutral` no text begins like a spreadsheet's formula (OWASP, "CSV Injection"). Raises
    StorageError.
    """
    return queries.stream("segment", form, **_parameters(queries, segment, EVERYBODY, neutral))


def first(queries: Queries, segment: Segment, limit: int) -> Sequence[Row]:
    """Returns a segment's first recipients, sorted by email address."""
    return queries.run("segment", **_parameters(queries, segment, limit))


def _parameters(
    queries: Queries, segment: Segment, limit: int, neutral: bool = False
) -> Mapping[str, Any]:
    keys = {
        name: queries.key(newsletter_id) if (newsletter_id := getattr(segment, name)) else 0
        for name in NAMED
    }
    since = int(segment.since.timestamp() * 1000) if segment.since else 0
    link = {part: value for part, name in LINKED.items() if (value := getattr(segment, name))}
    return {
        **clicked(link),
        "linked": int(bool(link or segment.clicked_tag)),
        **keys,
        "newsletters": [keys["bounced"], keys["not_delivered"]],
        "tags": list(segment.clicked_tag),
        "since_ms": since,
        "unsettled": queries.unsettled(),
        "limit": limit,
        "neutral": int(neutral),
    }
