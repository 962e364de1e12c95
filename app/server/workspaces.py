"""Keeps each workspace's parts while the service runs, and which tokens are valid on a host.

state.db is checked for workspaces once a second, so every process takes up one that the command
line creates, moves or rotates within about that time. While state.db is unavailable, the last known
state applies: a link needs none of it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.auth.quotas import Quota
from app.auth.workspaces import DEFAULT, Workspace, Workspaces
from app.consent.suppression_rules import SuppressionRules, WorkspaceRules
from app.consent.suppressions import Suppressions
from app.consent.withdrawals import Withdrawals
from app.events.enrich import EventEnricher
from app.events.experiment_worker import ExperimentWorker
from app.events.feed import Feed, FeedWatcher
from app.events.followup_worker import FollowUpWorker
from app.events.followups import FollowUps
from app.events.webhook_worker import WebhookContext
from app.events.webhooks import Webhooks
from app.ingest.corrections import Corrections
from app.messages.preparer_registry import make_preparer
from app.messages.templates import TemplateStore
from app.model.hosts import host_name, host_of_url
from app.outcomes.reports import OutcomeReports
from app.privacy.subject_export import SubjectExport
from app.settings.settings import Settings
from app.stats.queries import Queries
from app.stats.segments import SavedSegments
from app.stats.signals import Signals
from app.storage.clickhouse import Storage
from app.storage.disk import DiskReserve
from app.storage.journal import Journal
from app.storage.newsletters import FOLDER, Newsletters
from app.tracking.tokens import TokenReaders, Tokens
from app.web.context import Forward, WorkspaceContext

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0  # seconds between checks for changed workspaces


class WorkspaceRegistry:
    """`parts` and `contexts` by workspace, `readers` by host (as TrackingMiddleware takes them).

    All three are changed in place. `refresh()` blocks; `run()` until cancelled.
    """

    def __init__(
        self,
        settings: Settings,
        state: Engine,
        journal: Journal,
        storage: Storage,
        corrections: Corrections,
        feed: Feed,
        forward: Forward | None = None,
    ) -> None:
        self._settings, self._state, self._journal = settings, state, journal
        self._storage, self._corrections, self._feed = storage, corrections, feed
        self._forward = forward
        self.news = FeedWatcher(feed)
        self.workspaces = Workspaces(state, settings)
        self.withdrawals = Withdrawals(state)
        self.known: list[Workspace] = []
        self.current: dict[str, WorkspaceContext] = {}
        self.contexts: dict[str, WebhookContext] = {}
        self.readers: dict[bytes, Tokens | TokenReaders] = {}
        self.quotas: dict[str, Quota] = {}
        self.disk = DiskReserve(settings.data_dir, settings.disk_reserve_mb)
        self.refresh()

    @property
    def default(self) -> WorkspaceContext:
        """Returns the context of the workspace `default`."""
        return self.current[DEFAULT]

    def refused(self) -> Counter[str]:
        """Returns how often quotas refused something in this process, by quota."""
        return sum((quota.refused for quota in list(self.quotas.values())), Counter[str]())

    async def run(self) -> None:
        """Check for changes, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.refresh)
            except SQLAlchemyError as error:
                log.debug("workspaces could not be read, using the last known ones: %s", error)

    def refresh(self) -> None:
        """Take up changes. Raises SQLAlchemyError while state.db is unavailable."""
        workspaces = self.workspaces.all()
        if workspaces == self.known:
            return
        for workspace in workspaces:
            if workspace not in self.known:
                self.current[workspace.name], self.contexts[workspace.name] = self._make(workspace)
        by_host = readers(workspaces)
        self.readers.update(by_host)
        for host in set(self.readers) - set(by_host):
            del self.readers[host]
        self.known = workspaces

    def tokens_for(self, host: str) -> Tokens | TokenReaders:
        """Returns `valid_on` of all workspaces."""
        return valid_on(self.readers, host)

    def _make(self, workspace: Workspace) -> tuple[WorkspaceContext, WebhookContext]:
        settings, name, state = workspace.settings(self._settings), workspace.name, self._state
        suppressions = Suppressions(state, name)
        preparer = make_preparer(workspace, self._settings, state, self._journal, self.withdrawals)
        experiments = preparer.experiments
        stated = Newsletters(settings.data_dir / FOLDER)
        queries = Queries(
            self._storage, name, experiments.variants, stated, self._settings.data_dir / "journal"
        )
        quota = self.quotas.setdefault(name, Quota.of(self._settings))
        webhooks, followups = Webhooks(state, name), FollowUps(state, name)
        follower = FollowUpWorker(settings, followups, webhooks, self._feed, queries, suppressions)
        context = WorkspaceContext(
            settings=settings,
            preparer=preparer,
            outcomes=OutcomeReports(name, workspace.recipient_key, self._journal),
            templates=TemplateStore(
                settings.data_dir / "templates", preparer, name, quota, self.disk
            ),
            queries=queries,
            corrections=self._corrections,
            suppressions=suppressions,
            suppression_rules=WorkspaceRules(state, SuppressionRules.of(self._settings)),
            webhooks=webhooks,
            followups=followups,
            segments=SavedSegments(state, name),
            signals=Signals(state, name),
            feed=self._feed,
            enricher=EventEnricher(queries),
            news=self.news,
            erasures=self._feed.erasures,
            exports=SubjectExport(
                state, queries, workspace.recipient_key, self._settings.recipient_key
            ),
            withdrawals=self.withdrawals,
            experiments=experiments,
            quota=quota,
            disk=self.disk,
            forward=self._forward,
        )
        decider = ExperimentWorker(settings.data_dir / "journal", state, experiments, queries)
        return context, WebhookContext(webhooks, queries, EventEnricher(queries), follower, decider)


def readers(workspaces: Sequence[Workspace]) -> dict[bytes, Tokens | TokenReaders]:
    """Returns tokens by host. Other hosts take all tokens, so that links of old domains work."""
    tokens = {
        workspace.name: Tokens(workspace.secret_keys, workspace.name) for workspace in workspaces
    }
    by_host: dict[bytes, list[Tokens]] = {b"": list(tokens.values())}
    for workspace in workspaces:
        if host := host_of_url(workspace.public_url).encode():
            by_host.setdefault(host, []).append(tokens[workspace.name])
    return {host: _reader(of) for host, of in by_host.items()}


def valid_on(by_host: Mapping[bytes, Tokens | TokenReaders], host: str) -> Tokens | TokenReaders:
    """Returns the tokens that are valid on a host, as the Host field names it."""
    return by_host.get(host_name(host.encode("latin-1")), by_host[b""])


def _reader(of: Iterable[Tokens]) -> Tokens | TokenReaders:
    some = list(of)
    return some[0] if len(some) == 1 else TokenReaders(some)
