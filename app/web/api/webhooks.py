"""The API of webhooks."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from app.events.webhook_config import filters_of, valid
from app.events.webhooks import (
    Webhook,
    delivery_out,
)
from app.model.errors import NotFoundError
from app.schemas import webhooks as schemas
from app.schemas.timestamps import timestamp, timestamp_or_none
from app.web.api.operation import Call, Operation
from app.web.api.paging import After, number_of
from app.web.errors import RequestError
from app.web.query import MAX_INT, NoQuery
from app.web.requests import json

PAGE, MAX_DELIVERIES = 50, 500


class DeliveryPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which deliveries."""

    state: Annotated[
        Literal["", "waiting", "delivered", "dead", "erased"],
        Meta(description="Deliveries in this state only."),
    ] = ""
    after: After = ""
    before: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_INT,
            description="A `next_before`, as in version 0.1: use `after`.",
            extra_json_schema={"deprecated": True},
        ),
    ] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_DELIVERIES, description="Deliveries per page.")] = PAGE


async def list_webhooks(call: Call[NoQuery]) -> Response:
    """List webhooks, oldest first. Secrets are returned at creation only."""
    hooks = await asyncio.to_thread(call.api.webhooks.all)
    return json(schemas.WebhookList([out(hook) for hook in hooks]))


async def create_webhook(call: Call[NoQuery]) -> Response:
    """Add a webhook, which receives events from now on. Only this response has its secret."""
    api, body = call.api, await call.body(schemas.WebhookIn, 65_536)
    valid(body, api.settings.webhook_http)
    at = await asyncio.to_thread(api.feed.last)
    hook = await asyncio.to_thread(
        api.webhooks.add,
        body.url,
        filters_of(body),
        body.first,
        at,
        body.secret,
        body.when,
    )
    return json(msgspec.structs.replace(out(hook), secret=hook.secret))


async def get_webhook(call: Call[NoQuery]) -> Response:
    """Return one webhook."""
    return json(out(await _known(call)))


async def delete_webhook(call: Call[NoQuery]) -> Response:
    """Remove a webhook and its deliveries."""
    api, hook = call.api, await _known(call)
    await asyncio.to_thread(api.webhooks.remove, hook.id)
    return json(out(hook))


async def enable_webhook(call: Call[NoQuery]) -> Response:
    """Enable a disabled webhook. It receives the events it has missed (up to 7 days)."""
    api, hook = call.api, await _known(call)
    await asyncio.to_thread(api.webhooks.enable, hook.id)
    return json(out(msgspec.structs.replace(hook, disabled="", failing_since=None)))


async def test_webhook(call: Call[NoQuery]) -> Response:
    """Send an event of type webhook.test. See the delivery log for the result."""
    api, hook = call.api, await _known(call)
    number = await asyncio.to_thread(api.webhooks.test, hook)
    log = await asyncio.to_thread(api.webhooks.log, hook.id, number + 1, 1)
    return json(delivery_out(log[0]))


async def list_deliveries(call: Call[DeliveryPage]) -> Response:
    """Return the delivery log, latest first."""
    hook, query = await _known(call), call.query
    if query.after and query.before:
        raise RequestError(422, "is not allowed with `after`", "before")
    limit, after = query.limit, number_of(query.after) or query.before
    log = await asyncio.to_thread(call.api.webhooks.log, hook.id, after, limit + 1, query.state)
    page = [delivery_out(delivery) for delivery in log[:limit]]
    last = page[-1].id if len(log) > limit else None
    return json(schemas.DeliveryList(page, None if last is None else str(last), last))


async def retry_deliveries(call: Call[NoQuery]) -> Response:
    """Retry all failed (dead) deliveries of a webhook."""
    hook = await _known(call)
    return json(schemas.Replayed(await asyncio.to_thread(call.api.webhooks.replay, hook.id)))


async def _known(call: Call[Any]) -> Webhook:
    """Returns the webhook of the path. Raises NotFoundError."""
    webhook_id = call.path("webhook_id")
    hook = await asyncio.to_thread(call.api.webhooks.get, webhook_id)
    if hook is None:
        raise NotFoundError("webhook_id", f"there is no webhook {webhook_id!r}")
    return hook


def out(hook: Webhook) -> schemas.WebhookOut:
    """Returns a webhook as the API shows it, without its secret."""
    return schemas.WebhookOut(
        hook.id,
        hook.url,
        **msgspec.structs.asdict(hook.filter),
        first=hook.first,
        when=hook.when,
        created_at=timestamp(hook.at),
        failing_since=timestamp_or_none(hook.failing_since),
        disabled=hook.disabled,
    )


ONE = "/v1/webhooks/{webhook_id}"
OPERATIONS = (
    Operation("GET", "/v1/webhooks", list_webhooks, gives=schemas.WebhookList),
    Operation(
        "POST",
        "/v1/webhooks",
        create_webhook,
        scope="admin",
        takes=schemas.WebhookIn,
        gives=schemas.WebhookOut,
    ),
    Operation("GET", ONE, get_webhook, gives=schemas.WebhookOut),
    Operation("DELETE", ONE, delete_webhook, scope="admin", gives=schemas.WebhookOut),
    Operation("POST", f"{ONE}/enable", enable_webhook, scope="admin", gives=schemas.WebhookOut),
    Operation("POST", f"{ONE}/test", test_webhook, scope="admin", gives=schemas.DeliveryOut),
    Operation(
        "GET", f"{ONE}/deliveries", list_deliveries, query=DeliveryPage, gives=schemas.DeliveryList
    ),
    Operation("POST", f"{ONE}/replay", retry_deliveries, scope="admin", gives=schemas.Replayed),
)
