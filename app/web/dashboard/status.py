"""The dashboard page for operators: the state of the service."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.workspaces import DEFAULT
from app.model.errors import NotFoundError
from app.schemas.verification import Verification, in_words
from app.storage.journal import Lag
from app.tasks import TaskState
from app.web.dashboard.pages import Dashboard

SHOWN = 20  # differences on the page


@dataclass(frozen=True)
class Status:
    """The state of one process and its journal. `dropped` counts hits by reason.

    `verified` is the latest comparison of the journal with ClickHouse, None before the first.
    """

    trouble: Sequence[str]
    lag: Lag
    dropped: Mapping[str, int]
    tasks: Sequence[TaskState]
    verified: Verification | None = None


@dataclass(frozen=True)
class StatusPages:
    """For admins of the workspace `default`. `status` blocks."""

    dashboard: Dashboard
    status: Callable[[], Status]

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        return (Route("/status", self.dashboard.requires_login(self.show, "admin")),)

    async def show(self, request: Request) -> Response:
        """Show the journal's backlog, dropped hits and background tasks."""
        if request.state.user.workspace != DEFAULT:
            raise NotFoundError("path", "there is no such page")
        status = await asyncio.to_thread(self.status)
        found = status.verified.differences if status.verified else []
        shown = {"status": status, "differences": [in_words(one) for one in found[:SHOWN]]}
        return self.dashboard.page(request, "status.html", shown)
