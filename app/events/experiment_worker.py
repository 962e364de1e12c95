"""Decides experiments: figures by variant, which one wins, and that it is recorded once.

Nothing is decided before the moment that the plan has set, so that looking early changes nothing;
and only when everything that came in before that moment was loaded and settled. The outcome and its
event in the feed are one commit: a process that is killed leaves both or neither.
"""

import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine

from app.events.feed import DECIDED, put
from app.events.feed import Row as FeedRow
from app.experiments import significance
from app.experiments.experiments import Experiment, Experiments, decide
from app.experiments.significance import Rate
from app.model.records import now_ms
from app.schemas.experiments import Comparison, Outcome, Plan, Result, VariantFigures
from app.stats.queries import Queries
from app.storage.clickhouse import Row
from app.storage.journal_segments import waiting_since, waiting_to_settle

POLL_SECONDS = 5.0  # seconds between looks
SETTLED_SECONDS = (
    5.0  # seconds after the moment of the decision, for what is under way to be written down
)
LEDGER_LAG_SECONDS = 5.0  # seconds that a message may take from its id to its line in the journal
NOBODY = "00000000-0000-0000-0000-000000000000"  # the message of an event that is about none

_encode = msgspec.json.encode


class Figures(NamedTuple):
    """By variant, in the plan's order; `split` is how likely chance makes so uneven groups."""

    arms: list[VariantFigures]
    comparisons: list[Comparison]
    split: float


def due(experiment: Experiment) -> int | None:
    """When it is decided, in milliseconds since 1970 UTC; None while that is not known."""
    plan, moments = experiment.plan, []
    if plan.decide_at is not None:
        moments.append(int(plan.decide_at.timestamp() * 1000))
    if experiment.full is not None:
        moments.append(experiment.full + int(plan.wait_hours * 3_600_000))
    return min(moments, default=None)


def figures(queries: Queries, experiment: Experiment, now: int) -> Figures:
    """As they are at `now` (milliseconds since 1970 UTC). Raises StorageError."""
    plan, newsletter = experiment.plan, experiment.newsletter
    until = min(now, due(experiment) or now)
    links = []
    if plan.link:
        rows = queries.run("experiment_links", newsletter=newsletter, text=plan.link)
        links = [row["link_key"] for row in rows]
    rows = queries.run(
        "experiment_figures",
        newsletter=newsletter,
        numbers=list(experiment.numbers),
        kind="open" if plan.figure == "opens" else "click",
        linked=int(plan.figure == "link"),
        links=links,
        from_ms=experiment.at,
        to_ms=min(until, experiment.full or until),
        until_ms=until,
    )
    return summed(experiment, rows)


def summed(experiment: Experiment, rows: Sequence[Row] = ()) -> Figures:
    """Figures of rows of experiment_figures.sql; variants without a row have sent nothing."""
    plan, by_number = experiment.plan, {row["variant"]: row for row in rows}
    arms = []
    for number, share in zip(experiment.numbers, plan.variants, strict=True):
        row = by_number.get(number, {})
        rate = Rate(row.get("hits", 0), row.get("tracked", 0))
        bounds = significance.interval(rate, plan.level)
        arms.append(
            VariantFigures(
                variant=share.variant,
                messages=row.get("messages", 0),
                recipients=row.get("recipients", 0),
                of=rate.of,
                hits=rate.hits,
                rate=rate.value,
                low=bounds.low,
                high=bounds.high,
                unsubscribed=row.get("unsubscribed", 0),
            )
        )
    weights = [share.weight for share in plan.variants]
    split = significance.fit([arm.recipients for arm in arms], weights)
    return Figures(arms, compared(arms, plan.level), split)


def current(queries: Queries, experiment: Experiment) -> Figures:
    """As they are now, or those that decided. Raises StorageError."""
    now = figures(queries, experiment, now_ms())
    outcome = experiment.outcome
    return now._replace(arms=outcome.variants, comparisons=outcome.comparisons) if outcome else now


def compared(arms: Sequence[VariantFigures], level: float) -> list[Comparison]:
    """Every pair, the later variant against the earlier one."""
    pairs = [(other, arm) for arm, other in combinations(arms, 2)]
    rates = [(Rate(one.hits, one.of), Rate(other.hits, other.of)) for one, other in pairs]
    chances = [significance.p_value(*pair) for pair in rates]
    comparisons = []
    for (one, other), pair, chance, adjusted in zip(
        pairs, rates, chances, significance.holm(chances), strict=True
    ):
        bounds = significance.difference(*pair, level)
        apart = pair[0].value - pair[1].value
        comparisons.append(
            Comparison(
                variant=one.variant,
                against=other.variant,
                difference=apart,
                low=bounds.low,
                high=bounds.high,
                p_value=chance,
                adjusted=adjusted,
            )
        )
    return comparisons


