"""The dashboard: newsletters and what came back of them, live, and readable without JavaScript."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial, wraps
from typing import Any
from urllib.parse import quote, unquote

from jinja2_fragments import render_block
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import EventSourceResponse
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.quotas import QuotaError
from app.auth.sessions import Session, Sessions
from app.auth.users import Role
from app.model.errors import NotFoundError
from app.paths import resource
from app.settings.settings import Settings
from app.stats import messages
from app.stats import recipients as recipient_stats
from app.stats.filters import FilterError, Filters
from app.stats.periods import ALWAYS, PERIODS, Period
from app.storage.clickhouse import StartingError, StorageError
from app.storage.disk import ReserveError
from app.web.context import WorkspaceContext
from app.web.dashboard import exports
from app.web.dashboard.cookies import cookie, drop_cookie, set_cookie
from app.web.dashboard.forms import (
    CSRF,
    SESSION,
    StaleFormError,
    check_form,
    csrf,
    read_form,
)
from app.web.dashboard.live import Fragments, FullError, Live, while_valid
from app.web.dashboard.preferences import (
    CHOSEN_SECONDS,
    CHOSEN_ZONE,
    browser_zone,
    reader_of,
)
from app.web.requests import parts_of
from app.web.views import clickmap, compare, person, report
from app.web.views import newsletters as newsletter_views
from app.web.views.reader import Reader, zone_names, zone_of
from app.web.views.templating import templates
from app.web.views.urls import person_url

ONE = "/newsletters/{newsletter_id:path}"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
AWAY = (
    "The database is unavailable. Pixels and links keep working, and every open and click is"
    " stored."
    " Statistics update by themselves when it is back."
)
log = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]


class Dashboard:
    """Pages for people who are logged in, each about the workspace that is theirs.

    `notices` returns what the pages of a workspace must say at the top.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        live: Live,
        notices: Callable[[str], list[str]],
    ) -> None:
        self._settings, self._live, self._notices = settings, live, notices
        self.sessions = sessions
        self.templates = templates()

    @cached_property
    def routes(self) -> Sequence[BaseRoute]:
        """Everything but tracking and API."""
        requires_login = self.requires_login
        return (
            Route("/live", requires_login(self.newsletters_live, live=True)),
            Route(f"{ONE}/live", requires_login(self.newsletter_live, live=True)),
            Route(f"{ONE}/recipients", requires_login(self.recipients)),
            Route(f"{ONE}/recipients", requires_login(self.search_recipients), methods=["POST"]),
            Route(f"{ONE}/export", requires_login(self.export)),
            Route(f"{ONE}/outcomes", requires_login(self.export_outcomes)),
            Route(f"{ONE}/report", requires_login(self.report)),
            Route(f"{ONE}/experiment", requires_login(self.experiment)),
            Route(f"{ONE}/mail-providers", requires_login(self.mail_providers)),
            Route(f"{ONE}/clickmap", requires_login(self.clickmap)),
            Route(f"{ONE}/clickmap/mail", requires_login(self.clickmap_mail)),
            Route(ONE, requires_login(self.newsletter)),
            Route("/newsletters", requires_login(self.newsletters)),
            Route("/tags", requires_login(self.tags)),
            Route("/tags/live", requires_login(self.tags_live, live=True)),
            Route("/compare", requires_login(self.compare)),
            Route("/recipients", requires_login(self.recipients)),
            Route("/recipients", requires_login(self.search_recipients), methods=["POST"]),
            Route("/recipients/{key:int}", requires_login(self.recipient)),
            Route("/messages/{message_id}", requires_login(self.message)),
            Route("/settings", requires_login(self.settings)),
            Route("/settings", requires_login(self.choose_zone), methods=["POST"]),
            static_files(),
        )

    async def settings(self, request: Request) -> Response:
        """Show where everything that can be set is, and the time zone."""
        return self._settings_page(request)

    async def choose_zone(self, request: Request) -> Response:
        """Keep a time zone for this browser, or use the browser's own again."""
        name = str((await read_form(request)).get("zone", "")).strip()
        back = RedirectResponse("/settings", 303)
        if not name:
            drop_cookie(request, back, CHOSEN_ZONE)
        elif zone_of(name):
            set_cookie(request, back, CHOSEN_ZONE, name, CHOSEN_SECONDS)
        else:
            return self._settings_page(request, "zone: must be a time zone such as Europe/Berlin")
        return back

    def _settings_page(self, request: Request, problem: str = "") -> Response:
        page = {
            "zones": sorted(zone_names()),
            "chosen": cookie(request, CHOSEN_ZONE),
            "browser_zone": Reader(browser_zone(request)).zone_name,
            "problem": problem,
        }
        return self.page(request, "settings.html", page, 422 if problem else 200)

    async def newsletters(self, request: Request) -> Response:
        """Show all newsletters, searched, sorted and by period."""
        filters = filters_of(request)
        page = await asyncio.to_thread(
            newsletter_views.newsletters,
            workspace_context(request).queries,
            filters,
            reader_of(request),
        )
        return self.page(request, "newsletters.html", page)

    async def newsletters_live(self, request: Request) -> Response:
        """Stream the same as it changes."""
        filters, reader = filters_of(request), reader_of(request)
        queries = workspace_context(request).queries
        return self.stream(
            request,
            f"newsletters {filters.query()}",
            "newsletters.html",
            ("totals", "list"),
            lambda: newsletter_views.newsletters(queries, filters, reader),
        )

    async def tags(self, request: Request) -> Response:
        """Show all tags: newsletters and streams by topic."""
        filters = filters_of(request)
        page = await asyncio.to_thread(
            newsletter_views.tags, workspace_context(request).queries, filters, reader_of(request)
        )
        return self.page(request, "tags.html", page)

    async def tags_live(self, request: Request) -> Response:
        """Stream the same as it changes."""
        filters, reader = filters_of(request), reader_of(request)
        queries = workspace_context(request).queries
        return self.stream(
            request,
            f"tags {filters.query()}",
            "tags.html",
            ("list",),
            lambda: newsletter_views.tags(queries, filters, reader),
        )

    async def newsletter(self, request: Request) -> Response:
        """Show one newsletter, with filters on its hits."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        workspace = workspace_context(request)
        page = await asyncio.to_thread(
            newsletter_views.newsletter,
            workspace.queries,
            newsletter_id,
            filters,
            reader_of(request),
        )
        key = workspace.queries.key(newsletter_id)
        page["experiment"] = await asyncio.to_thread(workspace.experiments.get, key)
        return self.page(request, "newsletter.html", page)

    async def experiment(self, request: Request) -> Response:
        """Show a newsletter's experiment: what each variant has got, and what was decided."""
        workspace = workspace_context(request)
        page = await asyncio.to_thread(
            newsletter_views.experiment,
            workspace.queries,
            workspace.experiments,
            newsletter_id_of(request),
        )
        return self.page(request, "experiment.html", page)

    async def mail_providers(self, request: Request) -> Response:
        """Show a newsletter's messages by the mail providers of their recipients."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        page = await asyncio.to_thread(
            newsletter_views.mail_providers,
            workspace_context(request).queries,
            newsletter_id,
            filters,
            reader_of(request),
        )
        return self.page(request, "mail_providers.html", page)

    async def newsletter_live(self, request: Request) -> Response:
        """Stream the same as it changes."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        queries, reader = workspace_context(request).queries, reader_of(request)
        with suppress(StorageError):  # a stream that starts now shows the figures later
            await asyncio.to_thread(queries.newsletter, newsletter_id)
            await asyncio.to_thread(
                queries.filtered, queries.key(newsletter_id), filters.hit_filters
            )  # a variant that is none is refused before the stream begins
        return self.stream(
            request,
            f"newsletter {filters.query()} {newsletter_id}",
            "newsletter.html",
            ("figures", "timeline", "links", "agents"),
            lambda: newsletter_views.newsletter(queries, newsletter_id, filters, reader),
        )

    async def recipients(self, request: Request) -> Response:
        """Show recipients of one newsletter, or of all."""
        return await self._recipients(request, filters_of(request))

    async def search_recipients(self, request: Request) -> Response:
        """Show recipients whose email address contains a text, or the page of the one that it is.

        It is a form with a body, so that no URL contains an email address.
        """
        form = await read_form(request)
        filters = Filters.read(
            {name: str(value) for name, value in form.items()}, reader_of(request).zone
        )
        workspace, text = workspace_context(request), filters.search.strip()
        key, run = workspace.recipient_key(text), workspace.queries.run
        rows = await asyncio.to_thread(
            run, "recipient_messages", recipient=key, limit=1, **ALWAYS.parameters
        )
        if text and rows:
            return RedirectResponse(person_url(key, filters.over_time()), 303)
        return await self._recipients(request, filters)

    async def _recipients(self, request: Request, filters: Filters) -> Response:
        newsletter_id = newsletter_id_of(request) if request.path_params else ""
        page = await asyncio.to_thread(
            recipient_stats.recipients, workspace_context(request).queries, filters, newsletter_id
        )
        # Links of the page do not contain what was searched for.
        page |= {
            "search": filters.search,
            "previous": filters.after,
            "filters": replace(filters, search="", after=""),
        }
        return self.page(request, "recipients.html", page)

    async def recipient(self, request: Request) -> Response:
        """Show one recipient: what came, what was done with it, what is preferred."""
        filters, key = filters_of(request), request.path_params["key"]
        if key >= 2**64:
            raise NotFoundError("recipient", "no messages were sent to this recipient")
        workspace = workspace_context(request)
        record = await asyncio.to_thread(
            recipient_stats.recipient,
            workspace.queries,
            key,
            filters.show,
            filters.span(datetime.now(UTC)),
            filters.zone,
        )
        withdrawn = await asyncio.to_thread(
            workspace.withdrawals.of, workspace.queries.workspace, key
        )
        page = {
            "recipient": record,
            "week": person.week(record.active_at, reader_of(request)),
            "filters": filters,
            "withdrawn": withdrawn,
        }
        return self.page(request, "recipient.html", page)

    async def message(self, request: Request) -> Response:
        """Show one message: what it is, and what came of it in order."""
        queries, message_id = workspace_context(request).queries, request.path_params["message_id"]
        row, hits = await asyncio.to_thread(messages.message, queries, message_id)
        page = {
            "message": row,
            "outcomes": await asyncio.to_thread(messages.outcomes, queries, row),
            "hits": hits,
            "sent_at": messages.at(row),
            "filters": Filters(),
        }
        return self.page(request, "message.html", page)

    async def compare(self, request: Request) -> Response:
        """Show up to four newsletters side by side (?newsletter= repeated)."""
        filters = filters_of(request)
        ids = [
            newsletter_id
            for newsletter_id in request.query_params.getlist("newsletter")
            if newsletter_id
        ]
        page = await asyncio.to_thread(
            compare.compare, workspace_context(request).queries, ids, filters, reader_of(request)
        )
        return self.page(request, "compare.html", {**page, "ids": ids})

    async def report(self, request: Request) -> Response:
        """Show the page's statistics for printing and mailing."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        page = await asyncio.to_thread(
            report.figures,
            workspace_context(request).queries,
            newsletter_id,
            filters,
            reader_of(request),
        )
        return Response(report.html(page, ""), 200, report.HEADERS, "text/html; charset=utf-8")

    async def clickmap(self, request: Request) -> Response:
        """Show the mail with rank and share next to each link, and a table of links."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        page = await asyncio.to_thread(
            clickmap.page,
            workspace_context(request).queries,
            workspace_context(request).templates,
            newsletter_id,
            filters,
        )
        return self.page(request, "clickmap.html", page)

    async def clickmap_mail(self, request: Request) -> Response:
        """Show the document in the click map's frame, which can run and send nothing."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        html = await asyncio.to_thread(
            clickmap.mail,
            workspace_context(request).queries,
            workspace_context(request).templates,
            newsletter_id,
            filters,
            workspace_context(request).settings.public_url,
        )
        return Response(html, 200, clickmap.HEADERS, "text/html; charset=utf-8")

    async def export(self, request: Request) -> Response:
        """Export a newsletter's hits as a file, with the page's filters."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        return await exports.answer(
            request, workspace_context(request).queries, newsletter_id, filters
        )

    async def export_outcomes(self, request: Request) -> Response:
        """Export what became of a newsletter's messages as a file."""
        filters, newsletter_id = filters_of(request), newsletter_id_of(request)
        return await exports.answer(
            request, workspace_context(request).queries, newsletter_id, filters, "outcomes"
        )

    def problem(self, request: Request, status: int, title: str, detail: str) -> Response:
        """Returns an error's page; one of status 503 reloads itself, without JavaScript too."""
        response = self.page(request, "error.html", {"title": title, "detail": detail}, status)
        if status == 503:
            response.headers["refresh"] = "5"
        return response

    async def load_session(self, request: Request) -> Session | None:
        """Returns the session that the cookie names, or None; it is kept in the request's state."""
        token = cookie(request, SESSION)
        session = await asyncio.to_thread(self.sessions.find, token)
        if session:
            request.state.user, request.state.session = session.user, session
            request.state.token = token
        return session

    def requires_login(
        self,
        endpoint: Endpoint,
        role: Role = "viewer",
        live: bool = False,
        stores: bool = False,
    ) -> Endpoint:
        """Wrap an endpoint: users need the role, forms their token; errors become pages.

        `stores` says that it needs disk space: it is refused while only the reserve is free.
        """

        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            session = await self.load_session(request)
            if session is None:
                if live:  # a stream cannot follow to the login
                    return Response(status_code=401, headers=HEADERS)
                path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                back = path if request.method == "GET" else "/"
                return RedirectResponse(f"/login?next={quote(back, safe='')}", 303)
            if request.method == "POST":
                try:
                    await check_form(request, request.state.token)
                except StaleFormError:
                    detail = "Nothing was changed. Reload the page and try again."
                    return self.problem(request, 403, "Your session has changed", detail)
            if not session.user.may(role):
                detail = f"This page needs the role {role}. Your role is {session.user.role}."
                return self.problem(request, 403, "Permission denied", detail)
            # A page about the account needs no workspace, which may not be loaded yet.
            workspace = request.app.state.parts.get(session.user.workspace)
            try:
                if workspace:
                    workspace.quota.admit_page()
                if workspace and stores:
                    workspace.disk.check()
                return await endpoint(request)
            except QuotaError as error:
                wait = f"Try again in {error.retry_seconds} s."
                detail = f"{sentence(str(error))} {wait}"
                page = self.problem(request, 429, "Too many requests", detail)
                page.headers["retry-after"] = str(error.retry_seconds)
                return page
            except ReserveError as error:
                detail = f"Nothing was changed: {error}."
                return self.problem(request, 507, "The disk is nearly full", detail)
            except NotFoundError as error:
                return self.problem(request, 404, "Page not found", sentence(str(error)))
            except FilterError as error:
                detail = f"The URL parameter {error.name} {error}."
                return self.problem(request, 422, "Invalid filter", detail)
            except StorageError as error:
                log.warning("answered 503: %s", error)
                title = "Statistics are temporarily unavailable"
                if isinstance(error, StartingError):
                    title = "Mailwake is starting"
                return self.problem(request, 503, title, AWAY)

        return guarded

    def page(
        self, request: Request, name: str, page: Mapping[str, Any], status: int = 200
    ) -> Response:
        """Returns a template's page under the dashboard's policy."""
        user = getattr(request.state, "user", None)
        page = {
            "url": self._settings.console_url,
            "user": user,
            "notices": self._notices(user.workspace) if user else [],
            "csrf": partial(field, getattr(request.state, "token", "")),
            "reader": reader_of(request),
            **page,
        }
        return self.templates.TemplateResponse(request, name, page, status, dict(HEADERS))

    def stream(
        self,
        request: Request,
        key: str,
        name: str,
        blocks: Iterable[str],
        look: Callable[[], Mapping[str, Any]],
    ) -> Response:
        """Stream a template's blocks as they change; `look` asks the database for their figures."""
        workspace, session = workspace_context(request).queries.workspace, request.state.session.id
        try:
            self._live.check(workspace, session)
        except FullError as error:
            return Response(f"{error}\n", 503, {"retry-after": "30", "cache-control": "no-store"})

        def render() -> Fragments:
            notices = {"notices": self._notices(workspace)}
            try:
                page = {"url": self._settings.console_url, **look()}
            except StorageError:
                return {"notices": self._block("base.html", "notices", {**notices, "away": AWAY})}
            fragments = {block: self._block(name, block, page) for block in blocks}
            return {"notices": self._block("base.html", "notices", notices), **fragments}

        last = request.headers.get("last-event-id", "")
        token, reader = request.state.token, reader_of(request)
        key = f"{reader.zone_name} {reader.language} {key}"

        def valid() -> bool:
            try:
                return self.sessions.find(token) is not None
            except SQLAlchemyError:
                return True  # state.db is unavailable

        events = while_valid(self._live.watch(workspace, session, key, render, last), valid)
        return EventSourceResponse(events, headers={"cache-control": "no-store"}, ping=20)

    def _block(self, name: str, block: str, page: Mapping[str, Any]) -> str:
        return render_block(self.templates.env, name, block, page)


