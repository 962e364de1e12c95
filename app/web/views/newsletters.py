"""What the pages of the dashboard show: figures and rows, ready for their templates."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from app.events import experiment_worker
from app.experiments.experiments import Experiments
from app.experiments.significance import Interval, Rate, difference, holm, p_value
from app.experiments.variants import UNNAMED
from app.model.errors import NotFoundError
from app.schemas.stats import AgentStats, LinkStats, RatesOf, Split, Stats
from app.stats import rates
from app.stats.filters import STEPS, Filters, Show
from app.stats.periods import ALWAYS, Span
from app.stats.queries import SLOTS, HitFilters, Queries, Step, utc
from app.storage.clickhouse import Row
from app.web.views import charts
from app.web.views.changes import Change, count_change, rate_change
from app.web.views.reader import UTC_READER, Reader

PAGE = 50  # newsletters on one page
RANKED = 8  # clients, systems, devices, countries
LINKS = 100
TAGS = 500
# Opens through image proxies name no device or system.
UNKNOWN = dict.fromkeys(("device", "operating system"), "Unknown or hidden by an image proxy")
LATELY = timedelta(minutes=5)
UNEVEN = 0.001  # how likely groups may be before the split is doubted


class Share(NamedTuple):
    """A row of a ranking; `value` filters by it, empty where nothing can."""

    name: str
    value: str
    hits: int
    part: float


class Variant(NamedTuple):
    """One of a newsletter's variants; `name` is None for messages without. `value` filters by it.

    `apart` is its click rate less the first's, with its interval; `chance` is the p-value,
    adjusted for the number of variants. All three are None for the first, and where
    more messages were clicked than are known to be delivered.
    """

    name: str | None
    value: str
    messages: int
    clicks_tracked: int
    open_rate_messages: int
    click_rate_messages: int
    opened: int
    unknowable: int
    clicked: int
    apart: float | None
    interval: Interval | None
    chance: float | None


def newsletters(queries: Queries, filters: Filters, reader: Reader = UTC_READER) -> dict[str, Any]:
    """Returns the page of all newsletters."""
    read = partial(queries.newsletters, deliveries=True)
    rows = read(filters, PAGE + 1, (filters.page - 1) * PAGE)
    earlier = filters.previous(datetime.now(UTC)) if filters.compared else None
    before = _totals(read(filters.but(), 1, span=earlier)) if earlier else None
    more, rows = len(rows) > PAGE, rows[:PAGE]
    lines = {row["newsletter"]: [0] * SLOTS for row in rows}
    for slot in queries.sparklines(rows):
        lines[slot["newsletter"]][slot["slot"]] = slot[f"{filters.show}_total"]
    totals = _rated(_totals(rows), filters.rates_of)
    ranked = [
        _ranked(_rated(row, filters.rates_of), totals, lines[row["newsletter"]]) for row in rows
    ]
    return {
        "filters": filters,
        "reader": reader,
        "changes": _changes(totals, _rated(before, totals["rates_of"]), reader) if before else {},
        "rows": ranked,
        "outcomes": any(row["known"] for row in rows),
        "totals": totals,
        "rates_of": totals["rates_of"],
        "mixed": any(row["rates_of"] != totals["rates_of"] for row in ranked),
        "older": more,
    }


def _totals(rows: Sequence[Row]) -> dict[str, int]:
    """Returns the sums over all matching newsletters, of which `rows` are some."""
    whole = rows[0] if rows else {}
    names = (
        "messages",
        "opens_tracked",
        "clicks_tracked",
        "known",
        "arrived",
        "opens_delivered",
        "clicks_delivered",
        "opened",
        "unknowable",
        "clicked",
        "unsubscribes",
    )
    return {name: whole.get(f"{name}_in_all", 0) for name in names}


def _rated(row: Row, of: RatesOf | None) -> dict[str, Any]:
    """Returns a row of figures with what its rates are shares of, as templates name it."""
    basis = rates.Denominators.of_row(row).basis(of, row["opened"], row["clicked"])
    return {
        **row,
        "rates_of": basis.of,
        "rated": basis.messages,
        "open_rate_messages": basis.opens,
        "click_rate_messages": basis.clicks,
    }


def _changes(
    now: Mapping[str, Any], before: Mapping[str, Any], reader: Reader
) -> dict[str, Change | None]:
    """Returns how the figures of a period differ from those of the one before it.

    Both have what their rates are shares of (`_rated`): messages sent, or messages delivered.
    """

    def rate(part: str, of: str, good: int) -> Change | None:
        return rate_change((now[part], now[of]), (before[part], before[of]), good, reader)

    return {
        "messages": count_change(now["messages"], before["messages"], reader),
        "opened": rate("opened", "open_rate_messages", 1),
        "clicked": rate("clicked", "click_rate_messages", 1),
        "unsubscribes": rate("unsubscribes", "rated", -1),
    }


def _ranked(row: Row, totals: Row, line: Sequence[int]) -> dict[str, Any]:
    """Returns a row with its rates' distance from the average, in points, None if alone.

    Rates of delivered messages are compared only if nearly all deliveries of the others are known.
    """
    parts, all_of_them = (rates.Denominators.of_row(each) for each in (row, totals))
    known = all_of_them.default(totals["opened"], totals["clicked"]) == "delivered"
    of: RatesOf = row["rates_of"] if known else "sent"
    its, whole = parts.chosen(of), all_of_them.chosen(of)

    def delta(kind: str, part: int, total: int) -> float | None:
        rate = rates.bounded_share(row[kind], part)
        average = rates.bounded_share(totals[kind] - row[kind], total - part)
        return None if rate is None or average is None else 100 * (rate - average)

    deltas = {
        "opened": delta("opened", its.opens, whole.opens),
        "clicked": delta("clicked", its.clicks, whole.clicks),
    }
    return {**row, "sparkline": charts.sparkline(line), "delta": deltas}


def tags(queries: Queries, filters: Filters, reader: Reader = UTC_READER) -> dict[str, Any]:
    """Returns the page of all tags: newsletters and transactional streams by topic."""
    earlier = filters.previous(datetime.now(UTC)) if filters.compared else None
    before = {row["tag"]: row for row in queries.tags(filters, TAGS, earlier)} if earlier else {}
    rows = [_rated(row, filters.rates_of) for row in queries.tags(filters, TAGS)]
    changes = {
        row["tag"]: _changes(row, _rated(before[row["tag"]], row["rates_of"]), reader)
        for row in rows
        if row["tag"] in before
    }
    return {
        "filters": filters,
        "reader": reader,
        "rows": rows,
        "changes": changes,
        **mostly(rows),
    }


def mostly(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what most rates of a list are shares of, and whether others are of something else.

    `outcomes` says whether any delivery is known: else there is nothing to choose.
    """
    delivered = sum(row["rates_of"] == "delivered" for row in rows)
    return {
        "outcomes": any(row["known"] for row in rows),
        "rates_of": "delivered" if 2 * delivered > len(rows) else "sent",
        "mixed": 0 < delivered < len(rows),
    }


