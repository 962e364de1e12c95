"""The dashboard page of the rules by which bounces and complaints suppress recipients."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.consent.suppression_rules import SuppressionRules
from app.schemas.suppressions import SuppressionRulesIn
from app.web.dashboard.form_fields import problem_of
from app.web.dashboard.forms import read_form
from app.web.dashboard.pages import Dashboard, workspace_context

PAGE = "/suppression-rules"


@dataclass(frozen=True)
class SuppressionPages:
    """For users who are logged in; admins change the rules, as in the API."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login = self.dashboard.requires_login
        return (
            Route(PAGE, requires_login(self.rules)),
            Route(PAGE, requires_login(self.save, "admin", stores=True), methods=["POST"]),
            Route(f"{PAGE}/reset", requires_login(self.reset, "admin"), methods=["POST"]),
        )

    async def rules(self, request: Request) -> Response:
        """Show which outcomes suppress a recipient."""
        return await self._page(request, {}, "", 200)

    async def _page(
        self, request: Request, values: dict[str, Any], problem: str, status: int
    ) -> Response:
        workspace = workspace_context(request)
        rules, name = workspace.suppression_rules, workspace.queries.workspace
        own = await asyncio.to_thread(rules.own, name)
        page = {
            "rules": own or rules.default,
            "default": rules.default,
            "is_default": own is None,
            "given": values or (own or rules.default)._asdict(),
            "problem": problem,
        }
        return self.dashboard.page(request, "suppression_rules.html", page, status)

    async def save(self, request: Request) -> Response:
        """Give the workspace the form's rules, or say which field is wrong."""
        form = await read_form(request)
        values: dict[str, Any] = {name: name in form for name in ("bounces", "complaints")}
        values["soft_bounces"] = str(form.get("soft_bounces", "")).strip()
        try:
            body = msgspec.convert(values, SuppressionRulesIn, strict=False)
        except msgspec.ValidationError as error:
            return await self._page(request, values, problem_of(error), 422)
        rules = SuppressionRules(body.bounces, body.complaints, body.soft_bounces)
        workspace = workspace_context(request)
        await asyncio.to_thread(workspace.suppression_rules.put, workspace.queries.workspace, rules)
        return RedirectResponse(PAGE, 303)

    async def reset(self, request: Request) -> Response:
        """Apply the rules of the service's settings again."""
        workspace = workspace_context(request)
        await asyncio.to_thread(workspace.suppression_rules.reset, workspace.queries.workspace)
        return RedirectResponse(PAGE, 303)
