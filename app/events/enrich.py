"""Turns events of the feed into what mailers get: ids, email addresses and links for keys.

The event stream and webhooks send the same object. Names come from ClickHouse, so events wait while
it is unavailable. What was erased there is sent as null.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from app.events.feed import Event, Row
from app.links import identity
from app.schemas.events import (
    EventLink,
    EventOut,
)
from app.schemas.outcomes import EventOutcome
from app.schemas.timestamps import timestamp
from app.stats.queries import Queries

CACHE_SECONDS = 60.0  # seconds for which ids and links are kept in memory
BATCH_MESSAGES = 5_000  # messages in one query


class Known(NamedTuple):
    """What is recorded of a link under one label."""

    url: str = ""
    name: str = ""
    label: str = ""
    tags: tuple[str, ...] = ()


class EventEnricher:
    """Looks up names. Blocking; raises StorageError while ClickHouse is unavailable."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._learnt = 0.0
        self._ids: dict[int, str] = {}
        self._links: dict[tuple[int, int], dict[int, Known]] = {}
        self._places: dict[tuple[int, int], int] = {}

    def enrich(self, events: Sequence[Event]) -> list[EventOut]:
        """Returns the events as mailers get them, in the same order."""
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
                occurred_at=timestamp(event.row.at),
                verdict=event.row.verdict,
                reasons=list(event.row.reasons),
                link=self._link(event.row) if event.row.kind == "click" else None,
                metadata=dict(message.get("metadata", {})),
                rfc_message_id=message.get("rfc_message_id") or None,
                cursor=str(event.cursor),
                previous_verdict=event.before,
                variant=self._queries.variant(event.row.newsletter, event.row.variant),
                experiment=event.row.outcome,
                outcome=_outcome(event.row) if event.row.event else None,
            )
            for event, message in zip(events, own, strict=True)
        ]

    def _link(self, row: Row) -> EventLink:
        key = self._key(row)
        by_detail = self._links.get((row.newsletter, key), {})
        known = by_detail.get(row.detail) if row.detail else None
        if known is None:  # its own label is unknown: use the latest
            latest = list(reversed(by_detail.values())) or [Known()]
            known = next((entry for entry in latest if entry.label or entry.tags), latest[0])
        return EventLink(
            identity.shown_id(key),
            known.name,
            known.label,
            row.url or known.url,
            row.place,
            list(known.tags),
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
            for row in self._ask("event_newsletters", newsletters=sorted(unnamed)):
                self._ids[row["newsletter"]] = row["id"]
        placed = {(row.newsletter, row.place) for row in clicks if not row.link_key}
        if placed := placed - set(self._places):  # clicks that version 0.1 put into the feed
            newsletters, positions = map(sorted, map(set, zip(*placed, strict=True)))
            for row in self._ask("event_places", newsletters=newsletters, positions=positions):
                self._places[row["newsletter"], row["position"]] = row["link_key"]
        details = {(row.newsletter, self._key(row), row.detail) for row in clicks}
        unknown = {
            (newsletter, key)
            for newsletter, key, detail in details
            if detail not in self._links.get((newsletter, key), {})
        }
        if unknown:
            newsletters, keys = map(sorted, map(set, zip(*unknown, strict=True)))
            for row in self._ask("event_links", newsletters=newsletters, links=keys):
                known = Known(row["url"], row["name"], row["label"], tuple(row["tags"]))
                place = row["newsletter"], row["link_key"]
                self._links.setdefault(place, {})[row["detail"]] = known

    def _messages(self, events: Sequence[Event]) -> dict[str, dict[str, Any]]:
        """Returns email address, metadata and Message-ID by message id."""
        messages: dict[str, dict[str, Any]] = {}
        for start in range(0, len(events), BATCH_MESSAGES):
            rows = [event.row for event in events[start : start + BATCH_MESSAGES]]
            answer = self._ask(
                "event_recipients",
                newsletters=sorted({row.newsletter for row in rows}),
                messages=sorted({row.message for row in rows}),
            )
            messages |= {row["id"]: row for row in answer}
        return messages

    def _ask(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._queries.run(name, **parameters)


def _outcome(row: Row) -> EventOutcome:
    permanent = bool(row.permanent) if row.kind == "bounced" else None
    return EventOutcome(permanent, row.code, row.text, row.provider)