def newsletter(
    queries: Queries, newsletter_id: str, filters: Filters, reader: Reader = UTC_READER
) -> dict[str, Any]:
    """Returns the page of one newsletter."""
    now = datetime.now(UTC)
    show, hit_filters = filters.show, filters.hit_filters
    described = queries.newsletter(newsletter_id)
    stats = queries.stats(newsletter_id, hit_filters, filters.rates_of, show)
    earlier = filters.previous(now) if filters.compared else None
    links = queries.links(newsletter_id, hit_filters)
    links.sort(key=lambda link: -getattr(link, show).unique)
    agents = queries.agents(newsletter_id, hit_filters)
    opens, clicks = getattr(stats.opens, show), getattr(stats.clicks, show)
    unknowable = stats.unknowable if show == "human" else 0
    lately = queries.lately(newsletter_id, now - LATELY)
    return {
        "newsletter": described,
        "filters": filters,
        "reader": reader,
        "changes": _stats_changes(queries, newsletter_id, filters, stats, earlier, reader)
        if earlier
        else {},
        "stats": stats,
        "rated": stats.rated,
        "outcomes": stats.outcomes.known > 0,
        "opens": opens,
        "clicks": clicks,
        "funnel": (
            ("Sent", stats.messages),
            ("Delivered", stats.outcomes.arrived),
            ("Opened", opens.unique),
            ("Clicked", clicks.unique),
            ("Unsubscribed", stats.unsubscribes),
            ("Complained", stats.outcomes.complained),
        ),
        "unknowable": unknowable,
        "click_to_open": rates.click_to_open(
            opens.unique, unknowable, clicks.unique, stats.opens_tracked, stats.clicks_tracked
        ),
        "average": queries.average(show),
        "lately": {
            kind: getattr(lately.get(kind, Split()), show).total for kind in ("open", "click")
        },
        "chips": chips(filters, links),
        "links": [(link, getattr(link, show)) for link in links[:LINKS]],
        "unlisted": len(links[LINKS:]),
        "variants": _variants(queries, newsletter_id, show, stats.rates_of),
        "rankings": {
            "Read in (mail clients)": ("family", _ranking(agents.families, "mail client", show)),
            "Clients and browsers": ("client", _ranking(agents.clients, "client", show)),
            "Devices": ("device", _ranking(agents.devices, "device", show)),
            "Operating systems": ("os", _ranking(agents.systems, "operating system", show)),
            "Countries": ("country", _ranking(agents.countries, "country", show)),
        },
        **_timeline(queries, newsletter_id, filters, hit_filters, stats.updated_at, reader),
    }


