"""The API of webhooks."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.api_keys import Scope
from app.events.webhook_config import filters_of, valid
from app.events.webhooks import (
    Webhook,
    _at,
    delivery_out,
)
from app.model.errors import NotFoundError
from app.schemas import webhooks as acting
from app.schemas.problem import (
    Problem,
)
from app.web.context import WorkspaceContext
from app.web.requests import ADMIN, PROBLEMS, RequestError, authorized, decoded, integer, json, spec

PAGE, MOST = 50, 500
MOST_HOOKS = 100
STATES = ("", "waiting", "delivered", "dead", "erased")
CHANGED = {"HTTP_413": Problem, "HTTP_422": Problem}


@spec.validate(resp=Responses(HTTP_200=acting.WebhookList, **PROBLEMS), skip_validation=True)
async def webhooks(request: Request) -> Response:
    """Every webhook, the oldest first; secrets are told at creation only."""
    api = authorized(request)
    found = await asyncio.to_thread(api.webhooks.all)
    return json(acting.WebhookList([out(hook) for hook in found]))


@spec.validate(
    json=acting.WebhookIn,
    resp=Responses(HTTP_200=acting.WebhookOut, **CHANGED, **PROBLEMS),
    skip_validation=True,
    security=ADMIN,
)
async def add(request: Request) -> Response:
    """A new webhook, told of what happens from now on. Its secret is in this answer alone."""
    api = authorized(request, "admin")
    wanted = await decoded(request, acting.WebhookIn, 65_536)
    valid(wanted)
    if len(await asyncio.to_thread(api.webhooks.all)) >= MOST_HOOKS:
        raise RequestError(422, f"there are {MOST_HOOKS} webhooks already", "url")
    at = await asyncio.to_thread(api.feed.last)
    hook = await asyncio.to_thread(
        api.webhooks.add, wanted.url, filters_of(wanted), wanted.first, at, wanted.secret
    )
    return json(msgspec.structs.replace(out(hook), secret=hook.secret))


@spec.validate(resp=Responses(HTTP_200=acting.WebhookOut, **PROBLEMS), skip_validation=True)
async def webhook(request: Request) -> Response:
    """One webhook."""
    _, hook = await _known(request)
    return json(out(hook))


@spec.validate(
    resp=Responses(HTTP_200=acting.WebhookOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def remove(request: Request) -> Response:
    """Take a webhook off, with its deliveries."""
    api, hook = await _known(request, "admin")
    await asyncio.to_thread(api.webhooks.remove, hook.id)
    return json(out(hook))


@spec.validate(
    resp=Responses(HTTP_200=acting.WebhookOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def enable(request: Request) -> Response:
    """Switch a disabled webhook on again: it is told of what it has missed (7 days at most)."""
    api, hook = await _known(request, "admin")
    await asyncio.to_thread(api.webhooks.enable, hook.id)
    return json(out(msgspec.structs.replace(hook, disabled="", failing_since=None)))


@spec.validate(
    resp=Responses(HTTP_200=acting.DeliveryOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def test(request: Request) -> Response:
    """Send an event of type webhook.test; the delivery log says what came of it."""
    api, hook = await _known(request, "admin")
    number = await asyncio.to_thread(api.webhooks.test, hook)
    found = await asyncio.to_thread(api.webhooks.log, hook.id, number + 1, 1)
    return json(delivery_out(found[0]))


@spec.validate(
    resp=Responses(HTTP_200=acting.DeliveryList, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def deliveries(request: Request) -> Response:
    """The delivery log, the latest first (?state=, ?before=, ?limit=)."""
    api, hook = await _known(request)
    state = request.query_params.get("state", "")
    if state not in STATES:
        raise RequestError(422, "must be waiting, delivered, dead or erased", "state")
    before = integer(request, "before", 0, 0, 2**53)
    limit = integer(request, "limit", PAGE, 1, MOST)
    found = await asyncio.to_thread(api.webhooks.log, hook.id, before, limit, state)
    following = found[-1].id if len(found) == limit else None
    return json(acting.DeliveryList([delivery_out(one) for one in found], following))


@spec.validate(
    resp=Responses(HTTP_200=acting.Replayed, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def replay(request: Request) -> Response:
    """Send every dead letter of a webhook again."""
    api, hook = await _known(request, "admin")
    return json(acting.Replayed(await asyncio.to_thread(api.webhooks.replay, hook.id)))


async def _known(request: Request, scope: Scope = "read") -> tuple[WorkspaceContext, Webhook]:
    api = authorized(request, scope)
    webhook_id = request.path_params["webhook_id"]
    hook = await asyncio.to_thread(api.webhooks.get, webhook_id)
    if hook is None:
        raise NotFoundError("webhook_id", f"webhook {webhook_id!r} is unknown")
    return api, hook


def out(hook: Webhook) -> acting.WebhookOut:
    """A webhook as the API tells it, without its secret."""
    return acting.WebhookOut(
        hook.id,
        hook.url,
        **msgspec.structs.asdict(hook.filter),
        first=hook.first,
        created_at=datetime.fromtimestamp(hook.at, UTC),
        failing_since=_at(hook.failing_since),
        disabled=hook.disabled,
    )


ROUTES: Sequence[Route] = (
    Route("/v1/webhooks", webhooks),
    Route("/v1/webhooks", add, methods=["POST"]),
    Route("/v1/webhooks/{webhook_id}", webhook),
    Route("/v1/webhooks/{webhook_id}", remove, methods=["DELETE"]),
    Route("/v1/webhooks/{webhook_id}/enable", enable, methods=["POST"]),
    Route("/v1/webhooks/{webhook_id}/test", test, methods=["POST"]),
    Route("/v1/webhooks/{webhook_id}/deliveries", deliveries),
    Route("/v1/webhooks/{webhook_id}/replay", replay, methods=["POST"]),
)
