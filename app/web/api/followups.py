"""The API of follow-ups."""

import asyncio

from starlette.responses import Response

from app.events.followup_config import OF_LINKS, make
from app.events.followups import FollowUp
from app.model.errors import NotFoundError
from app.schemas.followups import (
    FollowUpIn,
    FollowUpList,
    FollowUpOut,
)
from app.schemas.timestamps import timestamp
from app.web.api.operation import Call, Operation
from app.web.query import NoQuery
from app.web.requests import json


async def list_followups(call: Call[NoQuery]) -> Response:
    """List follow-ups, oldest first."""
    followups_of_workspace = await asyncio.to_thread(call.api.followups.all)
    return json(FollowUpList([out(followup) for followup in followups_of_workspace]))


async def create_followup(call: Call[NoQuery]) -> Response:
    """Add a follow-up. It applies to clicks, and to waiting times that end, from now on."""
    api, body = call.api, await call.body(FollowUpIn, 65_536)
    followup = await asyncio.to_thread(make, api.followups, api.webhooks, api.feed, body)
    return json(out(followup))


async def get_followup(call: Call[NoQuery]) -> Response:
    """Return one follow-up."""
    return json(out(await _known(call)))


async def delete_followup(call: Call[NoQuery]) -> Response:
    """Remove a follow-up and its list of recipients it was sent for."""
    followup = await _known(call)
    await asyncio.to_thread(call.api.followups.remove, followup.id)
    return json(out(followup))


def out(followup: FollowUp) -> FollowUpOut:
    """Returns a follow-up as the API shows it."""
    event_filter = followup.rule.filter
    of_links = {field: getattr(event_filter, field) for field in OF_LINKS}
    return FollowUpOut(
        id=followup.id,
        name=followup.name,
        webhook_id=followup.webhook,
        when=followup.rule.when,
        after_hours=followup.rule.after_hours,
        newsletters=event_filter.newsletters,
        created_at=timestamp(followup.at),
        made=followup.made,
        **of_links,
    )


async def _known(call: Call[NoQuery]) -> FollowUp:
    """Returns the follow-up of the path. Raises NotFoundError."""
    followup_id = call.path("followup_id")
    followup = await asyncio.to_thread(call.api.followups.get, followup_id)
    if followup is None:
        raise NotFoundError("followup_id", f"there is no follow-up {followup_id!r}")
    return followup


ONE = "/v1/followups/{followup_id}"
OPERATIONS = (
    Operation("GET", "/v1/followups", list_followups, gives=FollowUpList),
    Operation(
        "POST", "/v1/followups", create_followup, scope="admin", takes=FollowUpIn, gives=FollowUpOut
    ),
    Operation("GET", ONE, get_followup, gives=FollowUpOut),
    Operation("DELETE", ONE, delete_followup, scope="admin", gives=FollowUpOut),
)