def mail_providers(
    queries: Queries, newsletter_id: str, filters: Filters, reader: Reader = UTC_READER
) -> dict[str, Any]:
    """Returns the page of a newsletter's messages by mail provider. Raises NotFoundError."""
    applied = {
        name: value
        for name, value in filters.hit_filters.items()
        if name in ("variant", *ALWAYS.parameters)  # the others are of hits
    }
    by_provider = queries.mail_providers(newsletter_id, applied, filters.show, filters.rates_of)
    return {
        "newsletter": queries.newsletter(newsletter_id),
        "filters": filters,
        "reader": reader,
        "chips": {name: value for name, value in filters.parts.items() if name == "variant"},
        "outcomes": any(
            row.delivered + row.bounced + row.rejected for row in by_provider.providers
        ),
        "rates_of": by_provider.rates_of,
        "providers": by_provider.providers,
    }


def _stats_changes(
    queries: Queries,
    newsletter_id: str,
    filters: Filters,
    stats: Stats,
    earlier: Span,
    reader: Reader,
) -> dict[str, Change | None]:
    """Returns how a newsletter's figures differ from those of an earlier span."""
    before = queries.stats(
        newsletter_id, filters.hit_filters_in(earlier), stats.rates_of, filters.show
    )

    def figures(of: Stats) -> dict[str, int]:
        return {
            "messages": of.messages,
            "rated": of.rated,
            "open_rate_messages": of.open_rate_messages,
            "click_rate_messages": of.click_rate_messages,
            "opened": getattr(of.opens, filters.show).unique,
            "clicked": getattr(of.clicks, filters.show).unique,
            "unsubscribes": of.unsubscribes,
        }

    return _changes(figures(stats), figures(before), reader)


def experiment(queries: Queries, experiments: Experiments, newsletter_id: str) -> dict[str, Any]:
    """Returns the page of a newsletter's experiment. Raises NotFoundError."""
    newsletter = queries.newsletter(newsletter_id)
    started = experiments.get(queries.key(newsletter_id))
    if started is None:
        raise NotFoundError("newsletter_id", f"newsletter {newsletter_id!r} has no experiment")
    figures = experiment_worker.current(queries, started)
    first = figures.arms[0].variant
    against = {pair.variant: pair for pair in figures.comparisons if pair.against == first}
    due = experiment_worker.due(started)
    return {
        "newsletter": newsletter,
        "filters": Filters(),
        "plan": started.plan,
        "outcome": started.outcome,
        "due": None if due is None else due / 1000,
        "started": started.at / 1000,
        "messages": sum(arm.messages for arm in figures.arms),
        "rows": [
            (share, arm, against.get(arm.variant))
            for share, arm in zip(started.plan.variants, figures.arms, strict=True)
        ],
        "weights": sum(share.weight for share in started.plan.variants),
        "top": max((arm.high for arm in figures.arms if arm.of), default=1.0),
        "comparisons": figures.comparisons,
        "uneven": figures.split < UNEVEN,
    }


def chips(filters: Filters, links: Sequence[LinkStats]) -> dict[str, str]:
    """Returns the filters on hits that are set, as they are shown: a link by its title."""
    named = {link.id: link.title for link in links}
    return {
        name: named.get(value, value) if name == "link" else value
        for name, value in filters.parts.items()
    }


