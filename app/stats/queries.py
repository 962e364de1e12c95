"""Runs the statistics queries, one SQL file each in clickhouse/queries, and shapes their results.

Blocking, like Storage: call it from threads. Dashboard and API use the same functions, so that
their figures agree. Times are aware datetimes in UTC.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from app.experiments.variants import MAX_VARIANTS, UNNAMED, Variants
from app.links import families, identity
from app.links.families import Recorded
from app.model.errors import NotFoundError
from app.model.ids import newsletter_key
from app.model.numbers import read_int
from app.model.tracking_modes import summarise_modes
from app.schemas.stats import (
    Agents,
    AgentStats,
    Count,
    LinkStats,
    MailProviderStats,
    Newsletter,
    OutcomeCounts,
    PlaceStats,
    RatesOf,
    Split,
    Stats,
)
from app.stats import mail_providers, rates
from app.stats.filters import PARTS, FilterError, Filters, Show
from app.stats.hit_counts import HitCount, by_kind
from app.stats.periods import ALWAYS, Span
from app.storage import journal_segments
from app.storage.clickhouse import Row, Storage
from app.storage.newsletters import Newsletters
from app.storage.sql import sql

SLOTS = 24  # of a sparkline
AVERAGE_SECONDS = 60  # for which an average is remembered
REMEMBERED = 256  # results of slow queries
SLOW_SECONDS = 1.0  # that the list of newsletters may take without being remembered
REMEMBERED_TIMES = 20  # times the duration of a slow query, for which its result is remembered

T = TypeVar("T")
HitFilters = Mapping[str, str]  # filters on one newsletter's hits: Filters.hit_filters
NO_FILTERS: HitFilters = {}
EVERYTHING = Filters(show="all")


class MailProviders(NamedTuple):
    """One newsletter's messages by mail provider, and what their rates are shares of."""

    rates_of: RatesOf
    providers: list[MailProviderStats]


@dataclass(frozen=True)
class Step:
    """The totals of one step of a timeline, which begins at `at`."""

    at: datetime
    opens: Split
    clicks: Split


def filtered(filters: HitFilters) -> dict[str, Any]:
    """Returns the parameters of filters.part; since_ms and until_ms select messages by time."""
    set_ = {name: filters.get(name, "") for name in PARTS}
    span = {name: int(filters.get(name, value)) for name, value in ALWAYS.parameters.items()}
    return {**set_, **clicked(filters), **span}


def clicked(filters: HitFilters) -> dict[str, Any]:
    """Returns the parameters of clicked.part; `link` is an id or, as in version 0.1, a place."""
    link = filters.get("link", "")
    key = identity.read_id(link)
    return {
        "link": key or 0,
        "position": int(link) if link and key is None else -1,
        "link_name": filters.get("link_name", ""),
        "label": filters.get("label", ""),
        "url": filters.get("url", ""),
        "host": filters.get("host", "").lower(),
        "path": like(filters.get("path", "")),
    }


def like(pattern: str) -> str:
    """Returns a pattern, in which * matches any text, as a pattern of LIKE."""
    for special in ("\\", "%", "_"):
        pattern = pattern.replace(special, f"\\{special}")
    return pattern.replace("*", "%")


