"""The API of follow-ups."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.api_keys import Scope
from app.events.followup_config import OF_LINKS, make
from app.events.followups import FollowUp
from app.model.errors import NotFoundError
from app.schemas.followups import (
    FollowUpIn,
    FollowUpList,
    FollowUpOut,
)
from app.schemas.problem import (
    Problem,
)
from app.web.context import WorkspaceContext
from app.web.requests import ADMIN, PROBLEMS, authorized, decoded, json, spec

CHANGED = {"HTTP_413": Problem, "HTTP_422": Problem}


@spec.validate(resp=Responses(HTTP_200=FollowUpList, **PROBLEMS), skip_validation=True)
async def followups(request: Request) -> Response:
    """List follow-ups, oldest first."""
    api = authorized(request)
    found = await asyncio.to_thread(api.followups.all)
    return json(FollowUpList([out(one) for one in found]))


@spec.validate(
    json=FollowUpIn,
    resp=Responses(HTTP_200=FollowUpOut, **CHANGED, **PROBLEMS),
    skip_validation=True,
    security=ADMIN,
)
async def add(request: Request) -> Response:
    """Add a follow-up. It applies to clicks, and to waiting times that end, from now on."""
    api = authorized(request, "admin")
    wanted = await decoded(request, FollowUpIn, 65_536)
    one = await asyncio.to_thread(make, api.followups, api.webhooks, api.feed, wanted)
    return json(out(one))


@spec.validate(resp=Responses(HTTP_200=FollowUpOut, **PROBLEMS), skip_validation=True)
async def followup(request: Request) -> Response:
    """Return one follow-up."""
    _, one = await _known(request)
    return json(out(one))


@spec.validate(
    resp=Responses(HTTP_200=FollowUpOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def remove(request: Request) -> Response:
    """Remove a follow-up and its list of recipients it was sent for."""
    api, one = await _known(request, "admin")
    await asyncio.to_thread(api.followups.remove, one.id)
    return json(out(one))


def out(one: FollowUp) -> FollowUpOut:
    """A follow-up as the API tells it."""
    asked = one.rule.wanted
    of_links = {field: getattr(asked, field) for field in OF_LINKS}
    return FollowUpOut(
        one.id,
        one.name,
        one.webhook,
        one.rule.when,
        one.rule.after_hours,
        asked.newsletters,
        created_at=datetime.fromtimestamp(one.at, UTC),
        made=one.made,
        **of_links,
    )


async def _known(request: Request, scope: Scope = "read") -> tuple[WorkspaceContext, FollowUp]:
    api = authorized(request, scope)
    followup_id = request.path_params["followup_id"]
    one = await asyncio.to_thread(api.followups.get, followup_id)
    if one is None:
        raise NotFoundError("followup_id", f"there is no follow-up {followup_id!r}")
    return api, one


ROUTES: Sequence[Route] = (
    Route("/v1/followups", followups),
    Route("/v1/followups", add, methods=["POST"]),
    Route("/v1/followups/{followup_id}", followup),
    Route("/v1/followups/{followup_id}", remove, methods=["DELETE"]),
)
