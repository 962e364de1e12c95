"""Stores experiments, and chooses which variant of a newsletter a recipient gets.

The variant follows from the recipient's key and the experiment's id alone, so every process chooses
the same one for a recipient, and none is stored. A hash of both makes the variants that a recipient
gets in different experiments independent.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.experiments.variants import NONE, Variants
from app.model.records import now_ms
from app.schemas.experiments import (
    ExperimentError,
    Outcome,
    Plan,
)
from app.storage.tables import experiments, signed, unsigned

MAX_UNDECIDED = 100  # experiments of a workspace
LOOK_SECONDS = 0.5  # between reads of a newsletter's experiment, which every message needs
MAX_REMEMBERED = 10_000  # newsletters

_BY_NEWSLETTER = select(experiments).where(
    experiments.c.workspace == bindparam("workspace"),
    experiments.c.newsletter == bindparam("newsletter"),
)


class Choice(NamedTuple):
    """The variant of a message (NONE: no variant); with `holdout`, send none until the decision."""

    number: int = NONE
    name: str = ""
    holdout: bool = False


NO_CHOICE = Choice()


class Experiment(NamedTuple):
    """A stored experiment; `numbers` are those of the plan's variants.

    Times are in milliseconds since 1970 UTC.
    """

    id: str
    newsletter: int
    newsletter_id: str
    plan: Plan
    numbers: Sequence[int]
    at: int
    full: int | None
    decided: int | None
    outcome: Outcome | None

    def choose(self, recipient: int) -> Choice:
        """Choose the variant for a recipient's key."""
        names = [share.variant for share in self.plan.variants]
        if self.outcome and self.plan.apply_winner and self.outcome.winner in names:
            place = names.index(self.outcome.winner)
            return Choice(self.numbers[place], names[place])
        # 64 bits decide on the holdout, another 64 on the variant, so that they are independent.
        digest = blake2b(
            recipient.to_bytes(8, "big"), digest_size=16, key=self.id.encode(), person=b"experiment"
        ).digest()
        # Decided without a winner: all recipients are split, and none is held out any more.
        decided = self.outcome is not None and self.plan.apply_winner
        if not decided and int.from_bytes(digest[:8], "big") < self.plan.holdout * 2**64:
            return Choice(holdout=True)
        rest = int.from_bytes(digest[8:], "big") * sum(s.weight for s in self.plan.variants) >> 64
        for number, share in zip(self.numbers, self.plan.variants, strict=True):
            if rest < share.weight:
                return Choice(number, share.variant)
            rest -= share.weight
        raise AssertionError  # `rest` is less than the sum of the weights