class Queries:
    """The queries of one workspace. Any method raises StorageError if ClickHouse is unavailable.

    `stated` knows newsletters that have not been loaded into ClickHouse yet. `journal` is the
    folder that knows which loaded hits are not settled yet.
    """

    def __init__(
        self,
        storage: Storage,
        workspace: str = "default",
        variants: Variants | None = None,
        stated: Newsletters | None = None,
        journal: Path | None = None,
    ) -> None:
        self._storage, self._variants, self._stated = storage, variants, stated
        self._journal = journal
        self._averages: dict[Show, tuple[tuple[float, float], float]] = {}
        self._remembered: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()
        self.workspace = workspace

    def run(self, name: str, **parameters: Any) -> list[Row]:
        """Returns the rows of a query by its file's name."""
        return self._storage.query(sql(name), {"workspace": self.workspace, **parameters})

    def remembered(self, key: Hashable, read: Callable[[], T], slow_seconds: float = 0) -> T:
        """Returns what `read` returns, or has returned a moment ago.

        The moment is 20 times what reading took, so that a result that somebody watches costs at
        most a twentieth of a processor. What took less than `slow_seconds` is not remembered.
        """
        result, until = self._remembered.get(key, (None, 0.0))
        if (begun := time.monotonic()) >= until:
            result = read()
            ended = time.monotonic()
            if ended - begun < slow_seconds:
                return result
            self._remembered[key] = result, ended + REMEMBERED_TIMES * (ended - begun)
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return cast("T", result)

    def stream(self, name: str, form: str, **parameters: Any) -> Iterator[bytes]:
        """Yields a query's result in one of ClickHouse's formats, in pieces."""
        return self._storage.stream(sql(name), {"workspace": self.workspace, **parameters}, form)

    def unsettled(self) -> list[str]:
        """Returns the journal segments whose hits' verdicts may still change within seconds."""
        return journal_segments.unsettled(self._journal) if self._journal else []

    def newsletters(
        self,
        filters: Filters = EVERYTHING,
        limit: int = 100,
        offset: int = 0,
        least: int = 0,
        span: Span | None = None,
        deliveries: bool = False,
    ) -> list[Row]:
        """Returns rows of newsletters.sql: newsletters with the figures of one group, sorted.

        Those with fewer messages than `least` are left out. Figures are of the messages sent in
        the filters' period, or in `span`; newsletters that sent none in it are left out. Without
        `deliveries`, which are counted message by message, rates are of messages sent. What took
        long is a moment old.
        """
        page = limit, offset, least, span is None, deliveries
        asked = (filters.query(), str(filters.zone), *page)
        span = span or filters.span(datetime.now(UTC))
        bound: dict[str, Any] = {
            "newsletters": [],
            "show": filters.show,
            "search": filters.search,
            "tag": filters.tag,
            "sort": filters.sort,
            "direction": 1 if filters.up else -1,
            **span.parameters,
            "limit": limit,
            "offset": offset,
            "least": least,
            "deliveries": int(deliveries),
            "of": (filters.rates_of or "") if deliveries else "sent",
            "known_share": rates.MIN_KNOWN_SHARE,
        }
        if span != ALWAYS:
            bound["least"] = max(1, least)
            return self.remembered(
                ("newsletters", *asked), partial(self.run, "newsletters_sent_in", **bound)
            )
        changed = self.run("newsletters_changed", limit=1)
        read = partial(self.run, "newsletters_counting" if changed else "newsletters", **bound)
        return self.remembered(("newsletters", *asked), read, SLOW_SECONDS)

    def newsletter_page(
        self, last: tuple[int, str] | None, limit: int, offset: int = 0
    ) -> list[Row]:
        """Returns rows of newsletter_page.sql: newsletters, the latest active first.

        `last` is the time of the last message (ms since 1970 UTC, 0 without one) and the id of the
        newsletter that the page begins after.
        """
        last_ms, newsletter_id = last or (0, "")
        return self.run(
            "newsletter_page",
            first=int(last is None),
            last_ms=last_ms,
            id=newsletter_id,
            limit=limit,
            offset=offset,
        )

    def average(self, show: Show) -> tuple[float, float]:
        """Returns open rate and click rate of all messages sent, at most a minute old."""
        average, at = self._averages.get(show, ((0.0, 0.0), -AVERAGE_SECONDS))
        if time.monotonic() - at >= AVERAGE_SECONDS:
            rows = self.newsletters(Filters(show=show), limit=1)
            if rows:
                average = (
                    rows[0]["opened_in_all"] / (rows[0]["opens_tracked_in_all"] or 1),
                    rows[0]["clicked_in_all"] / (rows[0]["clicks_tracked_in_all"] or 1),
                )
            self._averages[show] = average, time.monotonic()
        return average

    def newsletter(self, newsletter_id: str) -> Newsletter:
        """Returns a newsletter. Raises NotFoundError.

        Every process knows a newsletter as soon as one of its messages was accepted, before
        ClickHouse does.
        """
        key = self.key(newsletter_id)
        rows = self.run("newsletter", newsletter=key)
        if not rows and self._stated and (known := self._stated.read(key)):
            return Newsletter(known.id, known.name[1], known.subject[1], known.tags[1])
        if not rows:
            raise NotFoundError("newsletter_id", f"there is no newsletter {newsletter_id!r}")
        row = rows[0]
        return Newsletter(row["id"], row["name"], row["subject"], tuple(row["tags"]))

    def sent(self, newsletter_id: str, filters: HitFilters = NO_FILTERS) -> Row:
        """Returns what a newsletter sent: messages, first_at, last_at (1970 if it sent none).

        Of `filters` only variant and period apply to messages.
        """
        key = self.key(newsletter_id)
        bound = self.filtered(key, filters)
        them = {"newsletter": key, "variant": bound["variant"]}
        span = _span(bound)
        if span != ALWAYS.parameters:
            return self.run("newsletter_sent_in", **span, **them)[0]
        return self.run("newsletter_sent", **them)[0]

    def stats(
        self,
        newsletter_id: str,
        filters: HitFilters = NO_FILTERS,
        of: RatesOf | None = None,
        show: Show = "human",
    ) -> Stats:
        """Returns the figures of the hits that match `filters`; zeros for an unknown newsletter.

        Rates are of messages sent or delivered, by default of what the known outcomes and the
        figures of one group allow.
        """
        key = self.key(newsletter_id)
        sent = self.sent(newsletter_id, filters)
        last_at, counts = self.counts(key)
        if filters:
            bound = self.filtered(key, filters)
            of_period = set(filters) <= set(ALWAYS.parameters)  # which needs no hits one by one
            rows = (
                self.run("newsletter_stats", newsletter=key, **_span(bound))
                if of_period
                else self.run("newsletter_stats_filtered", newsletter=key, **bound)
            )
            kinds = {row["kind"]: row for row in rows}
        else:
            kinds = by_kind(counts)
        times = [last_at] if kinds and last_at else []
        if sent["messages"]:
            times.append(sent["last_at"])
        opens, clicks = _split(kinds.get("open")), _split(kinds.get("click"))
        unknowable = kinds["open"]["unknowable"] if "open" in kinds else 0
        tracked = sent["opens_tracked"], sent["clicks_tracked"]
        opened, clicked = opens.human.unique, clicks.human.unique
        outcomes = self.outcomes(newsletter_id, filters)
        denominators = self._denominators(key, filters, sent, outcomes)
        shown = (getattr(split, show).unique for split in (opens, clicks))
        basis = denominators.basis(of, *shown)
        return Stats(
            newsletter_id=newsletter_id,
            messages=sent["messages"],
            opens=opens,
            clicks=clicks,
            unsubscribes=_split(kinds.get("unsubscribe")).all.unique,
            updated_at=max(map(utc, times), default=None),
            tracking=summarise_modes(sent["flags"]),
            opens_tracked=tracked[0],
            clicks_tracked=tracked[1],
            unknowable=unknowable,
            open_rate=rates.bounded_share(opened, basis.opens),
            open_rate_max=rates.bounded_share(
                max(opened, min(opened + unknowable, basis.opens)), basis.opens
            ),
            click_rate=rates.bounded_share(clicked, basis.clicks),
            click_to_open_rate=rates.click_to_open(opened, unknowable, clicked, *tracked).rate,
            rates_of=basis.of,
            open_rate_messages=basis.opens,
            click_rate_messages=basis.clicks,
            outcomes=outcomes,
        )

    def _denominators(
        self, newsletter: int, filters: HitFilters, sent: Row, outcomes: OutcomeCounts
    ) -> rates.Denominators:
        """Returns what rates of a newsletter's messages can be shares of."""
        arrived = outcomes.arrived
        delivered = {"opens_delivered": arrived, "clicks_delivered": arrived}
        if arrived and not sent["opens_tracked"] == sent["clicks_tracked"] == sent["messages"]:
            bound = self.filtered(newsletter, filters)
            (row,) = self.run(
                "newsletter_delivered",
                newsletters=[newsletter],
                variant=bound["variant"],
                **_span(bound),
            )
            delivered = {
                "opens_delivered": row["opens_tracked"],
                "clicks_delivered": row["clicks_tracked"],
            }
        return rates.Denominators.of_row(
            {**sent, **delivered, "arrived": arrived, "known": outcomes.known}
        )

    def outcomes(self, newsletter_id: str, filters: HitFilters = NO_FILTERS) -> OutcomeCounts:
        """Returns how many of a newsletter's messages are in each state.

        Of `filters` only variant and period apply to messages.
        """
        key = self.key(newsletter_id)
        bound = self.filtered(key, filters)
        rows = self.run(
            "newsletter_outcomes", newsletters=[key], variant=bound["variant"], **_span(bound)
        )
        counts = Counter({row["state"]: int(row["messages"]) for row in rows})
        return OutcomeCounts(
            sent=counts["sent"] + counts["deferred"],
            delivered=counts["delivered"],
            bounced=counts["bounced"],
            rejected=counts["rejected"],
            complained=counts["complained"],
        )

    def counts(self, newsletter: int) -> tuple[datetime | None, list[HitCount]]:
        """Returns when a newsletter (a key) was last hit, and the counts of its hits.

        They are counted again if hits have changed since they were stored.
        """
        rows = self.run("newsletter_hits", newsletter=newsletter)
        if not rows:
            return None, []
        if rows[0]["changed"]:
            counted = self.run("newsletter_counted", newsletters=[newsletter])
            counts = counted[0]["counts"] if counted else []
        else:
            counts = rows[0]["counts"]
        return rows[0]["last_at"], [HitCount(*count) for count in counts]

    def links(self, newsletter_id: str, filters: HitFilters = NO_FILTERS) -> list[LinkStats]:
        """Returns the newsletter's links and families, those with most human clicks first."""
        key = self.key(newsletter_id)
        bound = self.filtered(key, filters)
        recorded = self.run(
            "newsletter_links",
            newsletter=key,
            variant=bound["variant"],
            **_span(bound),
        )
        shown = families.shown(
            Recorded(*(row[name] for name in Recorded._fields)) for row in recorded
        )
        bound_links = {"newsletter": key, "links": [row.link_key for row in shown]}
        positions: dict[int, list[int]] = {}
        for row in self.run("link_places", **bound_links):
            positions.setdefault(row["link_key"], []).append(row["position"])
        several = [link for link, its_positions in positions.items() if len(its_positions) > 1]
        if filters:
            counted = {**bound, "newsletter": key}
            counted["families"] = [row.link_key for row in shown if row.is_family]
            clicks = self.run("link_clicks_filtered", **counted)
            places = self.run("link_clicks_by_place_filtered", **counted) if several else []
        else:
            clicks = self.run("link_clicks", **bound_links)
            bound_links["links"] = several
            places = self.run("link_clicks_by_place", **bound_links) if several else []
        by_link = {row["link_key"]: _counts(row) for row in clicks}
        by_place = {(row["link_key"], row["position"]): _counts(row) for row in places}

        def placed(link: int) -> Iterator[PlaceStats]:
            its_positions = positions.get(link, ())
            for position in its_positions:
                alone = by_link.get(link, _NOTHING) if len(its_positions) == 1 else _NOTHING
                yield PlaceStats(position, *by_place.get((link, position), alone))

        links = [
            LinkStats(
                identity.shown_id(row.link_key),
                row.name,
                row.label,
                row.url,
                tuple(row.tags),
                bool(row.is_family),
                row.carried,
                *by_link.get(row.link_key, _NOTHING),
                tuple(placed(row.link_key)),
            )
            for row in sorted(shown, key=lambda row: (row.first_position, row.link_key))
        ]
        links.sort(key=lambda link: (-link.human.unique, -link.human.total))
        return links

    def mail_providers(
        self,
        newsletter_id: str,
        filters: HitFilters = NO_FILTERS,
        show: Show = "human",
        of: RatesOf | None = None,
    ) -> MailProviders:
        """Returns a newsletter's messages by the mail providers of their recipients.

        Opens and clicks are those of one group. Rates of all providers are of the same: messages
        sent or delivered, as in `stats`. Of `filters` only variant and period apply. What took
        long is a moment old.
        """
        key = self.key(newsletter_id)
        bound = self.filtered(key, filters)
        applied = show, bound["variant"], *_span(bound).values()
        rows = self.remembered(
            ("mail providers", key, *applied),
            partial(
                self.run,
                "newsletter_mail_providers",
                newsletters=[key],
                show=show,
                variant=bound["variant"],
                **_span(bound),
                domains=mail_providers.DOMAINS,
                names=mail_providers.NAMES,
                limit=mail_providers.MAX_PROVIDERS,
            ),
        )
        denominators = [
            rates.Denominators.of_row({**row, "arrived": row["delivered"]}) for row in rows
        ]
        opened, clicked = (sum(int(row[name]) for row in rows) for name in ("opened", "clicked"))
        rates_of = rates.Denominators.sum(denominators).basis(of, opened, clicked).of
        counts = ("messages", "delivered", "bounced", "rejected", "complained", "opened", "clicked")
        providers = []
        for row, parts in zip(rows, denominators, strict=True):
            basis = parts.chosen(rates_of)
            providers.append(
                MailProviderStats(
                    provider=row["provider"],
                    **{name: int(row[name]) for name in counts},
                    open_rate=rates.bounded_share(row["opened"], basis.opens),
                    click_rate=rates.bounded_share(row["clicked"], basis.clicks),
                )
            )
        return MailProviders(rates_of, providers)

    def agents(self, newsletter_id: str, filters: HitFilters = NO_FILTERS) -> Agents:
        """Returns the clients, systems, devices and countries of the newsletter's hits."""
        by_part: dict[str, list[AgentStats]] = {}
        rows = self._hits("newsletter_agents", filters, newsletter=self.key(newsletter_id))
        for row in rows:
            agent = AgentStats(
                row["name"], row["all_total"], row["human_total"], row["machine_total"]
            )
            by_part.setdefault(row["part"], []).append(agent)
        return Agents(
            *(by_part.get(part, []) for part in ("client", "os", "device", "country", "family"))
        )

    def timeline(
        self,
        newsletter_id: str,
        start: datetime,
        end: datetime,
        step: int,
        filters: HitFilters = NO_FILTERS,
    ) -> list[Step]:
        """Returns totals per `step` seconds from `start` to before `end`, without empty steps.

        Whole minutes are faster. Uniques are not counted per step and stay 0.
        """
        whole = not any(seconds % 60 for seconds in (step, start.timestamp(), end.timestamp()))
        span = {
            "newsletter": self.key(newsletter_id),
            "from_ms": int(start.timestamp() * 1000),
            "to_ms": int(end.timestamp() * 1000),
            "step": step,
        }
        if whole and not filters:
            rows = self.run("newsletter_timeline", **span)
        else:
            rows = self.run(
                "newsletter_timeline_exact", **self.filtered(span["newsletter"], filters), **span
            )
        return _steps(rows)

    def all_timeline(self, start: datetime, end: datetime, step: int) -> list[Step]:
        """Returns the workspace's totals like `timeline`; all three are whole minutes."""
        rows = self.run(
            "workspace_timeline",
            from_ms=int(start.timestamp() * 1000),
            to_ms=int(end.timestamp() * 1000),
            step=step,
        )
        return _steps(rows)

    def sparklines(self, newsletters: Sequence[Row]) -> list[Row]:
        """Returns the sparklines of rows of newsletters.sql.

        Each row has newsletter, slot (from 0 to before SLOTS) and totals.
        """
        young: list[int] = []
        old: dict[int, tuple[int, int]] = {}
        for row in newsletters:
            first_at, last_hit = utc(row["first_at"]), utc(row["last_hit"])
            if (utc(row["updated_at"]) - first_at).total_seconds() < SLOTS * 60:
                young.append(row["newsletter"])
            elif row["messages"]:
                old[row["newsletter"]] = _minute(first_at), _minute(last_hit)
        spans = {
            "newsletters": list(old),
            "first_s": [first for first, _ in old.values()],
            "last_s": [last for _, last in old.values()],
        }
        return [
            *(self.run("newsletters_sparklines_exact", newsletters=young) if young else ()),
            *(self.run("newsletters_sparklines", **spans) if old else ()),
        ]

    def tags(self, filters: Filters, limit: int, span: Span | None = None) -> list[Row]:
        """Returns rows of tags.sql, for messages sent within the period, or within `span`."""
        asked = filters.show, filters.search, filters.over_time().query(), str(filters.zone)
        key = "tags", *asked, limit, span is None
        span = span or filters.span(datetime.now(UTC))
        bound: dict[str, Any] = {
            "show": filters.show,
            "search": filters.search,
            **span.parameters,
            "newsletters": [],
            "deliveries": 1,
            "limit": limit,
        }
        return self.remembered(key, partial(self.run, "tags", **bound))

    def variants(self, newsletter_id: str, show: Show) -> list[Row]:
        """Returns a row for each variant that was sent, the lowest number first.

        Each has the columns of newsletter_variants.sql, and the distinct messages of one group
        that were opened, unknowable and clicked.
        """
        key = self.key(newsletter_id)
        rows = self.run("newsletter_variants", newsletters=[key], deliveries=1, **ALWAYS.parameters)
        _, counts = self.counts(key)
        by_variant = {(count.variant, count.kind): count for count in counts}
        for row in rows:
            opens, clicks = (
                by_variant.get((row["variant"], kind), HitCount(kind, row["variant"]))
                for kind in ("open", "click")
            )
            row["opened"], row["clicked"] = opens.unique(show), clicks.unique(show)
            row["unknowable"] = opens.unknowable
        return rows

    def lately(self, newsletter_id: str, since: datetime) -> dict[str, Split]:
        """Returns totals of hits since a time, by kind."""
        ms = int(since.timestamp() * 1000)
        rows = self.run("newsletter_live", newsletter=self.key(newsletter_id), since_ms=ms)
        return {row["kind"]: _split(row) for row in rows}

    def _hits(self, name: str, filters: HitFilters, **parameters: Any) -> list[Row]:
        """Run a query over all hits or, with filters, its `_filtered` version."""
        if not filters:
            return self.run(name, **parameters)
        bound = self.filtered(parameters["newsletter"], filters)
        return self.run(f"{name}_filtered", **bound, **parameters)

    def filtered(self, newsletter: int, filters: HitFilters) -> dict[str, Any]:
        """Returns the parameters of filters.part for a newsletter's key. Raises FilterError."""
        if variant := filters.get("variant"):
            filters = {**filters, "variant": self._number(newsletter, variant)}
        return filtered(filters)

    def _number(self, newsletter: int, variant: str) -> str:
        """Returns a variant's number by its name; accepts the number until the next version."""
        if variant == UNNAMED:
            return "0"
        for number, name in self.names(newsletter).items():
            if name == variant:
                return str(number)
        if read_int(variant, high=MAX_VARIANTS) is None:
            raise FilterError("variant", "is not a variant of this newsletter")
        return variant

    def names(self, newsletter: int) -> Mapping[int, str]:
        """Returns the names of a newsletter's variants, by number."""
        return self._variants.names(newsletter) if self._variants else {}

    def variant(self, newsletter: int, number: int) -> str:
        """Returns a variant's name; empty for messages without a variant."""
        if self._variants is None:
            return str(number or "")
        return self._variants.name(newsletter, number)

    def key(self, newsletter_id: str) -> int:
        """Returns the newsletter's 64-bit key."""
        return newsletter_key(self.workspace, newsletter_id)


