"""Experiments, and the variants that recipients get."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from app.schemas.fields import (
    Recipient,
    VariantName,
)
from app.schemas.timestamps import Timestamp, timestamp_or_none

Figure = Literal["clicks", "opens", "link"]


# winner: it is better than every other. no_difference: none is, as far as the sample can show.
# guard: the one that is better makes more recipients unsubscribe.
Result = Literal["winner", "no_difference", "guard"]


class ExperimentError(Exception):
    """An experiment that cannot be created; `field` names what is wrong, if one field is."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """A variant and its weight: its share of recipients is its weight divided by all weights."""

    variant: VariantName
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1


class PlanBase(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a plan without its time."""

    variants: Annotated[tuple[Share, ...], Meta(min_length=2, max_length=20)]
    holdout: Annotated[float, Meta(ge=0, le=0.95)] = 0
    figure: Figure = "clicks"
    link: Annotated[str, Meta(max_length=2000)] = ""
    guard: bool = True
    level: Annotated[float, Meta(ge=0.001, le=0.2)] = 0.05
    decide_after_messages: Annotated[int, Meta(ge=100, le=1_000_000_000)] | None = None
    wait_hours: Annotated[float, Meta(ge=0, le=720)] = 24
    apply_winner: bool = False


class Plan(PlanBase, frozen=True, forbid_unknown_fields=True):
    """How recipients are split and how the winner is determined.

    `holdout` is the share of recipients that get no variant before the decision. The winner is the
    variant with the highest rate of `figure`: clicks, opens, or clicks on the `link` with this ID,
    name, label or URL. With `guard`, a variant with significantly more unsubscribes cannot win.
    The decision falls at `decide_at`, or once `decide_after_messages` have been sent and the last
    of them is `wait_hours` old, whichever is first. With `apply_winner`, all later recipients get
    the winner.
    """

    decide_at: Annotated[datetime, Meta(tz=True)] | None = None

    def check(self, now: float) -> None:
        """Raises ExperimentError; `now` is in seconds since 1970 UTC."""
        names = [share.variant for share in self.variants]
        if len(set(names)) < len(names):
            raise ExperimentError("each variant must be listed once", "variants")
        if (self.figure == "link") != bool(self.link):
            raise ExperimentError("is required with figure: link and not allowed otherwise", "link")
        if self.decide_at is None and self.decide_after_messages is None:
            raise ExperimentError("or decide_after_messages is required", "decide_at")
        if self.decide_at is not None and not now < self.decide_at.timestamp() < now + 366 * 86_400:
            raise ExperimentError("must lie within the next 366 days", "decide_at")


class PlanOut(PlanBase, frozen=True, forbid_unknown_fields=False):
    """A plan as it was given; `decide_at` is in UTC."""

    decide_at: Timestamp | None = None

    @classmethod
    def of(cls, plan: Plan) -> "PlanOut":
        """Returns a plan as answers contain it."""
        fields = msgspec.structs.asdict(plan)
        return cls(**{**fields, "decide_at": timestamp_or_none(plan.decide_at)})


class VariantFigures(Struct, frozen=True):
    """Statistics of a variant: `hits` of `of` recipients, `rate` and its interval `low` to `high`.

    `of` counts the `recipients` that are tracked individually (docs/privacy.md). With the figure
    opens, `unknowable` counts recipients whose opens may or may not be a person's
    (docs/counting.md): the open rate lies between `rate` and (`hits` + `unknowable`) / `of`.
    """

    variant: str
    messages: int
    recipients: int
    of: int
    hits: int
    rate: float
    low: float
    high: float
    unsubscribed: int
    unknowable: int = 0


class Comparison(Struct, frozen=True):
    """Two variants compared: the rate of `variant` minus that of `against`, and its interval.

    `p_value` is for this pair alone; `adjusted` is corrected for the number of pairs.
    """

    variant: str
    against: str
    difference: float
    low: float
    high: float
    p_value: float
    adjusted: float


class Outcome(Struct, frozen=True):
    """The decision and the statistics that it is based on, which no longer change."""

    id: str
    result: Result
    winner: str | None
    figure: Figure
    link: str
    level: float
    variants: list[VariantFigures]
    comparisons: list[Comparison]


class AssignmentsIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Recipients to assign to variants."""

    recipients: Annotated[list[Recipient], Meta(max_length=10_000)]


class AssignmentOut(Struct, frozen=True):
    """The variant of a recipient. Do not send anything yet if `holdout` is true."""

    recipient: str
    variant: str | None
    holdout: bool


class AssignmentList(Struct, frozen=True):
    """Assignments in the order of the recipients in the request."""

    assignments: list[AssignmentOut]


ExperimentState = Literal["running", "full", "decided"]


class ExperimentOut(Struct, frozen=True):
    """A newsletter's experiment. Statistics cover messages sent since `started_at`.

    `state` is running, full (the sample is complete, waiting for more hits) or decided. Once it is
    decided, the statistics are those of the decision. `outcome` is null before.
    """

    id: str
    newsletter_id: str
    state: ExperimentState
    started_at: Timestamp
    decided_at: Timestamp | None
    decide_by: Timestamp | None
    plan: PlanOut
    variants: list[VariantFigures]
    comparisons: list[Comparison]
    split_chance: float
    outcome: Outcome | None