def _timeline(
    queries: Queries,
    newsletter_id: str,
    filters: Filters,
    hit_filters: HitFilters,
    last: datetime | None,
    reader: Reader,
) -> dict[str, Any]:
    sent, now = queries.sent(newsletter_id, hit_filters), datetime.now(UTC)
    first = utc(sent["first_at"]) if sent["messages"] else last or now
    window = charts.window(first, last or now, now, STEPS[filters.step], reader)
    points = queries.timeline(newsletter_id, window.starts[0], window.end, window.unit, hit_filters)
    return drawn(window, columns_of(window, points, filters.show), reader)


def columns_of(window: charts.Window, points: Sequence[Step], show: Show) -> list[charts.Column]:
    """Returns the columns of a window, from the totals of steps that lie within them."""
    sums = [[0, 0, 0, 0] for _ in window.starts]
    for point in points:
        if 0 <= (number := window.column(point.at)) < len(sums):
            pairs = (*_pair(point.opens, show), *_pair(point.clicks, show))
            sums[number] = [total + hits for total, hits in zip(sums[number], pairs, strict=True)]
    return [charts.Column(*column) for column in sums]


def drawn(
    window: charts.Window,
    columns: Sequence[charts.Column],
    reader: Reader,
    before: Sequence[charts.Column] = (),
) -> dict[str, Any]:
    """Returns a timeline as templates show it (macros.timeline): chart, axes and table.

    `before` are the columns of the period before, which are compared with these one by one.
    """
    titles = [
        f"{reader.when(at, window.step)}: {column.summary(reader)}"
        for at, column in zip(window.starts, columns, strict=True)
    ]
    if before:
        titles = [
            f"{title}; before: {column.summary(reader)}"
            for title, column in zip(titles, before, strict=True)
        ]
    highest = max(column.highest for column in [*columns, *before])
    return {
        "step": window.step,
        "times": list(zip(window.starts, columns, strict=True)),
        "earlier": before,
        "ticks": charts.ticks(charts.ceiling(highest)),
        "chart": charts.timeline(columns, titles, before),
        "axis": charts.axis(charts.time_ticks(window, reader)),
    }


def _variants(queries: Queries, newsletter_id: str, show: Show, of: RatesOf) -> list[Variant]:
    """Returns variants by name; messages without one come first. Rates are of the same messages."""
    rows = queries.variants(newsletter_id, show)
    if len(rows) < 2:
        return []
    names = queries.names(queries.key(newsletter_id))
    named = [
        (names.get(row["variant"], str(row["variant"] or "")), _rated(row, of)) for row in rows
    ]
    named.sort(key=itemgetter(0))
    shares = [Rate(row["clicked"], row["click_rate_messages"]) for _, row in named]
    compared = all(rate.hits <= rate.of for rate in shares)  # else few deliveries are known
    chances = [
        None,
        *(
            holm([p_value(shares[0], rate) for rate in shares[1:]])
            if compared
            else [None] * len(shares[1:])
        ),
    ]
    return [
        Variant(
            name=name or None,
            value=name or UNNAMED,
            messages=row["messages"],
            clicks_tracked=row["clicks_tracked"],
            open_rate_messages=row["open_rate_messages"],
            click_rate_messages=row["click_rate_messages"],
            opened=row["opened"],
            unknowable=row["unknowable"] if show == "human" else 0,
            clicked=row["clicked"],
            apart=None if chance is None else rate.value - shares[0].value,
            interval=None if chance is None else difference(rate, shares[0]),
            chance=chance,
        )
        for (name, row), rate, chance in zip(named, shares, chances, strict=True)
    ]


def _pair(split: Split, show: Show) -> tuple[int, int]:
    human = split.human.total if show != "machine" else 0
    return human, split.machine.total if show != "human" else 0


def _ranking(agents: Sequence[AgentStats], part: str, show: Show) -> list[Share]:
    """Returns the most frequent ones, and all others together."""
    counted = [(agent.name, getattr(agent, show)) for agent in agents if getattr(agent, show) > 0]
    counted = [("" if name == "-" else name, hits) for name, hits in counted]
    counted.sort(key=lambda pair: -pair[1])
    if [name for name, _ in counted] == [""] and part == "country":
        return []  # no file of countries is set
    whole = sum(hits for _, hits in counted)
    ranked = [
        Share(
            (name.capitalize() if part == "device" else name)
            or UNKNOWN.get(part, f"Unknown {part}"),
            name or "-",
            hits,
            hits / whole,
        )
        for name, hits in counted[:RANKED]
    ]
    if others := sum(hits for _, hits in counted[RANKED:]):
        ranked.append(Share("Other", "", others, others / whole))
    return ranked
