"""The API of experiments: a newsletter's split into variants, its figures and its decision."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.api_keys import Scope
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
)
from app.schemas.fields import (
    Id,
)
from app.schemas.problem import (
    Problem,
)
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.requests import (
    PROBLEMS,
    REWRITE,
    authorized,
    decoded,
    invalid,
    json,
    newsletter_id_of,
    spec,
)

MAX_ASSIGNMENTS_BYTES = 8_000_000
CHANGED = {"HTTP_413": Problem, "HTTP_422": Problem}


@spec.validate(
    json=Plan,
    resp=Responses(HTTP_200=ExperimentOut, HTTP_409=Problem, **CHANGED, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def start(request: Request) -> Response:
    """Start an experiment: from now on recipients are split into variants.

    A newsletter has one experiment at most. It is in effect once this request has returned.
    """
    api, newsletter_id = authorized(request, "rewrite"), newsletter_id_of(request)
    try:
        msgspec.convert(newsletter_id, Id)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    plan = await decoded(request, Plan, 65_536)
    key = api.newsletter_key(newsletter_id)
    try:
        experiment = await asyncio.to_thread(api.experiments.add, key, newsletter_id, plan)
    except VariantError as error:
        raise RequestError(422, str(error), "variants") from None
    except ExperimentError as error:
        raise RequestError(422 if error.field else 409, str(error), error.field) from None
    await asyncio.sleep(LOOK_SECONDS)
    return json(out(experiment, summed(experiment)))


@spec.validate(resp=Responses(HTTP_200=ExperimentOut, **PROBLEMS), skip_validation=True)
async def show(request: Request) -> Response:
    """Return the newsletter's experiment: statistics by variant and, once due, the decision."""
    api, experiment = await _known(request, "read")
    return json(out(experiment, await asyncio.to_thread(current, api.queries, experiment)))


@spec.validate(
    resp=Responses(HTTP_200=ExperimentOut, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def end(request: Request) -> Response:
    """Remove the experiment. Recipients are no longer split; messages keep their variants."""
    api, experiment = await _known(request, "rewrite")
    last = out(experiment, await asyncio.to_thread(current, api.queries, experiment))
    await asyncio.to_thread(api.experiments.remove, experiment.newsletter)
    await asyncio.sleep(LOOK_SECONDS)
    return json(last)


@spec.validate(
    json=AssignmentsIn,
    resp=Responses(HTTP_200=AssignmentList, **CHANGED, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def assignments(request: Request) -> Response:
    """Return the variant of up to 10,000 recipients. A recipient's variant never changes."""
    api, experiment = await _known(request, "rewrite")
    wanted = await decoded(request, AssignmentsIn, MAX_ASSIGNMENTS_BYTES)
    return json(await asyncio.to_thread(_assigned, api, experiment, wanted.recipients))


def _assigned(
    api: WorkspaceContext, experiment: Experiment, recipients: Sequence[str]
) -> AssignmentList:
    assigned = []
    for recipient in recipients:
        choice = experiment.choose(api.preparer.key(recipient))
        assigned.append(AssignmentOut(recipient, choice.name or None, choice.holdout))
    return AssignmentList(assigned)


def out(experiment: Experiment, at: Figures) -> ExperimentOut:
    """An experiment as the API returns it."""
    full: ExperimentState = "running" if experiment.full is None else "full"
    return ExperimentOut(
        experiment.id,
        experiment.newsletter_id,
        "decided" if experiment.outcome else full,
        datetime.fromtimestamp(experiment.at / 1000, UTC),
        _at(experiment.decided),
        _at(due(experiment)),
        experiment.plan,
        at.arms,
        at.comparisons,
        at.split,
        experiment.outcome,
    )


async def _known(request: Request, scope: Scope) -> tuple[WorkspaceContext, Experiment]:
    api, newsletter_id = authorized(request, scope), newsletter_id_of(request)
    key = api.newsletter_key(newsletter_id)
    experiment = await asyncio.to_thread(api.experiments.get, key)
    if experiment is None:
        detail = f"newsletter {newsletter_id!r} has no experiment"
        raise NotFoundError("newsletter_id", detail)
    return api, experiment


def _at(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


ONE = "/v1/newsletters/{newsletter_id}/experiment"
ROUTES: Sequence[Route] = (
    Route(ONE, show),
    Route(ONE, start, methods=["POST"]),
    Route(ONE, end, methods=["DELETE"]),
    Route(f"{ONE}/assignments", assignments, methods=["POST"]),
)
