"""Dashboard pages of follow-ups."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.events import followup_config
from app.model.errors import FieldError
from app.schemas.followups import (
    FollowUpIn,
)
from app.web.dashboard.form_fields import lines, problem_of
from app.web.dashboard.forms import read_form
from app.web.dashboard.pages import Dashboard, workspace_context


@dataclass(frozen=True)
class FollowUpPages:
    """For users who are logged in."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login = self.dashboard.requires_login
        rules = "/webhooks/followups"
        return (
            Route(rules, requires_login(self.rules)),
            Route(rules, requires_login(self.follow, "editor", stores=True), methods=["POST"]),
            Route(
                f"{rules}/{{followup_id}}/remove",
                requires_login(self.unfollow, "editor"),
                methods=["POST"],
            ),
        )

    async def rules(self, request: Request) -> Response:
        """Show every follow-up, and a form for a new one."""
        return await self._rules(request, {}, "", 200)

    async def _rules(
        self, request: Request, values: dict[str, Any], problem: str, status: int
    ) -> Response:
        workspace = workspace_context(request)
        followups = await asyncio.to_thread(workspace.followups.all)
        urls = {hook.id: hook.url for hook in await asyncio.to_thread(workspace.webhooks.all)}
        page = {"followups": followups, "urls": urls, "given": values, "problem": problem}
        return self.dashboard.page(request, "followups.html", page, status)

    async def follow(self, request: Request) -> Response:
        """Make the form's follow-up, or say which field is wrong."""
        form = await read_form(request)
        named = ("name", "webhook_id", "when", "after_hours")
        values = {name: str(form.get(name, "")).strip() for name in named}
        listed = {name: lines(form, name) for name in ("newsletters", "labels", "tags")}
        try:
            hours = {"after_hours": values["after_hours"] or 0}
            followup = msgspec.convert({**values, **hours, **listed}, FollowUpIn, strict=False)
            workspace = workspace_context(request)
            await asyncio.to_thread(
                followup_config.make,
                workspace.followups,
                workspace.webhooks,
                workspace.feed,
                followup,
            )
        except (msgspec.ValidationError, FieldError) as error:
            return await self._rules(request, {**values, **listed}, problem_of(error), 422)
        return RedirectResponse("/webhooks/followups", 303)

    async def unfollow(self, request: Request) -> Response:
        """Take a follow-up off."""
        await asyncio.to_thread(
            workspace_context(request).followups.remove, request.path_params["followup_id"]
        )
        return RedirectResponse("/webhooks/followups", 303)
