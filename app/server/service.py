"""The application: puts the parts together, starts and ends them, turns errors into HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount

from app.auth.api_keys import Keys
from app.auth.login_guard import LoginGuard, LoginThrottle
from app.auth.sessions import Sessions
from app.auth.users import Users
from app.events import webhook_config
from app.events.feed import CursorError, Feed
from app.events.webhook_worker import WebhookWorker
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ingest.networks import Networks
from app.model.errors import FieldError, NotFoundError
from app.ops.scheduled_reports import Reports
from app.privacy.erasure import ErasureWorker
from app.schemas.problem import Problem
from app.server.health import Health
from app.server.workspaces import WorkspaceRegistry
from app.settings.settings import Settings
from app.smtp.gateway import Gateway
from app.storage.clickhouse import Storage, StorageError
from app.storage.journal import Journal, JournalError
from app.storage.newsletters import FOLDER, Newsletters
from app.storage.state_db import open_state
from app.tracking.middleware import TrackingMiddleware
from app.tracking.recording_policy import keeper, refuser
from app.tracking.unsubscribe import Unsubscribe
from app.web.api import app, docs
from app.web.dashboard.accounts import AccountPages
from app.web.dashboard.followups import FollowUpPages
from app.web.dashboard.forms import ForeignPostError
from app.web.dashboard.live import Live
from app.web.dashboard.login import LoginPages
from app.web.dashboard.pages import Dashboard
from app.web.dashboard.privacy import PrivacyPages
from app.web.dashboard.segments import SegmentPages
from app.web.dashboard.webhooks import WebhookPages
from app.web.hosts import HostRouting
from app.web.requests import RequestError

FOREIGN = "The request came from another website. Nothing was changed."
log = logging.getLogger(__name__)
Handlers = dict[type[Exception], Callable[[Request, Exception], Response]]


class Mailwake:
    """Every part of one running service; `asgi` is what uvicorn serves.

    `settings` must carry secrets and PUBLIC_URL. Raises JournalError when DATA_DIR is unusable,
    NetworksError when a file of networks is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = Journal(
            settings.data_dir / "journal", settings.journal_sync_ms, settings.journal_max_mb * 2**20
        )
        self.storage = Storage(settings)
        networks = Networks(settings.asn_file, settings.country_file)
        state = open_state(settings.data_dir, settings.auto_migrate)
        feed = Feed(state)
        key = settings.recipient_key
        self.loader = Loader(self.journal.folder, self.storage, networks, feed, key)
        self.corrections = Corrections(self.journal.folder, self.storage, networks, feed)
        self.keys = Keys(state, settings)
        self.live = Live(lambda: self.loader.loaded + self.corrections.changed)
        self.registry = WorkspaceRegistry(
            settings, state, self.journal, self.storage, self.corrections, feed
        )
        self.eraser = ErasureWorker(
            data_dir=settings.data_dir,
            engine=state,
            storage=self.storage,
            loader=self.loader,
            corrections=self.corrections,
            workspaces=self.registry.workspaces,
            erasures=feed.erasures,
        )
        default = self.registry.default
        default.webhooks.sync_from_file(
            webhook_config.from_file(settings.webhooks_file) if settings.webhooks_file else {},
            feed.last(),
        )
        self.webhook_worker = WebhookWorker(
            settings, self.registry.contexts, feed, self.registry.news
        )
        sessions, users = Sessions(state), Users(state)
        door = LoginGuard(users, LoginThrottle(state))
        self.health = Health(
            settings, self.journal, self.storage, self.loader, self.corrections, self.registry
        )
        dashboard = Dashboard(settings, sessions, self.live, self._notices_of)
        self.reports = Reports(settings, default.queries)
        self._newsletters = Newsletters(settings.data_dir / FOLDER)
        of = self.registry.current
        self.gateway = (
            Gateway(settings, self.keys, lambda name: of[name].preparer) if settings.smtp else None
        )
        visitor = keeper(settings.visitor_addresses)
        unsubscribe = Unsubscribe(
            self.registry.tokens_for, self.journal, dashboard.templates, visitor
        )
        routes: list[BaseRoute] = [
            *self.health.routes,
            *docs.routes(app.openapi(), dashboard.templates, settings.console_url),
            Mount("/v1", app=app.create(self.registry.current, self.keys, ERRORS)),
            *unsubscribe.routes,
            *LoginPages(dashboard, users, door).routes,
            *AccountPages(dashboard, users, self.keys, door).routes,
            *FollowUpPages(dashboard).routes,
            *WebhookPages(dashboard).routes,
            *SegmentPages(dashboard).routes,
            *PrivacyPages(dashboard).routes,
            *dashboard.routes,
        ]
        pages: dict[type[Exception], Any] = {
            **ERRORS,
            HTTPException: partial(_error_page, dashboard),
            ForeignPostError: partial(_foreign_page, dashboard),
        }
        self.starlette = Starlette(routes=routes, exception_handlers=pages, lifespan=self.lifespan)
        # Starlette would lead from /x/ to http://HOST/x, HOST being whatever the request names.
        self.starlette.router.redirect_slashes = False
        self.starlette.state.parts = self.registry.current
        self.starlette.state.keys = self.keys
        front = HostRouting(self.starlette, settings, self.registry.readers)
        withdrawals = self.registry.withdrawals
        self.asgi = TrackingMiddleware(
            front,
            self.registry.readers,
            self.journal,
            visitor,
            refuser(withdrawals.refuses, settings.respect_gpc),
        )
        self.health.watch(self.asgi, self.live, self.gateway)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Start journal, loader and ticker; at the end load what the journal holds."""
        self.journal.start()
        loads = self.settings.load
        loading = asyncio.create_task(self.loader.run(loads), name="loader")
        tasks = [
            asyncio.create_task(self.live.run(), name="live"),
            asyncio.create_task(self.health.pulse(), name="pulse"),
            asyncio.create_task(self.registry.run(), name="workspaces"),
            asyncio.create_task(self.keys.run(), name="keys"),
            asyncio.create_task(self.registry.withdrawals.run(), name="withdrawals"),
            *([asyncio.create_task(self.corrections.run(), name="corrections")] if loads else []),
            asyncio.create_task(self.reports.run(), name="reports"),
            asyncio.create_task(self._newsletters.run(), name="newsletters"),
            asyncio.create_task(self.eraser.run(), name="erasures"),
            asyncio.create_task(self.webhook_worker.run(), name="webhooks"),
            *([asyncio.create_task(self.gateway.run(), name="smtp")] if self.gateway else []),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if self.gateway:
                await self.gateway.stop()
            await self.journal.close()
            self.loader.stop()
            await asyncio.gather(loading, *tasks, return_exceptions=True)
            if loads:
                await self.loader.drain()
            await asyncio.to_thread(self.storage.close)

    def _notices_of(self, workspace: str) -> list[str]:
        """What a user who looks at a workspace must know."""
        return self.health.notices() + self.webhook_worker.notices.get(workspace, [])


def problem(status: int, title: str, detail: str = "", field: str = "") -> Response:
    """An RFC 9457 answer."""
    body = msgspec.json.encode(Problem(title, status, detail, field))
    headers = {"www-authenticate": 'Bearer realm="Mailwake"'} if status == 401 else {}
    if status == 503:
        headers["retry-after"] = "5"
    return Response(body, status, headers, "application/problem+json")


def _request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101
    titles = {
        400: "Bad request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not found",
        409: "Conflict",
        413: "Too large",
        422: "Invalid value",
    }
    return problem(error.status, titles.get(error.status, "Error"), error.detail, error.field)


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    answer = problem(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _error_page(dashboard: Dashboard, request: Request, error: Exception) -> Response:
    """For people a page, for programs a problem."""
    assert isinstance(error, HTTPException)  # noqa: S101
    if "text/html" not in request.headers.get("accept", ""):
        return _http_error(request, error)
    with suppress(SQLAlchemyError):  # the bar on top then is that of somebody unknown
        await dashboard.load_session(request)
    return dashboard.problem(request, error.status_code, error.detail, "Check the URL.")


def _foreign_page(dashboard: Dashboard, request: Request, error: Exception) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return _foreign_post(request, error)
    return dashboard.problem(request, 403, "Form not accepted", FOREIGN)


def _cursor_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, CursorError)  # noqa: S101
    status = 410 if error.gone else 422
    return problem(status, "Gone" if error.gone else "Invalid value", str(error), "after")


def _state_error(_: Request, error: Exception) -> Response:
    log.error("answered 503: %s", error)
    return problem(503, "state.db is unavailable", "Try again in a moment.")


def _crashed(_: Request, __: Exception) -> Response:
    return problem(500, "Internal error", "See the service's log for details.")


def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, NotFoundError)  # noqa: S101
    return problem(404, "Not found", str(error), error.field)


def _field_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, FieldError)  # noqa: S101
    return problem(422, "Invalid value", str(error), error.field)


def _storage_error(_: Request, error: Exception) -> Response:
    log.warning("answered 503: %s", error)
    return problem(
        503, "ClickHouse is unavailable", "Hits are still stored. Try again in a moment."
    )


def _foreign_post(_: Request, error: Exception) -> Response:
    return problem(403, "Forbidden", FOREIGN)


def _journal_error(_: Request, error: Exception) -> Response:
    return problem(503, "Nothing can be stored", str(error))


ERRORS: Handlers = {
    RequestError: _request_error,
    HTTPException: _http_error,
    NotFoundError: _not_found,
    FieldError: _field_error,
    CursorError: _cursor_error,
    SQLAlchemyError: _state_error,
    StorageError: _storage_error,
    JournalError: _journal_error,
    ForeignPostError: _foreign_post,
    Exception: _crashed,
}