def winner(
    arms: Sequence[VariantFigures], comparisons: Sequence[Comparison], plan: Plan
) -> tuple[Result, str | None]:
    """The variant whose rate is significantly above every other's, and how it ended."""
    best = max(arms, key=lambda arm: arm.rate)
    against = [pair for pair in comparisons if best.variant in (pair.variant, pair.against)]
    if not all(pair.adjusted < plan.level and pair.difference for pair in against):
        return "no_difference", None
    if plan.guard and _drives_off(best, [arm for arm in arms if arm is not best], plan.level):
        return "guard", None
    return "winner", best.variant


def _drives_off(arm: VariantFigures, others: Sequence[VariantFigures], level: float) -> bool:
    """Whether significantly more of its recipients unsubscribe than of any other's."""
    mine = Rate(arm.unsubscribed, arm.recipients)
    theirs = [Rate(other.unsubscribed, other.recipients) for other in others]
    chances = significance.holm([significance.p_value(mine, rate) for rate in theirs])
    return any(
        chance < level and mine.value > rate.value
        for chance, rate in zip(chances, theirs, strict=True)
    )


def outcome(experiment: Experiment, current: Figures) -> Outcome:
    """What the figures say at the moment of the decision."""
    plan = experiment.plan
    result, name = winner(current.arms, current.comparisons, plan)
    return Outcome(
        id=experiment.id,
        result=result,
        winner=name,
        figure=plan.figure,
        link=plan.link,
        level=plan.level,
        variants=current.arms,
        comparisons=current.comparisons,
    )


class ExperimentWorker:
    """One workspace's. Call `take` now and then, in one process of a data folder. Blocking."""

    def __init__(
        self, journal: Path, engine: Engine, experiments: Experiments, queries: Queries
    ) -> None:
        self._journal, self._engine, self._experiments = journal, engine, experiments
        self._queries = queries
        self._taken = -POLL_SECONDS
        self._loaded: dict[str, float] = {}  # when all that counts had been loaded, by experiment

    def take(self, often: float = POLL_SECONDS) -> int:
        """Decide what is due and return how many. Raises StorageError without ClickHouse."""
        if time.monotonic() - self._taken < often:
            return 0
        self._taken = time.monotonic()
        waiting = self._experiments.undecided()
        known = {experiment.id for experiment in waiting}
        self._loaded = {name: at for name, at in self._loaded.items() if name in known}
        return sum(self._decide(self._filled(experiment)) for experiment in waiting)

    def _filled(self, experiment: Experiment) -> Experiment:
        """With the moment at which the sample has its size, where it has it now."""
        wanted = experiment.plan.decide_after_messages
        if wanted is None or experiment.full is not None:
            return experiment
        (row,) = self._queries.run(
            "experiment_sent",
            newsletter=experiment.newsletter,
            from_ms=experiment.at,
            numbers=list(experiment.numbers),
        )
        if row["messages"] < wanted:
            return experiment
        return self._experiments.fill(experiment, now_ms())

    def _decide(self, experiment: Experiment) -> bool:
        at, now = due(experiment), now_ms()
        if at is None or now < at + SETTLED_SECONDS * 1000 or not self._settled(experiment, at):
            return False
        decision = outcome(experiment, figures(self._queries, experiment, at))
        row = FeedRow(
            workspace=self._queries.workspace,
            newsletter=experiment.newsletter,
            message=NOBODY,
            at=at / 1000,
            kind=DECIDED,
            recipient=0,
            verdict="",
            segment=experiment.id,
            line=0,
            outcome=decision,
        )
        with self._engine.begin() as connection:
            recorded = decide(connection, experiment, decision, at)
            if recorded:
                put(connection, experiment.id, _encode(row) + b"\n", time.time())
        return recorded

    def _settled(self, experiment: Experiment, at: int) -> bool:
        """Whether all hits before `at` (ms) are loaded, and so are the corrections they led to."""
        now = time.time()
        if experiment.id not in self._loaded:
            if (waiting_since(self._journal, now) - LEDGER_LAG_SECONDS) * 1000 < at:
                return False
            self._loaded[experiment.id] = now
        return waiting_to_settle(self._journal, now) > self._loaded[experiment.id]
