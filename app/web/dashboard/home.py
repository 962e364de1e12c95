"""The home page of the dashboard, and the signals that it lists people by."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.auth.api_keys import Keys
from app.model.errors import FieldError
from app.model.numbers import read_int
from app.stats.filters import Filters
from app.stats.signals import KINDS
from app.web.dashboard.cookies import cookie, set_cookie
from app.web.dashboard.form_fields import problem_of
from app.web.dashboard.forms import read_form
from app.web.dashboard.pages import (
    Dashboard,
    bounded_filters,
    field,
    filters_of,
    workspace_context,
)
from app.web.dashboard.preferences import reader_of
from app.web.views import home
from app.web.views.urls import home_url, list_url

SEEN = "mailwake_seen"  # cookie: when the previous visit ended and when this one was last active
VISIT_SECONDS = 1800  # without a request, after which a visit has ended
NEW_SECONDS = 86_400  # of which a first visit shows the news
SEEN_SECONDS = 400 * 86_400  # the longest that browsers keep a cookie (RFC 6265bis)
LISTED = frozenset(("search", "tag", "sort", "up", "page"))  # of the list, which was here before


@dataclass(frozen=True)
class HomePages:
    """For users who are logged in."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login = self.dashboard.requires_login
        saving = partial(requires_login, role="editor", stores=True)
        return (
            Route("/", requires_login(self.home)),
            Route("/home/live", requires_login(self.live, live=True)),
            Route("/home/answered", saving(self.answer), methods=["POST"]),
            Route("/signals", requires_login(self.signals)),
            Route("/signals", saving(self.add_signal), methods=["POST"]),
            Route(
                "/signals/remove", requires_login(self.remove_signal, "editor"), methods=["POST"]
            ),
        )

    async def home(self, request: Request) -> Response:
        """Show what happened lately. URLs of the list of earlier versions lead to the list."""
        if LISTED & set(request.query_params):
            return RedirectResponse(list_url(filters_of(request)), 307)
        filters = _of_home(request)
        before, now = _visits(request)
        page = await asyncio.to_thread(self._look(request, filters, before))
        response = self.dashboard.page(request, "home.html", page)
        set_cookie(request, response, SEEN, f"{before}.{now}", SEEN_SECONDS)
        return response

    async def live(self, request: Request) -> Response:
        """Stream the same as it changes."""
        filters, (before, _) = _of_home(request), _visits(request)
        look, token = self._look(request, filters, before), request.state.token
        shown = {"csrf": partial(field, token), "user": request.state.user}
        return self.dashboard.stream(
            request,
            # Nobody else's: its forms carry the session's token.
            f"home {request.state.session.id} {home_url(filters)}",
            "home.html",
            ("news", "steps", "tiles", "activity", "waiting", "ranked", "latest"),
            lambda: {**look(), **shown},
        )

    def _look(
        self, request: Request, filters: Filters, before: int
    ) -> Callable[[], dict[str, Any]]:
        """Returns what reads the page; it blocks."""
        workspace, reader = workspace_context(request), reader_of(request)
        keys: Keys = request.app.state.keys

        def has_key() -> bool:
            return keys.any(workspace.queries.workspace)

        def look() -> dict[str, Any]:
            steps = home.steps(workspace.queries, has_key)
            page = home.page(workspace.queries, workspace.signals, filters, _time(before), reader)
            return {**page, "steps": steps}

        return look

    async def answer(self, request: Request) -> Response:
        """Take a person off the list of those to answer, until the next click on a signal."""
        form = await read_form(request)
        key = read_int(str(form.get("recipient", "")), high=2**64 - 1)
        until = read_int(str(form.get("until", "")), high=2**53)
        if key is None or until is None:
            name = "recipient" if key is None else "until"
            return self.dashboard.problem(
                request, 422, "Nothing was changed", f"{name}: must be a whole number"
            )
        signals = workspace_context(request).signals
        await asyncio.to_thread(signals.answer, key, until, request.state.user.name)
        return RedirectResponse(home_url(_of_home(request)), 303)

    async def signals(self, request: Request) -> Response:
        """Show which clicks call for an answer."""
        return await self._signals(request)

    async def add_signal(self, request: Request) -> Response:
        """Mark links as a signal, or say what is wrong with the form."""
        form = await read_form(request)
        given = {name: str(form.get(name, "")) for name in ("kind", "pattern")}
        try:
            await asyncio.to_thread(workspace_context(request).signals.add, **given)
        except FieldError as error:
            return await self._signals(request, given, problem_of(error))
        return RedirectResponse("/signals", 303)

    async def remove_signal(self, request: Request) -> Response:
        """Take a mark away."""
        form = await read_form(request)
        signals = workspace_context(request).signals
        given = {name: str(form.get(name, "")) for name in ("kind", "pattern")}
        await asyncio.to_thread(signals.remove, **given)
        return RedirectResponse("/signals", 303)

    async def _signals(
        self, request: Request, given: dict[str, str] | None = None, problem: str = ""
    ) -> Response:
        known = await asyncio.to_thread(workspace_context(request).signals.all)
        page = {"signals": known, "kinds": KINDS, "given": given or {}, "problem": problem}
        return self.dashboard.page(request, "signals.html", page, 422 if problem else 200)


def _of_home(request: Request) -> Filters:
    """Returns the filters of the URL; a period is always set. Raises FilterError."""
    return bounded_filters(request, home.PERIOD)


def _visits(request: Request) -> tuple[int, int]:
    """Returns when the reader's previous visit ended, and now, in seconds since 1970 UTC."""
    now = int(time.time())
    parts = [read_int(part, high=now) for part in cookie(request, SEEN).split(".")]
    if len(parts) != 2 or None in parts:
        return now - NEW_SECONDS, now
    before, active = (part or 0 for part in parts)
    return (active if now - active > VISIT_SECONDS else before), now


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
