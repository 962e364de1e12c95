"""Which events a webhook or a stream gets."""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from app.events.feed import Event, Row
from app.links import identity
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.events import (
    EventLink,
    EventOut,
)
from app.stats.queries import Queries


class EventFilter(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
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

    def matches(self, told: EventOut) -> bool:
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

    def _follows(self, link: EventLink) -> bool:
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

    def may_match(self, event: Event, queries: Queries) -> bool:
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
