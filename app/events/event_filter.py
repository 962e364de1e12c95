"""Decides which events a webhook or a stream gets."""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from app.events.feed import TYPE_OF, Event, Row
from app.links import identity
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.events import (
    EventLink,
    EventOut,
)
from app.stats.queries import Queries


class EventFilter(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A filter of events; an empty field matches everything.

    The verdicts `human` and `machine` cover all verdicts of people and of machines. Links are given
    by their ids or, as in version 0.1, by their positions. `urls` are prefixes, `hosts` include
    their subdomains, and in `paths` a * matches any text.
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

    def matches(self, event: EventOut) -> bool:
        """Returns whether an event that may match does. Conditions on links match clicks only."""
        return not self.of_links or (event.link is not None and self._follows(event.link))

    def covers(self, verdict: str) -> bool:
        """Returns whether the filter covers a verdict."""
        return not self.verdicts or verdict in verdicts(self.verdicts)

    @property
    def of_links(self) -> bool:
        """Returns whether there are conditions on links other than on their ids."""
        return any((self.labels, self.tags, self.names, self.urls, self.hosts, self.paths))

    def _follows(self, link: EventLink) -> bool:
        url = urlsplit(link.url)
        host = f".{url.hostname or ''}"
        return (
            (not self.labels or link.label in self.labels)
            and (not self.tags or not set(link.tags).isdisjoint(self.tags))
            and (not self.names or link.name in self.names)
            and (not self.urls or link.url.startswith(self.urls))
            and (
                not self.hosts
                or any(host.endswith(f".{pattern.lower()}") for pattern in self.hosts)
            )
            and (not self.paths or any(_fits(pattern, url.path) for pattern in self.paths))
        )

    def may_match(self, event: Event, queries: Queries) -> bool:
        """Returns whether the event can match, as far as that is known before any lookup.

        A reclassification matches by the verdict before, too: who got the event must learn that it
        is taken back, even if only the type of that event is in `types`.
        """
        row = event.row
        takes_back = bool(event.before) and self.covers(event.before)
        taken_type = takes_back and not self.covers(row.verdict) and TYPE_OF[row.kind] in self.types
        return (
            (not self.types or event.type in self.types or taken_type)
            and (self.covers(row.verdict) or takes_back)
            and (not self.links or (row.kind == "click" and self._is_of(row)))
            and (
                not self.newsletters
                or row.newsletter
                in {queries.key(newsletter_id) for newsletter_id in self.newsletters}
            )
        )

    def _is_of(self, row: Row) -> bool:
        keys = {identity.read_id(link) for link in self.links if isinstance(link, str)}
        return row.place in self.links or row.link_key in keys or row.family in keys


def _fits(pattern: str, text: str) -> bool:
    """Returns whether the text matches a pattern in which * is any text."""
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
    """Returns the verdicts with `human` and `machine` replaced by all that they cover."""
    groups: Mapping[str, Sequence[str]] = {"human": HUMAN, "machine": MACHINE}
    return {verdict for name in names for verdict in groups.get(name, (name,))}
