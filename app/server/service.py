"""Composes the application: creates, starts and stops its parts, and turns errors into HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount

from app.auth.api_keys import Keys
from app.auth.devices import Devices
from app.auth.login_guard import LoginGuard, LoginThrottle
from app.auth.sessions import Sessions
from app.auth.users import Users
from app.clock import CLOCK
from app.events import webhook_config
from app.events.webhook_worker import WebhookWorker
from app.ingest.newsletter_counts import NewsletterCounts
from app.ingest.pipeline import assemble
from app.ops.scheduled_reports import ReportMailer
from app.outcomes import provider_config
from app.privacy.erasure import ErasureWorker
from app.server import engine_process, recipients_only
from app.server.connections import Connections
from app.server.health import Health
from app.server.rewriting_process import RewritingProcess
from app.server.tracking_protocol import tracking_protocol
from app.server.workspaces import WorkspaceRegistry
from app.settings.settings import Settings
from app.storage.clickhouse import Storage
from app.storage.journal import Journal
from app.storage.newsletters import FOLDER, Newsletters
from app.storage.retention import follow_clock
from app.storage.state_db import open_state
from app.tasks import Tasks
from app.threads import favour_event_loop, offload_everything
from app.tracking.middleware import TrackingMiddleware
from app.tracking.recording_policy import keeper, refuser
from app.tracking.tracker import Tracker
from app.tracking.unsubscribe import Unsubscribe
from app.web.api import app, docs
from app.web.api.providers import ProviderReports
from app.web.dashboard.accounts import AccountPages
from app.web.dashboard.error_pages import error_page, foreign_page
from app.web.dashboard.followups import FollowUpPages
from app.web.dashboard.forms import ForeignPostError
from app.web.dashboard.home import HomePages
from app.web.dashboard.live import Live
from app.web.dashboard.login import LoginPages
from app.web.dashboard.pages import Dashboard
from app.web.dashboard.privacy import PrivacyPages
from app.web.dashboard.search import SearchPages
from app.web.dashboard.segments import SegmentPages
from app.web.dashboard.status import StatusPages
from app.web.dashboard.suppressions import SuppressionPages
from app.web.dashboard.webhooks import WebhookPages
from app.web.errors import ERRORS
from app.web.hosts import HostRouting

if TYPE_CHECKING:
    from app.smtp.gateway import Gateway


class Mailwake:
    """Every part of one running service; `asgi` is what uvicorn serves with `protocol`.

    `settings` must carry secrets and PUBLIC_URL. Raises JournalError if DATA_DIR is unusable,
    NetworksError if a file of networks is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = Journal(
            settings.data_dir / "journal", settings.journal_sync_ms, settings.journal_max_mb * 2**20
        )
        self.tasks = Tasks()
        self.connections = Connections(settings.connections_per_ip, settings.proxy_networks)
        self._engine_apart = engine_process.needed(settings)
        self.storage = Storage(settings, starting=True, engine_apart=self._engine_apart)
        state = open_state(settings.data_dir, settings.auto_migrate, settings.state_dsn)
        feed, self.loader, self.corrections, self.verifier = assemble(settings, self.storage, state)
        self._counts = NewsletterCounts(self.storage, self.loader, self.corrections)
        self.keys = Keys(state, settings)
        self.live = Live(lambda: self.loader.loaded + self.corrections.changed)
        self.rewriting = RewritingProcess(settings)
        self.registry = WorkspaceRegistry(
            settings,
            state,
            self.journal,
            self.storage,
            self.corrections,
            feed,
            self.rewriting.forward,
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
            settings, self.registry.contexts, feed, self.registry.news, self.registry.disk
        )
        sessions, users = Sessions(state), Users(state)
        login_guard = LoginGuard(users, LoginThrottle(state), Devices(state))
        self.health = Health(
            settings,
            self.journal,
            self.storage,
            self.loader,
            self.corrections,
            self.registry,
            self.tasks,
            self.verifier,
        )
        dashboard = Dashboard(settings, sessions, self.live, self._notices_of)
        self.reports = ReportMailer(settings, default.queries)
        self._newsletters = Newsletters(settings.data_dir / FOLDER)
        self.gateway = _gateway(settings, self.keys, self.registry, state, self.journal)
        visitor = keeper(settings.visitor_addresses)
        unsubscribe = Unsubscribe(
            self.registry.tokens_for, self.journal, dashboard.templates, visitor
        )
        file = settings.outcomes_file
        providers = ProviderReports(provider_config.from_file(file) if file else ())
        routes: list[BaseRoute] = [
            *self.health.routes,
            *docs.routes(app.openapi(settings.console_url), dashboard.templates),
            Mount(
                "/v1",
                app=app.create(
                    self.registry.current, self.keys, ERRORS, provider_reports=providers
                ),
            ),
            *unsubscribe.routes,
            *LoginPages(dashboard, users, login_guard, settings.data_dir).routes,
            *AccountPages(dashboard, users, self.keys, login_guard).routes,
            *FollowUpPages(dashboard).routes,
            *HomePages(dashboard).routes,
            *WebhookPages(dashboard).routes,
            *SegmentPages(dashboard).routes,
            *SearchPages(dashboard).routes,
            *PrivacyPages(dashboard).routes,
            *SuppressionPages(dashboard).routes,
            *StatusPages(dashboard, self.health.status).routes,
            *dashboard.routes,
        ]
        pages: dict[type[Exception], Any] = {
            **ERRORS,
            HTTPException: partial(error_page, dashboard),
            ForeignPostError: partial(foreign_page, dashboard),
        }
        self.starlette = Starlette(routes=routes, exception_handlers=pages, lifespan=self.lifespan)
        # Starlette would redirect /x/ to http://HOST/x, with whatever HOST the request names.
        self.starlette.router.redirect_slashes = False
        self.starlette.state.parts = self.registry.current
        self.starlette.state.keys = self.keys
        self.starlette.state.dashboard_is_https = settings.console_url.startswith("https://")
        front = HostRouting(self.starlette, settings, self.registry.readers)
        withdrawals = self.registry.withdrawals
        tracker = Tracker(
            self.registry.readers, visitor, refuser(withdrawals.refuses, settings.respect_gpc)
        )
        self.asgi = TrackingMiddleware(front, tracker, self.journal)
        self.protocol = tracking_protocol(
            tracker, self.journal, self.connections, settings.trusted_proxies
        )
        mails = self.gateway.counts if self.gateway else {}
        self.health.watch(tracker, self.live, mails, self.connections.refused, self._unproven)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Start journal, loader and periodic tasks; at the end load what the journal holds."""
        favour_event_loop()
        if self.settings.state_dsn:
            offload_everything()
        tasks, loads = self.tasks, self.settings.load
        self.journal.start(tasks)
        if self._engine_apart:
            tasks.start("engine", partial(engine_process.run, self.settings))
        tasks.start("loader", partial(self.loader.run, loads))
        tasks.start("clock", partial(CLOCK.run, self.settings.data_dir))
        tasks.start("live", self.live.run)
        tasks.start("pulse", self.health.pulse)
        tasks.start("workspaces", self.registry.run)
        tasks.start("keys", self.keys.run)
        tasks.start("withdrawals", self.registry.withdrawals.run)
        if self.settings.state_dsn:
            keep = partial(recipients_only.keep, self.registry, self.settings.data_dir)
            tasks.start("last known", keep)
        if loads:
            tasks.start("retention", partial(follow_clock, self.storage))
            tasks.start("corrections", self.corrections.run)
            tasks.start("verification", self.verifier.run)
            tasks.start("outcomes", self.loader.outcomes.run)
            tasks.start("counts", self._counts.run)
        tasks.start("reports", self.reports.run)
        tasks.start("newsletters", self._newsletters.run)
        tasks.start("erasures", self.eraser.run)
        tasks.start("webhooks", self.webhook_worker.run)
        tasks.start("rewriting", self.rewriting.run)
        if self.gateway:
            tasks.start("smtp", self.gateway.run)
        try:
            yield
        finally:
            tasks.cancel(but=("journal", "loader", "engine"))
            if self.gateway:
                await self.gateway.stop()
            await self.journal.close()
            self.loader.stop()
            await tasks.ended(but=("engine",))
            if loads:
                await self.loader.drain()
            await asyncio.to_thread(self.storage.close)
            tasks.cancel()
            await tasks.ended()

    def _unproven(self) -> int:
        """Returns how many whole messages failed the check after rewriting."""
        contexts = list(self.registry.current.values())
        return sum(context.preparer.unproven for context in contexts) + self.rewriting.unproven

    def _notices_of(self, workspace: str) -> list[str]:
        """Returns what users of a workspace must know."""
        return self.health.notices() + self.webhook_worker.notices.get(workspace, [])


def _gateway(
    settings: Settings, keys: Keys, registry: WorkspaceRegistry, state: Engine, journal: Journal
) -> "Gateway | None":
    """Returns the SMTP gateway, if the settings ask for it."""
    if not settings.smtp:
        return None
    from app.smtp.bounces import BounceReceiver  # noqa: PLC0415
    from app.smtp.gateway import Gateway  # noqa: PLC0415  (its libraries load slowly)

    bounces = BounceReceiver.of(settings, state, journal)
    return Gateway(settings, keys, lambda name: registry.current[name].preparer, bounces)
