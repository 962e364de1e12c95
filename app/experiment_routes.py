"""The API of experiments: a newsletter's split into variants, its figures and its decision."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import schemas
from app.decisions import Figures, current, due, summed
from app.events import newsletter_key
from app.experiments import LOOK_SECONDS, Experiment, ExperimentError, Plan
from app.keys import Scope
from app.variants import VariantError
from app.web import (
    PROBLEMS,
    REWRITE,
    Parts,
    RequestError,
    authorized,
    decoded,
    invalid,
    json,
    newsletter_id_of,
    spec,
)

MAX_ASSIGNMENTS_BYTES = 8_000_000
CHANGED = {"HTTP_413": schemas.Problem, "HTTP_422": schemas.Problem}


@spec.validate(
    json=Plan,
    resp=Responses(HTTP_200=schemas.ExperimentOut, HTTP_409=schemas.Problem, **CHANGED, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def start(request: Request) -> Response:
    """Split the newsletter's recipients into variants from now on. One experiment a newsletter.

    When the answer comes, every process knows of it.
    """
    api, newsletter_id = authorized(request, "rewrite"), newsletter_id_of(request)
    try:
        msgspec.convert(newsletter_id, schemas.Id)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    plan = await decoded(request, Plan, 65_536)
    key = newsletter_key(api.queries.workspace, newsletter_id)
    try:
        found = await asyncio.to_thread(api.experiments.add, key, newsletter_id, plan)
    except VariantError as error:
        raise RequestError(422, str(error), "variants") from None
    except ExperimentError as error:
        raise RequestError(422 if error.field else 409, str(error), error.field) from None
    await asyncio.sleep(LOOK_SECONDS)
    return json(out(found, summed(found)))


@spec.validate(resp=Responses(HTTP_200=schemas.ExperimentOut, **PROBLEMS), skip_validation=True)
async def experiment(request: Request) -> Response:
    """The newsletter's experiment: each variant's figures and, once that is due, the decision."""
    api, found = await _known(request, "read")
    return json(out(found, await asyncio.to_thread(current, api.queries, found)))


@spec.validate(
    resp=Responses(HTTP_200=schemas.ExperimentOut, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def end(request: Request) -> Response:
    """Remove the experiment: recipients are split no more. Messages keep their variants."""
    api, found = await _known(request, "rewrite")
    last = out(found, await asyncio.to_thread(current, api.queries, found))
    await asyncio.to_thread(api.experiments.remove, found.newsletter)
    await asyncio.sleep(LOOK_SECONDS)
    return json(last)


@spec.validate(
    json=schemas.AssignmentsIn,
    resp=Responses(HTTP_200=schemas.AssignmentList, **CHANGED, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def assignments(request: Request) -> Response:
    """Which variant each of up to 10,000 recipients gets. The same one always gets the same."""
    api, found = await _known(request, "rewrite")
    wanted = await decoded(request, schemas.AssignmentsIn, MAX_ASSIGNMENTS_BYTES)
    return json(await asyncio.to_thread(_assigned, api, found, wanted.recipients))


def _assigned(api: Parts, found: Experiment, recipients: Sequence[str]) -> schemas.AssignmentList:
    choices = [(one, found.choose(api.outgoing.key(one))) for one in recipients]
    return schemas.AssignmentList(
        [schemas.AssignmentOut(one, choice.name or None, choice.holdout) for one, choice in choices]
    )


def out(found: Experiment, at: Figures) -> schemas.ExperimentOut:
    """An experiment as the API returns it."""
    state: schemas.ExperimentState = (
        "decided" if found.outcome else "full" if found.full is not None else "running"
    )
    return schemas.ExperimentOut(
        found.id, found.newsletter_id, state, datetime.fromtimestamp(found.at / 1000, UTC),
        _at(found.decided), _at(due(found)), found.plan, at.arms, at.comparisons, at.split,
        found.outcome,
    )  # fmt: skip


async def _known(request: Request, scope: Scope) -> tuple[Parts, Experiment]:
    api, newsletter_id = authorized(request, scope), newsletter_id_of(request)
    key = newsletter_key(api.queries.workspace, newsletter_id)
    found = await asyncio.to_thread(api.experiments.get, key)
    if found is None:
        detail = f"newsletter {newsletter_id!r} has no experiment"
        raise RequestError(404, detail, "newsletter_id")
    return api, found


def _at(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


ONE = "/v1/newsletters/{newsletter_id}/experiment"
ROUTES: Sequence[Route] = (
    Route(ONE, experiment),
    Route(ONE, start, methods=["POST"]),
    Route(ONE, end, methods=["DELETE"]),
    Route(f"{ONE}/assignments", assignments, methods=["POST"]),
)
