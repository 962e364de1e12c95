"""The API of follow-ups."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.api_keys import Scope
from app.events.enrich import Wanted
from app.events.feed import Feed
from app.events.followups import FollowUp, FollowUps, Rule
from app.events.webhooks import Webhooks
from app.schemas.followups import (
    FollowUpIn,
    FollowUpList,
    FollowUpOut,
)
from app.schemas.problem import (
    Problem,
)
from app.web.requests import (
    ADMIN,
    PROBLEMS,
    Parts,
    RequestError,
    authorized,
    decoded,
    json,
    spec,
)

MOST = 100
CHANGED = {"HTTP_413": Problem, "HTTP_422": Problem}
LEAST_HOURS = 0.1
OF_LINKS = ("links", "labels", "tags", "names", "urls", "hosts", "paths")


@spec.validate(resp=Responses(HTTP_200=FollowUpList, **PROBLEMS), skip_validation=True)
async def followups(request: Request) -> Response:
    """Every follow-up, the oldest first."""
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
    """A new follow-up: of clicks from now on, or of messages whose time is over from now on."""
    api = authorized(request, "admin")
    wanted = await decoded(request, FollowUpIn, 65_536)
    one = await asyncio.to_thread(make, api.followups, api.webhooks, api.feed, wanted)
    return json(out(one))


@spec.validate(resp=Responses(HTTP_200=FollowUpOut, **PROBLEMS), skip_validation=True)
async def followup(request: Request) -> Response:
    """One follow-up."""
    _, one = await _known(request)
    return json(out(one))


@spec.validate(
    resp=Responses(HTTP_200=FollowUpOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def remove(request: Request) -> Response:
    """Take a follow-up off; it forgets whom it was for."""
    api, one = await _known(request, "admin")
    await asyncio.to_thread(api.followups.remove, one.id)
    return json(out(one))


def make(followups: FollowUps, webhooks: Webhooks, feed: Feed, wanted: FollowUpIn) -> FollowUp:
    """A new one. Blocking; raises RequestError with the field that is wrong."""
    silent = wanted.when != "clicked"
    if silent and wanted.after_hours < LEAST_HOURS:
        raise RequestError(422, "says how long to wait, from 0.1 to 720", "after_hours")
    if not silent and wanted.after_hours:
        raise RequestError(422, "is for what was not done: clicks are told at once", "after_hours")
    for field in OF_LINKS:
        if silent and getattr(wanted, field):
            raise RequestError(422, "is for when: clicked", field)
    if webhooks.get(wanted.webhook_id) is None:
        raise RequestError(422, f"webhook {wanted.webhook_id!r} is unknown", "webhook_id")
    if len(followups.all()) >= MOST:
        raise RequestError(422, f"there are {MOST} follow-ups already", "name")
    of_links = {field: getattr(wanted, field) for field in OF_LINKS}
    asked = Wanted(newsletters=wanted.newsletters, **of_links)
    rule = Rule(wanted.when, wanted.after_hours, asked)
    return followups.add(wanted.name, wanted.webhook_id, rule, feed.last())


def out(one: FollowUp) -> FollowUpOut:
    """A follow-up as the API tells it."""
    asked = one.rule.wanted
    of_links = {field: getattr(asked, field) for field in OF_LINKS}
    return FollowUpOut(
        one.id, one.name, one.webhook, one.rule.when, one.rule.after_hours, asked.newsletters,
        created_at=datetime.fromtimestamp(one.at, UTC), made=one.made, **of_links,
    )  # fmt: skip


async def _known(request: Request, scope: Scope = "read") -> tuple[Parts, FollowUp]:
    api = authorized(request, scope)
    followup_id = request.path_params["followup_id"]
    one = await asyncio.to_thread(api.followups.get, followup_id)
    if one is None:
        raise RequestError(404, f"follow-up {followup_id!r} is unknown", "followup_id")
    return api, one


ROUTES: Sequence[Route] = (
    Route("/v1/followups", followups),
    Route("/v1/followups", add, methods=["POST"]),
    Route("/v1/followups/{followup_id}", followup),
    Route("/v1/followups/{followup_id}", remove, methods=["DELETE"]),
)
