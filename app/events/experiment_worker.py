"""Decides experiments: computes figures by variant and records the winner once.

Nothing is decided before the time that the plan sets, so that looking early changes nothing, and
only when everything that came in before that time is loaded and settled. The outcome and its event
in the feed are one commit: a process that is killed leaves both or neither.
"""

import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine

from app.clock import CLOCK
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

POLL_SECONDS = 5.0  # seconds between checks
SETTLED_SECONDS = 5.0  # seconds after the decision's time, for hits that are being written
LEDGER_LAG_SECONDS = 5.0  # seconds that a message may take from its id to its line in the journal
NOBODY = "00000000-0000-0000-0000-000000000000"  # the message id of an event without a message

_encode = msgspec.json.encode


class Figures(NamedTuple):
    """Figures by variant, in the plan's order; `split` is the p-value of the groups' sizes."""

    arms: list[VariantFigures]
    comparisons: list[Comparison]
    split: float


def due(experiment: Experiment) -> int | None:
    """Returns when it is decided, in ms since 1970 UTC, or None while that is unknown."""
    plan, moments = experiment.plan, []
    if plan.decide_at is not None:
        moments.append(int(plan.decide_at.timestamp() * 1000))
    if experiment.full is not None:
        moments.append(experiment.full + int(plan.wait_hours * 3_600_000))
    return min(moments, default=None)


def figures(queries: Queries, experiment: Experiment, now: int) -> Figures:
    """Returns the figures as of `now` (ms since 1970 UTC). Raises StorageError."""
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
    """Returns figures from rows of experiment_figures.sql; no row means that nothing was sent."""
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
                unknowable=row.get("unknowable", 0),
            )
        )
    weights = [share.weight for share in plan.variants]
    split = significance.fit([arm.recipients for arm in arms], weights)
    return Figures(arms, compared(arms, plan.level), split)


def current(queries: Queries, experiment: Experiment) -> Figures:
    """Returns the figures as of now, or those of the decision. Raises StorageError."""
    now = figures(queries, experiment, now_ms())
    outcome = experiment.outcome
    return now._replace(arms=outcome.variants, comparisons=outcome.comparisons) if outcome else now


def compared(arms: Sequence[VariantFigures], level: float) -> list[Comparison]:
    """Compare every pair, the later variant against the earlier one."""
    pairs = [(later, earlier) for earlier, later in combinations(arms, 2)]
    rates = [(Rate(arm.hits, arm.of), Rate(other.hits, other.of)) for arm, other in pairs]
    chances = [significance.p_value(*pair) for pair in rates]
    comparisons = []
    for (arm, other), pair, chance, adjusted in zip(
        pairs, rates, chances, significance.holm(chances), strict=True
    ):
        bounds = significance.difference(*pair, level)
        apart = pair[0].value - pair[1].value
        comparisons.append(
            Comparison(
                variant=arm.variant,
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
    """Returns how it ended, and the variant whose rate is significantly above every other's."""
    best = max(arms, key=lambda arm: arm.rate)
    against = [pair for pair in comparisons if best.variant in (pair.variant, pair.against)]
    if not all(pair.adjusted < plan.level and pair.difference for pair in against):
        return "no_difference", None
    if plan.guard and _drives_off(best, [arm for arm in arms if arm is not best], plan.level):
        return "guard", None
    return "winner", best.variant


def _drives_off(arm: VariantFigures, others: Sequence[VariantFigures], level: float) -> bool:
    """Returns whether significantly more recipients unsubscribe from it than from another."""
    mine = Rate(arm.unsubscribed, arm.recipients)
    theirs = [Rate(other.unsubscribed, other.recipients) for other in others]
    chances = significance.holm([significance.p_value(mine, rate) for rate in theirs])
    return any(
        chance < level and mine.value > rate.value
        for chance, rate in zip(chances, theirs, strict=True)
    )


def outcome(experiment: Experiment, current: Figures) -> Outcome:
    """Returns the outcome by the figures at the time of the decision."""
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
    """Decides one workspace's experiments. Blocking.

    Call `take` regularly, in one process of a data folder.
    """

    def __init__(
        self, journal: Path, engine: Engine, experiments: Experiments, queries: Queries
    ) -> None:
        self._journal, self._engine, self._experiments = journal, engine, experiments
        self._queries = queries
        self._taken = -POLL_SECONDS
        self._loaded: dict[str, float] = {}  # when everything that counts was loaded, by experiment

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
        """Returns the experiment with the time at which its sample was full, if it is by now."""
        sample_size = experiment.plan.decide_after_messages
        if sample_size is None or experiment.full is not None:
            return experiment
        (row,) = self._queries.run(
            "experiment_sent",
            newsletter=experiment.newsletter,
            from_ms=experiment.at,
            numbers=list(experiment.numbers),
        )
        if row["messages"] < sample_size:
            return experiment
        return self._experiments.fill(experiment, now_ms())

    def _decide(self, experiment: Experiment) -> bool:
        at, now = due(experiment), now_ms()
        if CLOCK.doubtful or at is None:
            return False
        if now < at + SETTLED_SECONDS * 1000 or not self._settled(experiment, at):
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
        """Returns whether all hits before `at` (ms), and their corrections, are loaded."""
        now = time.time()
        if experiment.id not in self._loaded:
            if (waiting_since(self._journal, now) - LEDGER_LAG_SECONDS) * 1000 < at:
                return False
            self._loaded[experiment.id] = now
        return waiting_to_settle(self._journal, now) > self._loaded[experiment.id]
