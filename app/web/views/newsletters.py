"""What the pages of the dashboard show: figures and rows, ready for their templates."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

from app.events import experiment_worker
from app.experiments.experiments import Experiments
from app.experiments.significance import Interval, Rate, difference, holm, p_value
from app.experiments.variants import UNNAMED
from app.model.errors import NotFoundError
from app.schemas.stats import AgentStats, LinkStats, OutcomeCounts, Split
from app.stats import rates
from app.stats.filters import STEPS, Filters, Show
from app.stats.queries import SLOTS, Queries, Step, utc
from app.storage.clickhouse import Row
from app.web.views import charts

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
    adjusted for the number of variants. All three are None for the first.
    """

    name: str | None
    value: str
    messages: int
    opens_tracked: int
    clicks_tracked: int
    opened: int
    unknowable: int
    clicked: int
    apart: float | None
    interval: Interval | None
    chance: float | None


def newsletters(queries: Queries, filters: Filters) -> dict[str, Any]:
    """Returns the page of all newsletters."""
    rows = queries.newsletters(filters, PAGE + 1, (filters.page - 1) * PAGE)
    more, rows = len(rows) > PAGE, rows[:PAGE]
    lines = {row["newsletter"]: [0] * SLOTS for row in rows}
    for slot in queries.sparklines(rows):
        lines[slot["newsletter"]][slot["slot"]] = slot[f"{filters.show}_total"]
    outcomes = queries.outcomes_of([row["newsletter"] for row in rows])
    whole = rows[0] if rows else {}
    names = (
        "messages",
        "opens_tracked",
        "clicks_tracked",
        "opened",
        "unknowable",
        "clicked",
        "unsubscribes",
    )
    totals = {name: whole.get(f"{name}_in_all", 0) for name in names}
    return {
        "filters": filters,
        "rows": [
            _ranked(row, totals, lines[row["newsletter"]], outcomes.get(row["newsletter"]))
            for row in rows
        ],
        "outcomes": any(counts.known for counts in outcomes.values()),
        "totals": totals,
        "older": more,
    }


def _ranked(
    row: Row, totals: dict[str, int], line: Sequence[int], outcomes: OutcomeCounts | None
) -> dict[str, Any]:
    """Returns a row with its rates' distance from the average, in points, None if alone.

    `outcomes` is None where nothing is known of deliveries.
    """
    deltas = {}
    for kind, of in (("opened", "opens_tracked"), ("clicked", "clicks_tracked")):
        others = totals[of] - row[of]
        known = row[of] and others
        average = (totals[kind] - row[kind]) / others if known else 0
        deltas[kind] = 100 * (row[kind] / row[of] - average) if known else None
    return {
        **row,
        "sparkline": charts.sparkline(line),
        "delta": deltas,
        "outcomes": outcomes if outcomes and outcomes.known else None,
    }


def tags(queries: Queries, filters: Filters) -> dict[str, Any]:
    """Returns the page of all tags: newsletters and transactional streams by topic."""
    return {"filters": filters, "rows": queries.tags(filters, TAGS)}


def newsletter(queries: Queries, newsletter_id: str, filters: Filters) -> dict[str, Any]:
    """Returns the page of one newsletter."""
    show, hit_filters = filters.show, filters.hit_filters
    described = queries.newsletter(newsletter_id)
    stats = queries.stats(newsletter_id, hit_filters, filters.rates_of)
    links = queries.links(newsletter_id, hit_filters)
    links.sort(key=lambda link: -getattr(link, show).unique)
    agents = queries.agents(newsletter_id, hit_filters)
    opens, clicks = getattr(stats.opens, show), getattr(stats.clicks, show)
    unknowable = stats.unknowable if show == "human" else 0
    lately = queries.lately(newsletter_id, datetime.now(UTC) - LATELY)
    return {
        "newsletter": described,
        "filters": filters,
        "stats": stats,
        "rated": stats.outcomes.arrived if stats.rates_of == "delivered" else stats.messages,
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
        "variants": _variants(queries, newsletter_id, show),
        "rankings": {
            "Read in (mail clients)": ("family", _ranking(agents.families, "mail client", show)),
            "Clients and browsers": ("client", _ranking(agents.clients, "client", show)),
            "Devices": ("device", _ranking(agents.devices, "device", show)),
            "Operating systems": ("os", _ranking(agents.systems, "operating system", show)),
            "Countries": ("country", _ranking(agents.countries, "country", show)),
        },
        **_timeline(queries, newsletter_id, filters, stats.updated_at),
    }


