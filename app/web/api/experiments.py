"""The API of experiments: a newsletter's split into variants, its figures and its decision."""

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from app.events.experiment_worker import Figures, current, due, summed
from app.experiments.experiments import LOOK_SECONDS, Experiment
from app.experiments.variants import VariantError
from app.model.errors import NotFoundError
from app.schemas.experiments import (
    AssignmentList,
    AssignmentOut,
    AssignmentsIn,
    ExperimentError,
    ExperimentOut,
    ExperimentState,
    Plan,
    PlanOut,
)
from app.schemas.fields import (
    Id,
)
from app.schemas.timestamps import Timestamp, timestamp
from app.web.api.operation import Call, Operation
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.query import NoQuery
from app.web.requests import json

MAX_ASSIGNMENTS_BYTES = 8_000_000


async def start_experiment(call: Call[NoQuery]) -> Response:
    """Start an experiment: from now on recipients are split into variants.

    A newsletter has one experiment at most. It is in effect once this request has returned.
    """
    api, newsletter_id = call.api, call.path("newsletter_id", Id)
    plan = await call.body(Plan, 65_536)
    key = api.newsletter_key(newsletter_id)
    try:
        experiment = await asyncio.to_thread(api.experiments.add, key, newsletter_id, plan)
    except VariantError as error:
        raise RequestError(422, str(error), "variants") from None
    except ExperimentError as error:
        raise RequestError(422 if error.field else 409, str(error), error.field) from None
    await asyncio.sleep(LOOK_SECONDS)
    return json(out(experiment, summed(experiment)))


async def get_experiment(call: Call[NoQuery]) -> Response:
    """Return the newsletter's experiment: statistics by variant and, once due, the decision."""
    experiment = await _known(call)
    return json(out(experiment, await asyncio.to_thread(current, call.api.queries, experiment)))


async def end_experiment(call: Call[NoQuery]) -> Response:
    """Remove the experiment. Recipients are no longer split; messages keep their variants."""
    api, experiment = call.api, await _known(call)
    last = out(experiment, await asyncio.to_thread(current, api.queries, experiment))
    await asyncio.to_thread(api.experiments.remove, experiment.newsletter)
    await asyncio.sleep(LOOK_SECONDS)
    return json(last)


async def assign_variants(call: Call[NoQuery]) -> Response:
    """Return the variant of up to 10,000 recipients. A recipient's variant never changes."""
    api, experiment = call.api, await _known(call)
    body = await call.body(AssignmentsIn, MAX_ASSIGNMENTS_BYTES)
    return json(await asyncio.to_thread(_assigned, api, experiment, body.recipients))


def _assigned(
    api: WorkspaceContext, experiment: Experiment, recipients: Sequence[str]
) -> AssignmentList:
    assigned = []
    for recipient in recipients:
        choice = experiment.choose(api.preparer.key(recipient))
        assigned.append(AssignmentOut(recipient, choice.name or None, choice.holdout))
    return AssignmentList(assigned)


def out(experiment: Experiment, at: Figures) -> ExperimentOut:
    """Returns an experiment as the API returns it."""
    full: ExperimentState = "running" if experiment.full is None else "full"
    return ExperimentOut(
        id=experiment.id,
        newsletter_id=experiment.newsletter_id,
        state="decided" if experiment.outcome else full,
        started_at=timestamp(experiment.at / 1000),
        decided_at=_at(experiment.decided),
        decide_by=_at(due(experiment)),
        plan=PlanOut.of(experiment.plan),
        variants=at.arms,
        comparisons=at.comparisons,
        split_chance=at.split,
        outcome=experiment.outcome,
    )


async def _known(call: Call[NoQuery]) -> Experiment:
    """Returns the experiment of the newsletter of the path. Raises NotFoundError."""
    api, newsletter_id = call.api, call.path("newsletter_id")
    key = api.newsletter_key(newsletter_id)
    experiment = await asyncio.to_thread(api.experiments.get, key)
    if experiment is None:
        detail = f"newsletter {newsletter_id!r} has no experiment"
        raise NotFoundError("newsletter_id", detail)
    return experiment


def _at(ms: int | None) -> Timestamp | None:
    return None if ms is None else timestamp(ms / 1000)


ONE = "/v1/newsletters/{newsletter_id}/experiment"
OPERATIONS = (
    Operation("GET", ONE, get_experiment, gives=ExperimentOut),
    Operation(
        "POST",
        ONE,
        start_experiment,
        scope="rewrite",
        takes=Plan,
        gives=ExperimentOut,
        problems=(409,),
    ),
    Operation("DELETE", ONE, end_experiment, scope="rewrite", gives=ExperimentOut),
    Operation(
        "POST",
        f"{ONE}/assignments",
        assign_variants,
        scope="rewrite",
        takes=AssignmentsIn,
        gives=AssignmentList,
        stores=False,
    ),
)