class Experiments:
    """The experiments of one workspace, one per newsletter, and their variants.

    Blocking, but quick. Other processes apply a change within LOOK_SECONDS.
    """

    def __init__(self, engine: Engine, workspace: str = "default") -> None:
        self._engine, self._workspace = engine, workspace
        self.variants = Variants(engine, workspace)
        self._looked: OrderedDict[int, tuple[float, Experiment | None]] = OrderedDict()

    def add(self, newsletter: int, newsletter_id: str, plan: Plan) -> Experiment:
        """Store a new experiment. Raises ExperimentError, VariantError."""
        now = now_ms()
        plan.check(now / 1000)
        numbers = [self.variants.number(newsletter, share.variant) for share in plan.variants]
        values = {
            "id": f"exp_{secrets.token_hex(8)}",
            "workspace": self._workspace,
            "newsletter": signed(newsletter),
            "newsletter_id": newsletter_id,
            "plan": msgspec.json.encode(plan),
            "numbers": msgspec.json.encode(numbers),
            "at": now,
        }
        waiting = select(func.count()).where(*self._undecided())
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(experiments).values(values))
                if connection.execute(waiting).scalar_one() > MAX_UNDECIDED:
                    raise ExperimentError(
                        f"there are already {MAX_UNDECIDED} undecided experiments, the maximum",
                        "newsletter_id",
                    )
        except IntegrityError:
            raise ExperimentError(
                "the newsletter already has an experiment. Remove it first."
            ) from None
        return Experiment(
            id=str(values["id"]),
            newsletter=newsletter,
            newsletter_id=newsletter_id,
            plan=plan,
            numbers=numbers,
            at=now,
            full=None,
            decided=None,
            outcome=None,
        )

    def get(self, newsletter: int) -> Experiment | None:
        """Returns the newsletter's experiment; None if it has none."""
        parameters = {"workspace": self._workspace, "newsletter": signed(newsletter)}
        with self._engine.connect() as connection:
            row = connection.execute(_BY_NEWSLETTER, parameters).first()
        return _experiment(row) if row else None

    def remove(self, newsletter: int) -> bool:
        """Delete the newsletter's experiment; returns whether there was one.

        Messages keep their variants.
        """
        with self._engine.begin() as connection:
            removed = connection.execute(
                delete(experiments).where(
                    experiments.c.workspace == self._workspace,
                    experiments.c.newsletter == signed(newsletter),
                )
            )
        return bool(removed.rowcount)

    def undecided(self) -> list[Experiment]:
        """Returns the undecided experiments, the oldest first."""
        query = select(experiments).where(*self._undecided()).order_by(experiments.c.at)
        with self._engine.connect() as connection:
            return list(map(_experiment, connection.execute(query)))

    def fill(self, experiment: Experiment, at: int) -> Experiment:
        """Record that the sample reached its size at `at` (milliseconds since 1970 UTC)."""
        with self._engine.begin() as connection:
            connection.execute(
                update(experiments).where(experiments.c.id == experiment.id).values(full=at)
            )
        return experiment._replace(full=at)

    def choices(self, newsletter: int, name: str | None, new: bool = True) -> "Choices":
        """Returns the choices for messages of one variant or, if `name` is None, of the experiment.

        Without `new` a name that has no number does not get one. Raises VariantError.
        """
        if name is None:
            return Choices(self._latest(newsletter))
        find = self.variants.number if new else self.variants.find
        return Choices(None, Choice(find(newsletter, name) or NONE, name))

    def _latest(self, newsletter: int) -> Experiment | None:
        """Returns the newsletter's experiment, up to LOOK_SECONDS old."""
        known, now = self._looked.get(newsletter), time.monotonic()
        if known and now - known[0] < LOOK_SECONDS:
            return known[1]
        experiment = self.get(newsletter)
        self._looked[newsletter] = now, experiment
        self._looked.move_to_end(newsletter)
        if len(self._looked) > MAX_REMEMBERED:
            self._looked.popitem(last=False)
        return experiment

    def _undecided(self) -> Sequence[Any]:
        return experiments.c.workspace == self._workspace, experiments.c.decided.is_(None)


class Choices(NamedTuple):
    """The variants that recipients get at one time: all the same one, or by an experiment."""

    experiment: Experiment | None = None
    fixed: Choice = NO_CHOICE

    def of(self, recipient: int) -> Choice:
        """Returns the choice for a recipient's key."""
        return self.experiment.choose(recipient) if self.experiment else self.fixed


def decide(connection: Connection, experiment: Experiment, outcome: Outcome, at: int) -> bool:
    """Record the outcome unless there already is one; returns whether it was recorded."""
    recorded = connection.execute(
        update(experiments)
        .where(experiments.c.id == experiment.id, experiments.c.decided.is_(None))
        .values(decided=at, outcome=msgspec.json.encode(outcome))
    )
    return bool(recorded.rowcount)


def _experiment(row: Any) -> Experiment:
    return Experiment(
        id=row.id,
        newsletter=unsigned(row.newsletter),
        newsletter_id=row.newsletter_id,
        plan=msgspec.json.decode(row.plan, type=Plan),
        numbers=msgspec.json.decode(row.numbers, type=list[int]),
        at=row.at,
        full=row.full,
        decided=row.decided,
        outcome=msgspec.json.decode(row.outcome, type=Outcome) if row.outcome else None,
    )
