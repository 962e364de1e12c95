"""Figures of newsletters, links and agents."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from app.model.tracking_modes import Axis
from app.schemas.timestamps import Timestamp, timestamp_or_none

RatesOf = Literal["sent", "delivered"]


@dataclass(frozen=True)
class Count:
    """`total` counts hits, `unique` counts messages with at least one hit."""

    total: int = 0
    unique: int = 0


@dataclass(frozen=True)
class Split:
    """Counts of all hits, of hits by people (including proxied ones) and by bots (machine)."""

    all: Count = Count()
    human: Count = Count()
    machine: Count = Count()


@dataclass(frozen=True)
class OutcomeCounts:
    """Messages by their present state, each counted once (docs/outcomes.md).

    `sent` counts those that were handed over, or are being retried, and of which nothing later is
    known. Messages without any report are not counted.
    """

    sent: int = 0
    delivered: int = 0
    bounced: int = 0
    rejected: int = 0
    complained: int = 0

    @property
    def arrived(self) -> int:
        """Returns how many messages were delivered; a complaint is about one of these."""
        return self.delivered + self.complained

    @property
    def known(self) -> int:
        """Returns of how many messages it is known whether they were delivered."""
        return self.arrived + self.bounced + self.rejected


@dataclass(frozen=True, kw_only=True)
class StatsBase:
    """The figures of a newsletter without their time."""

    newsletter_id: str
    messages: int
    opens: Split
    clicks: Split
    unsubscribes: int
    tracking: Mapping[Axis, str]
    opens_tracked: int
    clicks_tracked: int
    unknowable: int = 0
    open_rate: float | None = None
    open_rate_max: float | None = None
    click_rate: float | None = None
    click_to_open_rate: float | None = None
    rates_of: RatesOf = "sent"
    open_rate_messages: int = 0
    click_rate_messages: int = 0
    outcomes: OutcomeCounts = OutcomeCounts()


@dataclass(frozen=True, kw_only=True)
class Stats(StatsBase):
    """A newsletter's statistics, as pages show them."""

    updated_at: datetime | None

    @property
    def rated(self) -> int:
        """Returns the number of messages sent, or delivered, that rates are shares of."""
        return self.outcomes.arrived if self.rates_of == "delivered" else self.messages


@dataclass(frozen=True, kw_only=True)
class StatsOut(StatsBase):
    """A newsletter's statistics. `unsubscribes` counts messages; `updated_at` may be null.

    `tracking` is the mode of opens and of clicks, or mixed. Aggregate hits are not in `unique`.
    `opens_tracked` and `clicks_tracked` count the messages tracked individually.

    Rates are shares of `open_rate_messages` and `click_rate_messages`: those that are tracked
    individually and, with `rates_of` delivered, known to be delivered. Without `of`, rates are of
    delivered messages if it is known of at least 95 % of all messages whether they were.

    `unknowable` counts messages that were opened only by a privacy proxy that prefetches images or
    without a user agent. So the open rate lies between `open_rate` (people) and `open_rate_max`
    (people and unknowable). `click_to_open_rate` is null where it has no meaning. Rates are from 0
    to 1, and null if there are no such messages, or more were opened or clicked than are known to
    be delivered.
    """

    updated_at: Timestamp | None

    @classmethod
    def of(cls, stats: Stats) -> "StatsOut":
        """Returns statistics as answers contain them."""
        figures = {field.name: getattr(stats, field.name) for field in fields(StatsBase)}
        return cls(**figures, updated_at=timestamp_or_none(stats.updated_at))


@dataclass(frozen=True)
class Newsletter:
    """A newsletter or transactional stream, as last described by the mailer."""

    id: str
    name: str
    subject: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class PlaceStats:
    """Clicks on a link at one position in the mail, counted from 0."""

    position: int
    all: Count
    human: Count
    machine: Count


@dataclass(frozen=True)
class LinkStats:
    """A link or a family of links, and its clicks. `url` of a family is its pattern.

    `carried` counts the messages that contained it. `positions` are its positions in them.
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
        """Returns the link's title."""
        return self.name or self.label or self.url


@dataclass(frozen=True)
class AgentStats:
    """Opens and clicks of one client, operating system, device or country. "" is unknown."""

    name: str
    all: int
    human: int
    machine: int


@dataclass(frozen=True)
class Agents:
    """Clients, systems, devices and countries of a newsletter's hits, most frequent first.

    Countries are ISO 3166-1 codes; `families` are the mail clients of opens.
    """

    clients: list[AgentStats]
    systems: list[AgentStats]
    devices: list[AgentStats]
    countries: list[AgentStats]
    families: list[AgentStats]


@dataclass(frozen=True)
class MailProviderStats:
    """One newsletter's messages to the recipients of one mail provider.

    `provider` is its name, or the domain of the email addresses; "" if no email address is stored,
    `other` for all that have fewer messages. `delivered` contains those that were complained about.
    `opened` and `clicked` count messages, by people. Rates are shares of the messages sent, or
    delivered (`rates_of`), that are tracked individually. They are from 0 to 1, and null if there
    are none, or more were opened or clicked than are known to be delivered.
    """

    provider: str
    messages: int
    delivered: int
    bounced: int
    rejected: int
    complained: int
    opened: int
    clicked: int
    open_rate: float | None
    click_rate: float | None


class NewsletterOut(Struct, frozen=True):
    """A newsletter, as last described by the mailer. Times are RFC 3339 in UTC."""

    id: str
    name: str
    subject: str
    tags: list[str]
    messages: int
    first_message_at: Timestamp | None
    last_message_at: Timestamp | None


class NewsletterList(Struct, frozen=True):
    """Newsletters, latest active first. `next_after` is null on the last page.

    `next_offset` is for clients of version 0.1.
    """

    newsletters: list[NewsletterOut]
    next_after: str | None
    next_offset: Annotated[int | None, Meta(extra_json_schema={"deprecated": True})]


class LinkList(Struct, frozen=True):
    """The newsletter's links, most clicks by people first."""

    newsletter_id: str
    links: list[LinkStats]


class AgentList(Struct, frozen=True):
    """Hits by client, operating system, device and country."""

    newsletter_id: str
    agents: Agents


class MailProviderList(Struct, frozen=True):
    """Messages by the mail providers of their recipients, most messages first.

    Rates of all providers are of messages sent, or of messages delivered, as in the newsletter's
    statistics: `rates_of`.
    """

    newsletter_id: str
    rates_of: RatesOf
    providers: list[MailProviderStats]


class Totals(Struct, frozen=True):
    """Hits in one interval."""

    all: int
    human: int
    machine: int


class StepOut(Struct, frozen=True):
    """One interval of a timeline, starting at `at`."""

    at: Timestamp
    opens: Totals
    clicks: Totals


class TimelineOut(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """A timeline without empty intervals. `step` is in seconds."""

    newsletter_id: str
    start: Timestamp
    end: Timestamp
    step: int
    points: list[StepOut]
