"""Dashboard pages that find things: the search of everything, and the list of messages."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.stats import clickers, message_list
from app.stats import search as everything
from app.stats.filters import FilterError, Filters
from app.stats.periods import ALWAYS, Period
from app.stats.search import MAX_CHARS, MIN_CHARS, Found
from app.web.dashboard.forms import read_form
from app.web.dashboard.pages import (
    ONE,
    Dashboard,
    bounded_filters,
    filters_of,
    newsletter_id_of,
    workspace_context,
)
from app.web.views.urls import messages_url, person_url

PERIOD: Period = "30d"  # of messages that are listed first
CLICKED: Period = "7d"  # of clicks on a URL that are listed first
PRIVATE = "@="  # characters of email addresses and senders' own data, which no URL contains


@dataclass(frozen=True)
class SearchPages:
    """For users who are logged in, each about the workspace that is theirs."""

    dashboard: Dashboard

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        requires_login = self.dashboard.requires_login
        posted = partial(Route, methods=["POST"])
        return (
            Route("/search", requires_login(self.search)),
            posted("/search", requires_login(self.search_form)),
            Route("/messages", requires_login(self.messages)),
            posted("/messages", requires_login(self.messages_form)),
            Route("/clicked", requires_login(self.clicked)),
            Route(f"{ONE}/clicked", requires_login(self.clicked)),
        )

    async def search(self, request: Request) -> Response:
        """Show mailings, people and links that contain the text of the URL."""
        return await self._search(request, request.query_params.get("q", ""))

    async def search_form(self, request: Request) -> Response:
        """Show the same for a form: a recipient's page at once, and no email address in a URL."""
        text = str((await read_form(request)).get("q", "")).strip()
        if not any(character in text for character in PRIVATE):
            return RedirectResponse(f"/search?{urlencode({'q': text})}", 303)
        workspace = workspace_context(request)
        key = workspace.recipient_key(text)
        rows = await asyncio.to_thread(
            workspace.queries.run, "recipient_messages", recipient=key, limit=1, **ALWAYS.parameters
        )
        if rows:
            return RedirectResponse(person_url(key, Filters()), 303)
        return await self._search(request, text)

    async def _search(self, request: Request, text: str) -> Response:
        text = text.strip()
        if len(text) > MAX_CHARS or "\0" in text:
            raise FilterError("q", f"must have at most {MAX_CHARS} characters, none of them NUL")
        found = Found()
        if len(text) >= MIN_CHARS:
            queries = workspace_context(request).queries
            found = await asyncio.to_thread(everything.search, queries, text)
        page = {
            "q": text,
            "found": found,
            "short": 0 < len(text) < MIN_CHARS,
            "least": MIN_CHARS,
            "filters": Filters(),
        }
        return self.dashboard.page(request, "search.html", page)

    async def messages(self, request: Request) -> Response:
        """Show messages, the latest first."""
        return await self._messages(request, _of_messages(request))

    async def messages_form(self, request: Request) -> Response:
        """Show messages that match a text, which is in no URL if it may be about a person."""
        text = str((await read_form(request)).get("search", "")).strip()
        shown = _of_messages(request)
        filters = Filters.read({**dict(shown.set()), "search": text, "after": ""}, shown.zone)
        if any(character in text for character in PRIVATE):
            return await self._messages(request, filters)
        return RedirectResponse(messages_url(filters), 303)

    async def _messages(self, request: Request, filters: Filters) -> Response:
        workspace = workspace_context(request)
        of = message_list.criteria(filters.search, workspace.recipient_key)
        page = await asyncio.to_thread(message_list.listed, workspace.queries, filters, of)
        private = request.method == "POST"
        page |= {
            "search": filters.search,
            "private": private,
            "filters": replace(filters, search="") if private else filters,
        }
        return self.dashboard.page(request, "messages.html", page)

    async def clicked(self, request: Request) -> Response:
        """Show who clicked a link of one mailing, or a URL in all of them."""
        newsletter_id = newsletter_id_of(request) if request.path_params else ""
        filters = filters_of(request) if newsletter_id else bounded_filters(request, CLICKED)
        page = await asyncio.to_thread(
            clickers.clickers,
            workspace_context(request).queries,
            filters,
            newsletter_id,
        )
        return self.dashboard.page(request, "clicked.html", page)


def _of_messages(request: Request) -> Filters:
    """Returns the filters of the URL; a period is always set. Raises FilterError."""
    filters = filters_of(request)
    if filters.period == "all" and "period" not in request.query_params:
        return replace(filters, period=PERIOD)
    return filters
