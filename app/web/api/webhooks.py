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
from app.web.errors import RequestError
from app.web.requests import ADMIN, PROBLEMS, authorized, decoded, integer, json, spec

PAGE, MOST = 50, 500
MOST_HOOKS = 100
STATES = ("", "waiting", "delivered", "dead", "erased")
CHANGED = {"HTTP_413": Problem, "HTTP_422": Problem}


@spec.validate(resp=Responses(HTTP_200=acting.WebhookList, **PROBLEMS), skip_validation=True)
async def webhooks(request: Request) -> Response:
    """List webhooks, oldest first. Secrets are returned at creation only."""
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
    """Add a webhook, which receives events from now on. Only this response has its secret."""
    api = authorized(request, "admin")
    wanted = await decoded(request, acting.WebhookIn, 65_536)
    valid(wanted)
    if len(await asyncio.to_thread(api.webhooks.all)) >= MOST_HOOKS:
        raise RequestError(422, f"there are already {MOST_HOOKS} webhooks, the maximum", "url")
    at = await asyncio.to_thread(api.feed.last)
    hook = await asyncio.to_thread(
        api.webhooks.add, wanted.url, filters_of(wanted), wanted.first, at, wanted.secret
    )
    return json(msgspec.structs.replace(out(hook), secret=hook.secret))


@spec.validate(resp=Responses(HTTP_200=acting.WebhookOut, **PROBLEMS), skip_validation=True)
async def webhook(request: Request) -> Response:
    """Return one webhook."""
    _, hook = await _known(request)
    return json(out(hook))


@spec.validate(
    resp=Responses(HTTP_200=acting.WebhookOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def remove(request: Request) -> Response:
    """Remove a webhook and its deliveries."""
    api, hook = await _known(request, "admin")
    await asyncio.to_thread(api.webhooks.remove, hook.id)
    return json(out(hook))


@spec.validate(
    resp=Responses(HTTP_200=acting.WebhookOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def enable(request: Request) -> Response:
    """Enable a disabled webhook. It receives the events it has missed (up to 7 days)."""
    api, hook = await _known(request, "admin")
    await asyncio.to_thread(api.webhooks.enable, hook.id)
    return json(out(msgspec.structs.replace(hook, disabled="", failing_since=None)))


@spec.validate(
    resp=Responses(HTTP_200=acting.DeliveryOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def test(request: Request) -> Response:
    """Send an event of type webhook.test. See the delivery log for the result."""
    api, hook = await _known(request, "admin")
    number = await asyncio.to_thread(api.webhooks.test, hook)
    found = await asyncio.to_thread(api.webhooks.log, hook.id, number + 1, 1)
    return json(delivery_out(found[0]))


@spec.validate(
    resp=Responses(HTTP_200=acting.DeliveryList, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def deliveries(request: Request) -> Response:
    """Return the delivery log, latest first (?state=, ?before=, ?limit=)."""
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
    """Retry all failed (dead) deliveries of a webhook."""
    api, hook = await _known(request, "admin")
    return json(acting.Replayed(await asyncio.to_thread(api.webhooks.replay, hook.id)))


async def _known(request: Request, scope: Scope = "read") -> tuple[WorkspaceContext, Webhook]:
    api = authorized(request, scope)
    webhook_id = request.path_params["webhook_id"]
    hook = await asyncio.to_thread(api.webhooks.get, webhook_id)
    if hook is None:
        raise NotFoundError("webhook_id", f"there is no webhook {webhook_id!r}")
    return api, hook


def out(hook: Webhook) -> acting.WebhookOut:
    """A webhook as the API tells it, without its secret."""
    return acting.WebhookOut(
        hook.id,
        hook.url,
        **msgspec.structs.asdict(hook.wanted),
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