def _steps(rows: Sequence[Row]) -> list[Step]:
    steps: dict[datetime, dict[str, Split]] = {}
    for row in rows:
        steps.setdefault(utc(row["step_at"]), {})[row["kind"]] = _split(row)
    return [
        Step(at, kinds.get("open", Split()), kinds.get("click", Split()))
        for at, kinds in steps.items()
    ]


_NOTHING = (Count(), Count(), Count())


def _span(bound: Mapping[str, Any]) -> dict[str, int]:
    """Returns the parameters of a span among those of filters.part."""
    return {name: bound[name] for name in ALWAYS.parameters}


def utc(at: datetime) -> datetime:
    """Returns an aware datetime: clickhouse-connect returns naive ones for UTC columns."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _minute(at: datetime) -> int:
    """Returns the start of a time's minute, in seconds since 1970 UTC."""
    return int(at.timestamp()) // 60 * 60


def _split(row: Row | None) -> Split:
    return Split() if row is None else Split(*_counts(row))


def _counts(row: Row) -> tuple[Count, Count, Count]:
    """Returns a row's figures for all, human and machine hits."""
    every, human, machine = (
        Count(row[f"{group}_total"], row.get(f"{group}_unique", 0))
        for group in ("all", "human", "machine")
    )
    return every, human, machine
