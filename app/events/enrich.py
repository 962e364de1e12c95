"""Events as mailers get them: keys become ids, addresses and links.

The event stream and webhooks give the same object. Names come from ClickHouse, so what is told
waits while that is away; what was erased there is told as null.
"""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from app.events.feed import Event, Row
from app.links import identity
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.experiments import Outcome
from app.stats.queries import Queries

REMEMBERED = 60.0  # seconds for which ids and links are kept in memory
ASKED = 5_000  # messages in one question


class LinkTold(Struct, frozen=True):
    """The link that was clicked, as it was in that very mail; `id` is that of its statistics.

    Secrets in the URL are masked. `position` counts the links of the mail from 0.
    """

    id: str
    name: str
    label: str
    url: str
    position: int
    tags: list[str]


class Told(Struct, frozen=True, omit_defaults=True):
    """One event. `recipient` is null where its address is not known any more; `metadata` and
    `rfc_message_id` are what the mailer has given with the message, known as long as the address.

    `previous_verdict` stands in event.reclassified only; `experiment` in experiment.decided, which
    is of no message and has no verdict. `cursor` goes on after this event.
    """

    id: str
    type: str
    newsletter_id: str
    message_id: str
    recipient: str | None
    occurred_at: datetime
    verdict: str
    reasons: list[str]
    link: LinkTold | None
    metadata: dict[str, str]
    rfc_message_id: str | None
    cursor: str
    previous_verdict: str = ""
    variant: str = ""
    experiment: Outcome | None = None


class Wanted(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which events; what is empty asks for all.

    Of verdicts, human and machine stand for all those of people and of machines. Links are given by
    their ids or, as in version 0.1, by their places; `urls` are prefixes, `hosts` cover their
    subdomains, in `paths` a * stands for anything.
    """

    newsletters: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    links: tuple[int | str, ...] = ()
    labels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def takes(self, told: Told) -> bool:
        """Whether the event is asked for. What is asked of links asks for clicks."""
        return (
            (not self.newsletters or told.newsletter_id in self.newsletters)
            and (not self.types or told.type in self.types)
            and (not self.verdicts or told.verdict in verdicts(self.verdicts))
            and (not self.of_links or (told.link is not None and self._follows(told.link)))
        )

    @property
    def of_links(self) -> bool:
        """Whether anything is asked of links, besides their ids."""
        return any((self.labels, self.tags, self.names, self.urls, self.hosts, self.paths))

    def _follows(self, link: LinkTold) -> bool:
        parts = urlsplit(link.url)
        host = f".{parts.hostname or ''}"
        return (
            (not self.labels or link.label in self.labels)
            and (not self.tags or not set(link.tags).isdisjoint(self.tags))
            and (not self.names or link.name in self.names)
            and (not self.urls or link.url.startswith(self.urls))
            and (not self.hosts or any(host.endswith(f".{one.lower()}") for one in self.hosts))
            and (not self.paths or any(_fits(one, parts.path) for one in self.paths))
        )

    def may_take(self, event: Event, queries: Queries) -> bool:
        """The same as far as it can be said before anything is looked up."""
        row = event.row
        return (
            (not self.types or event.type in self.types)
            and (not self.verdicts or row.verdict in verdicts(self.verdicts))
            and (not self.links or (row.kind == "click" and self._is_of(row)))
            and (
                not self.newsletters
                or row.newsletter in {queries.key(one) for one in self.newsletters}
            )
        )

    def _is_of(self, row: Row) -> bool:
        keys = {identity.read_id(one) for one in self.links if isinstance(one, str)}
        return row.place in self.links or row.link_key in keys or row.family in keys


def _fits(pattern: str, text: str) -> bool:
    """Whether the pieces between the pattern's stars come in order."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return len(text) - at >= len(rest[-1]) and text.endswith(rest[-1])


def verdicts(names: Iterable[str]) -> set[str]:
    """With `human` and `machine` spelt out."""
    groups: Mapping[str, Sequence[str]] = {"human": HUMAN, "machine": MACHINE}
    return {verdict for name in names for verdict in groups.get(name, (name,))}


class Known(NamedTuple):
    """What is recorded of a link under one label."""

    url: str = ""
    name: str = ""
    label: str = ""
    tags: tuple[str, ...] = ()


class Teller:
    """Looks names up. Blocking; raises StorageError while ClickHouse is away."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._learnt = 0.0
        self._ids: dict[int, str] = {}
        self._links: dict[tuple[int, int], dict[int, Known]] = {}
        self._places: dict[tuple[int, int], int] = {}

    def tell(self, events: Sequence[Event]) -> list[Told]:
        """In the same order."""
        self._learn(events)
        messages = self._messages(events)
        own = [messages.get(str(uuid.UUID(event.row.message)), {}) for event in events]
        return [
            Told(
                event.id,
                event.type,
                self._ids.get(event.row.newsletter, ""),
                "" if event.row.outcome else str(uuid.UUID(event.row.message)),
                message.get("address"),
                datetime.fromtimestamp(event.row.at, UTC),
                event.row.verdict,
                list(event.row.reasons),
                self._link(event.row) if event.row.kind == "click" else None,
                dict(message.get("metadata", {})),
                message.get("rfc_message_id") or None,
                str(event.cursor),
                event.before,
                self._queries.variant(event.row.newsletter, event.row.variant),
                event.row.outcome,
            )
            for event, message in zip(events, own, strict=True)
        ]

    def _link(self, row: Row) -> LinkTold:
        key = self._key(row)
        known = self._links.get((row.newsletter, key), {})
        found = known.get(row.detail) if row.detail else None
        if found is None:  # its own label is not known: the latest
            latest = list(reversed(known.values())) or [Known()]
            found = next((one for one in latest if one.label or one.tags), latest[0])
        return LinkTold(
            identity.shown_id(key), found.name, found.label, row.url or found.url, row.place,
            list(found.tags),
        )  # fmt: skip

    def _key(self, row: Row) -> int:
        return row.link_key or self._places.get((row.newsletter, row.place), 0)

    def _learn(self, events: Iterable[Event]) -> None:
        if time.monotonic() - self._learnt > REMEMBERED:
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
        for start in range(0, len(events), ASKED):
            rows = [event.row for event in events[start : start + ASKED]]
            answer = self._ask(
                "event_recipients",
                newsletters=sorted({row.newsletter for row in rows}),
                messages=sorted({row.message for row in rows}),
            )
            found |= {row["id"]: row for row in answer}
        return found

    def _ask(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._queries.run(name, **parameters)
