"""What a workspace has at run time, as requests need it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from app.auth.quotas import Quota
from app.consent.erasure_requests import Erasure, Erasures
from app.consent.suppression_rules import WorkspaceRules
from app.consent.suppressions import Suppressions
from app.consent.withdrawals import Withdrawals
from app.events.enrich import EventEnricher
from app.events.feed import Feed, FeedWatcher
from app.events.followups import FollowUps
from app.events.webhooks import Webhooks
from app.experiments.experiments import Experiments
from app.ingest.corrections import Corrections
from app.messages.prepare import MessagePreparer
from app.messages.templates import TemplateStore
from app.model.ids import newsletter_key, recipient_key
from app.outcomes.reports import OutcomeReports
from app.privacy.subject_export import SubjectExport
from app.settings.settings import Settings
from app.stats.queries import Queries
from app.stats.segments import SavedSegments
from app.stats.signals import Signals
from app.storage.disk import DiskReserve

# Asks another process about a workspace's request; returns None if this one has to answer it.
Forward = Callable[[Request, str], Awaitable[Response | None]]


@dataclass(frozen=True)
class WorkspaceContext:
    """What endpoints need of one workspace."""

    settings: Settings
    preparer: MessagePreparer
    outcomes: OutcomeReports
    templates: TemplateStore
    queries: Queries
    corrections: Corrections
    suppressions: Suppressions
    suppression_rules: WorkspaceRules
    webhooks: Webhooks
    followups: FollowUps
    segments: SavedSegments
    signals: Signals
    feed: Feed
    enricher: EventEnricher
    news: FeedWatcher
    erasures: Erasures
    exports: SubjectExport
    withdrawals: Withdrawals
    experiments: Experiments
    quota: Quota
    disk: DiskReserve
    forward: Forward | None = None

    def newsletter_key(self, newsletter_id: str) -> int:
        """Returns the key of a newsletter of this workspace."""
        return newsletter_key(self.queries.workspace, newsletter_id)

    def recipient_key(self, recipient: str) -> int:
        """Returns the key of a recipient of this workspace."""
        return recipient_key(self.settings.recipient_key, self.queries.workspace, recipient)

    def request_erasure(self, recipient: str) -> Erasure:
        """Ask for a recipient's erasure; the service's own task does it. Blocking."""
        key = self.recipient_key(recipient)
        requested = self.erasures.begin(self.queries.workspace, key, recipient)
        self.withdrawals.refresh()
        return requested
