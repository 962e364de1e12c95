"""Figures of newsletters, links and agents."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from app.model.tracking_modes import Axis


@dataclass(frozen=True)
class Count:
    """`total` counts hits, `unique` counts distinct messages hit."""

    total: int = 0
    unique: int = 0


@dataclass(frozen=True)
class Split:
    """Figures for all hits, for people's (proxied ones included) and for machines'."""

    all: Count = Count()
    human: Count = Count()
    machine: Count = Count()


@dataclass(frozen=True)
class Stats:
    """A newsletter's figures. `unsubscribes` counts distinct messages; `updated_at` may be None.

    `tracking` says the mode of opens and of clicks, or mixed: aggregate hits are in no `unique`.
    Rates are of `opens_tracked` and `clicks_tracked`, the messages whose hits show one by one.
    """

    newsletter_id: str
    messages: int
    opens: Split
    clicks: Split
    unsubscribes: int
    updated_at: datetime | None
    tracking: Mapping[Axis, str]
    opens_tracked: int
    clicks_tracked: int


@dataclass(frozen=True)
class Newsletter:
    """A newsletter or transactional stream as the mailer named it last."""

    id: str
    name: str
    subject: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class PlaceStats:
    """The clicks of a link at one of its places, counted from 0."""

    position: int
    all: Count
    human: Count
    machine: Count


@dataclass(frozen=True)
class LinkStats:
    """A link or a family of links and its clicks; `url` is a family's template.

    `carried` counts the messages that had it. `positions` are its places in them.
    """

    id: str
    name: str
    label: str
    url: str
    tags: tuple[str, ...]
    family: bool
    carried: int
    all: Count
    human: Count
    machine: Count
    positions: tuple[PlaceStats, ...] = ()

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or self.label or self.url


@dataclass(frozen=True)
class AgentStats:
    """Open and click hits with one client, operating system, device or country; "" unknown."""

    name: str
    all: int
    human: int
    machine: int


@dataclass(frozen=True)
class Agents:
    """What a newsletter's hits came with, the commonest first.

    Countries are ISO 3166-1 codes; families are those of the mail clients that opened.
    """

    clients: list[AgentStats]
    systems: list[AgentStats]
    devices: list[AgentStats]
    countries: list[AgentStats]
    families: list[AgentStats]


class NewsletterOut(Struct, frozen=True):
    """A newsletter as its mailer named it last. Times are RFC 3339 in UTC."""

    id: str
    name: str
    subject: str
    tags: list[str]
    messages: int
    first_message_at: datetime | None
    last_message_at: datetime | None


class NewsletterList(Struct, frozen=True):
    """Newsletters, the latest active first; `next_offset` is null at the end."""

    newsletters: list[NewsletterOut]
    next_offset: int | None


class LinkList(Struct, frozen=True):
    """The newsletter's links, most human clicks first."""

    newsletter_id: str
    links: list[LinkStats]


class AgentList(Struct, frozen=True):
    """Hits by what they came with."""

    newsletter_id: str
    agents: Agents


class Totals(Struct, frozen=True):
    """Hits of one step of time."""

    all: int
    human: int
    machine: int


class StepOut(Struct, frozen=True):
    """One step of a timeline, from `at` on."""

    at: datetime
    opens: Totals
    clicks: Totals


class TimelineOut(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """A timeline without its empty steps; `step` is in seconds."""

    newsletter_id: str
    start: datetime
    end: datetime
    step: int
    points: list[StepOut]