def static_files() -> Mount:
    """Returns the route of style sheets, scripts and images."""
    files, cached = StaticFiles(directory=resource("static")), [Middleware(_Cached)]
    return Mount("/static", files, name="static", middleware=cached)


class _Cached:
    """Static files have a hash or a version in their URL, so clients may keep them for good."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (200, 304):
                hashed = b"v=" in scope.get("query_string", b"") or "/vendor/" in scope["path"]
                age = b"public, max-age=31536000, immutable" if hashed else b"no-cache"
                nosniff = (b"x-content-type-options", b"nosniff")
                message["headers"] += [(b"cache-control", age), nosniff]
            await send(message)

        await self._app(scope, receive, with_headers)


def sentence(text: str) -> str:
    """Returns an error's message with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def field(secret: str) -> Markup:
    """Returns the hidden field that every form carries."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF, csrf(secret))


def workspace_context(request: Request) -> WorkspaceContext:
    """Returns the parts of the workspace whose pages somebody looks at."""
    return parts_of(request, request.state.user.workspace)


def filters_of(request: Request) -> Filters:
    """Returns the filters of the URL, with the reader's time zone. Raises FilterError."""
    return Filters.read(request.query_params, reader_of(request).zone)


def bounded_filters(request: Request, default: Period) -> Filters:
    """Returns the filters of the URL for a page whose period has a beginning. Raises FilterError.

    Such pages read hits of the whole workspace.
    """
    filters = filters_of(request)
    if filters.period == "all" and "period" not in request.query_params:
        return replace(filters, period=default)
    if filters.period == "all":
        allowed = ", ".join(name for name in PERIODS if name != "all")
        raise FilterError("period", f"must be one of {allowed}")
    if filters.period == "custom" and not filters.first_day:
        raise FilterError("from", "is required on this page")
    return filters


def newsletter_id_of(request: Request) -> str:
    """Returns the newsletter that a page's path names."""
    return unquote(request.path_params["newsletter_id"])
