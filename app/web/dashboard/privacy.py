"""Dashboard pages for what a person may ask for: all that is held, and to be erased."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.model.errors import NotFoundError
from app.model.tracking_modes import AXES
from app.privacy.erasure import ANSWER_SECONDS, finished
from app.stats.periods import ALWAYS
from app.web.dashboard.forms import read_form
from app.web.dashboard.pages import HEADERS, Dashboard, workspace_context
from app.web.requests import SUBJECT_FILE, streamed


@dataclass(frozen=True)
class PrivacyPages:
    """For admins who are logged in."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login, recipient = self.dashboard.requires_login, "/recipients/{key:int}"
        return (
            Route(f"{recipient}/consent", requires_login(self.consent, "editor"), methods=["POST"]),
            Route(f"{recipient}/export", requires_login(self.export, "admin")),
            Route(f"{recipient}/erase", requires_login(self.ask, "admin")),
            Route(f"{recipient}/erase", requires_login(self.erase, "admin"), methods=["POST"]),
        )

    async def consent(self, request: Request) -> Response:
        """Withdraw consent to opens or clicks for the person, or restore it."""
        workspace, key = workspace_context(request), request.path_params["key"]
        form = await read_form(request)
        axes = [axis for axis in AXES if form.get("axis") == axis]
        if not 0 < key < 2**64 or not axes:
            raise NotFoundError("recipient", "no messages were sent to this recipient")
        known = workspace.withdrawals
        change = known.restore if form.get("restore") else known.withdraw
        await asyncio.to_thread(change, workspace.queries.workspace, key, axes)
        return RedirectResponse(f"/recipients/{key}", 303)

    async def export(self, request: Request) -> Response:
        """Export all data about a recipient as a file."""
        address = await self._address(request)
        chunks = workspace_context(request).exports.of(address)
        return await streamed(chunks, "application/json", {**HEADERS, **SUBJECT_FILE})

    async def ask(self, request: Request) -> Response:
        """Ask for confirmation."""
        page = {"address": await self._address(request), "key": request.path_params["key"]}
        return self.dashboard.page(request, "erase.html", {**page, "erasure": None})

    async def erase(self, request: Request) -> Response:
        """Do it, and say how far it has got."""
        workspace, address = workspace_context(request), await self._address(request)
        requested = await asyncio.to_thread(workspace.request_erasure, address)
        erasure = await finished(workspace.erasures, requested, ANSWER_SECONDS)
        page = {"address": address, "key": request.path_params["key"], "erasure": erasure}
        return self.dashboard.page(request, "erase.html", page)

    async def _address(self, request: Request) -> str:
        """Returns the email address of the recipient whose key is in the URL.

        Raises NotFoundError, StorageError.
        """
        key = request.path_params["key"]
        rows = []
        if 0 < key < 2**64:
            queries = workspace_context(request).queries
            rows = await asyncio.to_thread(
                queries.run, "recipient_messages", recipient=key, limit=1, **ALWAYS.parameters
            )
        if not rows:
            raise NotFoundError("recipient", "no messages were sent to this recipient")
        address = str(rows[0]["address"])
        if not address:  # who knows it can still ask by API and command line
            raise NotFoundError("recipient", "the email address of this recipient is not kept")
        return address