def mail_providers(queries: Queries, newsletter_id: str, filters: Filters) -> dict[str, Any]:
    """Returns the page of a newsletter's messages by mail provider. Raises NotFoundError."""
    applied = {
        name: value
        for name, value in filters.hit_filters.items()
        if name in ("variant", "period")  # the others are of hits
    }
    return {
        "newsletter": queries.newsletter(newsletter_id),
        "filters": filters,
        "chips": applied,
        "providers": queries.mail_providers(newsletter_id, applied, filters.show),
    }


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
    """Returns the filters that are set, as they are shown: a link by what it is called."""
    named = {link.id: link.title for link in links}
    return {
        name: named.get(value, value) if name == "link" else value
        for name, value in filters.hit_filters.items()
    }


def _timeline(
    queries: Queries, newsletter_id: str, filters: Filters, last: datetime | None
) -> dict[str, Any]:
    sent, now = queries.sent(newsletter_id, filters.hit_filters), datetime.now(UTC)
    first = utc(sent["first_at"]) if sent["messages"] else last or now
    starts, step = shown = charts.window(first, last or now, now, STEPS[filters.step])
    points = queries.timeline(newsletter_id, starts[0], shown.end, step, filters.hit_filters)
    return drawn(starts, step, points, filters.show)


def drawn(
    starts: Sequence[datetime], step: int, points: Sequence[Step], show: Show
) -> dict[str, Any]:
    """Returns a timeline as templates show it (macros.timeline): chart, axes and table.

    `points` are the totals of steps of `step` seconds, of which those that begin at `starts` show.
    """
    by_time = {point.at: _column(point, show) for point in points}
    columns = [by_time.get(at, charts.Column(0, 0, 0, 0)) for at in starts]
    titles = [
        f"{when(at, step)} UTC: {column.summary}"
        for at, column in zip(starts, columns, strict=True)
    ]
    return {
        "step": step,
        "times": list(zip(starts, columns, strict=True)),
        "ticks": charts.ticks(charts.ceiling(max(column.highest for column in columns))),
        "chart": charts.timeline(columns, titles),
        "axis": charts.axis(charts.time_ticks(starts, step)),
    }


def _variants(queries: Queries, newsletter_id: str, show: Show) -> list[Variant]:
    """Returns variants by name; messages without one come first."""
    rows = queries.variants(newsletter_id, show)
    if len(rows) < 2:
        return []
    names = queries.names(queries.key(newsletter_id))
    named = [(names.get(row["variant"], str(row["variant"] or "")), row) for row in rows]
    named.sort(key=itemgetter(0))
    shares = [Rate(row["clicked"], row["clicks_tracked"]) for _, row in named]
    chances = [None, *holm([p_value(shares[0], rate) for rate in shares[1:]])]
    return [
        Variant(
            name=name or None,
            value=name or UNNAMED,
            messages=row["messages"],
            opens_tracked=row["opens_tracked"],
            clicks_tracked=row["clicks_tracked"],
            opened=row["opened"],
            unknowable=row["unknowable"] if show == "human" else 0,
            clicked=row["clicked"],
            apart=None if chance is None else rate.value - shares[0].value,
            interval=None if chance is None else difference(rate, shares[0]),
            chance=chance,
        )
        for (name, row), rate, chance in zip(named, shares, chances, strict=True)
    ]


def _column(step: Step, show: Show) -> charts.Column:
    return charts.Column(*_pair(step.opens, show), *_pair(step.clicks, show))


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


def when(at: datetime, step: int = 60) -> str:
    """Returns a time as people read it, as fine as `step` (seconds) asks for."""
    shown = "%d %b %Y" if step >= 86_400 else "%d %b %H:%M" if step >= 60 else "%d %b %H:%M:%S"
    return utc(at).strftime(shown)
