"""Events as mailers get them: keys become ids, addresses and links.

The event stream and webhooks give the same object. Names come from ClickHouse, so what is told
waits while that is away; what was erased there is told as null.
"""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from app.classify import HUMAN, MACHINE
from app.feed import Event
from app.queries import Queries

REMEMBERED = 60.0  # seconds for which ids and links are kept in memory
ASKED = 5_000  # messages in one question


class LinkTold(Struct, frozen=True):
    """The link that was clicked."""

    index: int
    url: str
    label: str
    tags: list[str]


class Told(Struct, frozen=True, omit_defaults=True):
    """One event. `recipient` is null where its address is not known any more; `metadata` and
    `rfc_message_id` are what the mailer has given with the message, known as long as the address.

    `previous_verdict` stands in event.reclassified only. `cursor` goes on after this event.
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


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """Which events; what is empty asks for all.

    Of verdicts, human and machine stand for all those of people and of machines.
    """

    newsletters: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    links: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def takes(self, told: Told) -> bool:
        """Whether the event is asked for. Link, label and tag ask for clicks."""
        link = told.link
        return (
            (not self.newsletters or told.newsletter_id in self.newsletters)
            and (not self.types or told.type in self.types)
            and (not self.verdicts or told.verdict in verdicts(self.verdicts))
            and (not self.links or (link is not None and link.index in self.links))
            and (not self.labels or (link is not None and link.label in self.labels))
            and (not self.tags or (link is not None and not set(link.tags).isdisjoint(self.tags)))
        )

    def may_take(self, event: Event, queries: Queries) -> bool:
        """The same as far as it can be said before anything is looked up."""
        return (
            (not self.types or event.type in self.types)
            and (not self.verdicts or event.row.verdict in verdicts(self.verdicts))
            and (not self.links or event.row.link in self.links)
            and (
                not self.newsletters
                or event.row.newsletter in {queries.key(one) for one in self.newsletters}
            )
        )


def verdicts(names: Iterable[str]) -> set[str]:
    """With `human` and `machine` spelt out."""
    groups: Mapping[str, Sequence[str]] = {"human": HUMAN, "machine": MACHINE}
    return {verdict for name in names for verdict in groups.get(name, (name,))}


class Teller:
    """Looks names up. Blocking; raises StorageError while ClickHouse is away."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._learnt = 0.0
        self._ids: dict[int, str] = {}
        self._links: dict[tuple[int, int], LinkTold] = {}

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
                str(uuid.UUID(event.row.message)),
                message.get("address"),
                datetime.fromtimestamp(event.row.at, UTC),
                event.row.verdict,
                list(event.row.reasons),
                self._links.get((event.row.newsletter, event.row.link))
                if event.row.link >= 0
                else None,
                dict(message.get("metadata", {})),
                message.get("rfc_message_id") or None,
                str(event.cursor),
                event.before,
            )
            for event, message in zip(events, own, strict=True)
        ]

    def _learn(self, events: Iterable[Event]) -> None:
        """A link that is not known makes all of its newsletter's be asked."""
        if time.monotonic() - self._learnt > REMEMBERED:
            self._learnt = time.monotonic()
            self._ids.clear()
            self._links.clear()
        rows = [event.row for event in events]
        unnamed = {row.newsletter for row in rows} - set(self._ids)
        unlinked = {
            row.newsletter for row in rows
            if row.link >= 0 and (row.newsletter, row.link) not in self._links
        }  # fmt: skip
        if unnamed:
            for row in self._ask("event_newsletters", newsletters=sorted(unnamed)):
                self._ids[row["newsletter"]] = row["id"]
        if unlinked:
            for row in self._ask("event_links", newsletters=sorted(unlinked)):
                told = LinkTold(row["link"], row["url"], row["label"], list(row["tags"]))
                self._links[row["newsletter"], row["link"]] = told

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
