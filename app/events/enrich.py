"""Events as mailers get them: keys become ids, addresses and links.

The event stream and webhooks give the same object. Names come from ClickHouse, so what is told
waits while that is away; what was erased there is told as null.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.events.feed import Event, Row
from app.links import identity
from app.schemas.events import (
    EventLink,
    EventOut,
)
from app.stats.queries import Queries

CACHE_SECONDS = 60.0  # seconds for which ids and links are kept in memory
BATCH_MESSAGES = 5_000  # messages in one question


class Known(NamedTuple):
    """What is recorded of a link under one label."""

    url: str = ""
    name: str = ""
    label: str = ""
    tags: tuple[str, ...] = ()


class EventEnricher:
    """Looks names up. Blocking; raises StorageError while ClickHouse is away."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._learnt = 0.0
        self._ids: dict[int, str] = {}
        self._links: dict[tuple[int, int], dict[int, Known]] = {}
        self._places: dict[tuple[int, int], int] = {}

    def enrich(self, events: Sequence[Event]) -> list[EventOut]:
        """In the same order."""
        self._learn(events)
        messages = self._messages(events)
        own = [messages.get(str(uuid.UUID(event.row.message)), {}) for event in events]
        return [
            EventOut(
                id=event.id,
                type=event.type,
                newsletter_id=self._ids.get(event.row.newsletter, ""),
                message_id="" if event.row.outcome else str(uuid.UUID(event.row.message)),
                recipient=message.get("address"),
                occurred_at=datetime.fromtimestamp(event.row.at, UTC),
                verdict=event.row.verdict,
                reasons=list(event.row.reasons),
                link=self._link(event.row) if event.row.kind == "click" else None,
                metadata=dict(message.get("metadata", {})),
                rfc_message_id=message.get("rfc_message_id") or None,
                cursor=str(event.cursor),
                previous_verdict=event.before,
                variant=self._queries.variant(event.row.newsletter, event.row.variant),
                experiment=event.row.outcome,
            )
            for event, message in zip(events, own, strict=True)
        ]

    def _link(self, row: Row) -> EventLink:
        key = self._key(row)
        known = self._links.get((row.newsletter, key), {})
        found = known.get(row.detail) if row.detail else None
        if found is None:  # its own label is not known: the latest
            latest = list(reversed(known.values())) or [Known()]
            found = next((one for one in latest if one.label or one.tags), latest[0])
        return EventLink(
            identity.shown_id(key),
            found.name,
            found.label,
            row.url or found.url,
            row.place,
            list(found.tags),
        )

    def _key(self, row: Row) -> int:
        return row.link_key or self._places.get((row.newsletter, row.place), 0)

    def _learn(self, events: Iterable[Event]) -> None:
        if time.monotonic() - self._learnt > CACHE_SECONDS:
            self._learnt = time.monotonic()
            self._ids.clear()
            self._links.clear()
            self._places.clear()
        rows = [event.row for event in events]
        clicks = [row for row in rows if row.kind == "click"]
        unnamed = {row.newsletter for row in rows} - set(self._ids)
        if unnamed:
            for found in self._ask("event_newsletters", newsletters=sorted(unnamed)):
                self._ids[found["newsletter"]] = found["id"]
        placed = {(row.newsletter, row.place) for row in clicks if not row.link_key}
        if placed := placed - set(self._places):  # clicks that version 0.1 put into the feed
            newsletters, positions = map(sorted, map(set, zip(*placed, strict=True)))
            for found in self._ask("event_places", newsletters=newsletters, positions=positions):
                self._places[found["newsletter"], found["position"]] = found["link_key"]
        details = {(row.newsletter, self._key(row), row.detail) for row in clicks}
        unknown = {
            (newsletter, key)
            for newsletter, key, detail in details
            if detail not in self._links.get((newsletter, key), {})
        }
        if unknown:
            newsletters, keys = map(sorted, map(set, zip(*unknown, strict=True)))
            for found in self._ask("event_links", newsletters=newsletters, links=keys):
                known = Known(found["url"], found["name"], found["label"], tuple(found["tags"]))
                place = found["newsletter"], found["link_key"]
                self._links.setdefault(place, {})[found["detail"]] = known

    def _messages(self, events: Sequence[Event]) -> dict[str, dict[str, Any]]:
        """Address, metadata and Message-ID by message id."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(events), BATCH_MESSAGES):
            rows = [event.row for event in events[start : start + BATCH_MESSAGES]]
            answer = self._ask(
                "event_recipients",
                newsletters=sorted({row.newsletter for row in rows}),
                messages=sorted({row.message for row in rows}),
            )
            found |= {row["id"]: row for row in answer}
        return found

    def _ask(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._queries.run(name, **parameters)
