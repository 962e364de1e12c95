"""Dashboard pages of webhooks, with the log of their deliveries."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.events import webhook_config
from app.events.webhooks import (
    Webhook,
    Webhooks,
    delivery_out,
)
from app.model.errors import FieldError, NotFoundError
from app.schemas import webhooks
from app.web.dashboard.form_fields import lines, problem_of
from app.web.dashboard.forms import read_form
from app.web.dashboard.pages import Dashboard, workspace_context

LOGGED = 50  # deliveries on a page


@dataclass(frozen=True)
class WebhookPages:
    """For users who are logged in."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login = self.dashboard.requires_login
        webhook = "/webhooks/{webhook_id}"
        return (
            Route("/webhooks", requires_login(self.list)),
            Route("/webhooks", requires_login(self.add, "admin", stores=True), methods=["POST"]),
            Route(webhook, requires_login(self.one)),
            Route(f"{webhook}/live", requires_login(self.live, live=True)),
            Route(f"{webhook}/{{action}}", requires_login(self.act, "admin"), methods=["POST"]),
        )

    async def list(self, request: Request) -> Response:
        """Show every webhook, and a form for a new one."""
        return await self._list(request, {}, "", 200)

    async def _list(
        self, request: Request, values: dict[str, Any], problem: str, status: int
    ) -> Response:
        hooks = await asyncio.to_thread(workspace_context(request).webhooks.all)
        page = {
            "hooks": hooks,
            "types": webhook_config.EVENT_TYPES,
            "given": values,
            "problem": problem,
        }
        return self.dashboard.page(request, "webhooks.html", page, status)

    async def add(self, request: Request) -> Response:
        """Make the form's webhook, or say which field is wrong."""
        form = await read_form(request)
        values = _given(form)
        try:
            webhook = msgspec.convert(values, webhooks.WebhookIn)
            webhook_config.valid(webhook, workspace_context(request).settings.webhook_http)
        except (msgspec.ValidationError, FieldError) as error:
            return await self._list(request, values, problem_of(error), 422)
        filters = webhook_config.filters_of(webhook)
        workspace = workspace_context(request)
        at = await asyncio.to_thread(workspace.feed.last)
        try:
            hook = await asyncio.to_thread(
                workspace.webhooks.add, webhook.url, filters, webhook.first, at, when=webhook.when
            )
        except FieldError as error:
            return await self._list(request, values, problem_of(error), 422)
        return RedirectResponse(f"/webhooks/{hook.id}", 303)

    async def one(self, request: Request) -> Response:
        """Show one webhook with its delivery log."""
        hook = await self._known(request)
        page = await asyncio.to_thread(_log, workspace_context(request).webhooks, hook)
        return self.dashboard.page(request, "webhook.html", page)

    async def live(self, request: Request) -> Response:
        """Stream the log as it grows."""
        hook, known = await self._known(request), workspace_context(request).webhooks
        return self.dashboard.stream(
            request,
            f"webhook {hook.id}",
            "webhook.html",
            ("log",),
            lambda: _log(known, known.get(hook.id) or hook),
        )

    async def act(self, request: Request) -> Response:
        """Test, enable, replay or remove a webhook."""
        hook, action = await self._known(request), request.path_params["action"]
        known = workspace_context(request).webhooks
        if action == "remove":
            await asyncio.to_thread(known.remove, hook.id)
            return RedirectResponse("/webhooks", 303)
        if action in ("test", "replay"):
            workspace_context(request).disk.check()
        if action == "test":
            await asyncio.to_thread(known.test, hook)
        elif action == "enable":
            await asyncio.to_thread(known.enable, hook.id)
        elif action == "replay":
            await asyncio.to_thread(known.replay, hook.id)
        else:
            raise NotFoundError("action", f"there is no action {action!r}")
        return RedirectResponse(f"/webhooks/{hook.id}", 303)

    async def _known(self, request: Request) -> Webhook:
        webhook_id = request.path_params["webhook_id"]
        hook = await asyncio.to_thread(workspace_context(request).webhooks.get, webhook_id)
        if hook is None:
            raise NotFoundError("webhook_id", f"there is no webhook {webhook_id!r}")
        return hook


def _log(of: Webhooks, hook: Webhook) -> dict[str, Any]:
    entries = []
    for delivery in of.log(hook.id, 0, LOGGED):
        shown = msgspec.structs.asdict(delivery_out(delivery))
        # As times, which pages show in their own way.
        shown["created_at"] = datetime.fromtimestamp(delivery.at, UTC)
        shown["next_at"] = delivery.due and datetime.fromtimestamp(delivery.due, UTC)
        shown["body"] = msgspec.json.format(delivery.body, indent=2).decode()
        entries.append(shown)
    return {"hook": hook, "entries": entries}


def _given(form: FormData) -> dict[str, Any]:
    """Returns the form as the API takes it: a line for each newsletter, label and tag."""

    verdict = str(form.get("verdict", ""))
    return {
        "url": str(form.get("url", "")).strip(),
        "newsletters": lines(form, "newsletters"),
        "types": [str(value) for value in form.getlist("types")],
        "verdicts": [verdict] if verdict else [],
        "when": str(form.get("when", "")) or None,
        "labels": lines(form, "labels"),
        "tags": lines(form, "tags"),
        "first": bool(form.get("first")),
    }
