"""Serves operators and their tools: health checks, metrics, and snapshots for backups."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.auth.api_keys import Scope
from app.auth.workspaces import DEFAULT
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ops import snapshot
from app.ops.metrics import CONTENT_TYPE, Metrics
from app.server.workspaces import WorkspaceRegistry
from app.settings.settings import Settings
from app.smtp.gateway import Gateway
from app.storage.clickhouse import Storage
from app.storage.journal import Journal
from app.tracking.middleware import TrackingMiddleware
from app.web.dashboard.live import Live
from app.web.errors import RequestError
from app.web.query import NoQuery, read_query
from app.web.requests import decoded, key_of


class Health:
    """Reports the health of one process; `watch()` sets the parts whose figures it reports."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        storage: Storage,
        loader: Loader,
        corrections: Corrections,
        registry: WorkspaceRegistry,
    ) -> None:
        self._settings, self._journal, self._storage = settings, journal, storage
        self._loader, self._corrections, self._registry = loader, corrections, registry

    def watch(
        self,
        tracking: TrackingMiddleware,
        live: Live,
        gateway: Gateway | None,
        refused: Mapping[str, int],
    ) -> None:
        """Report figures of these parts, which are created after the routes."""
        self._tracking = tracking
        self._metrics = Metrics(
            self._journal,
            self._loader,
            tracking.hits,
            tracking.dropped,
            refused=refused,
            quotas=self._registry.refused,
            disk=self._registry.disk,
            viewers=lambda: live.viewers,
            corrected=lambda: self._corrections.changed,
            webhooks=self._deliveries,
            mails=gateway.counts if gateway else {},
            unproven=lambda: sum(
                context.preparer.unproven for context in list(self._registry.current.values())
            ),
        )

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        return (
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
            Route("/v1/snapshot", self.snapshot, methods=["POST"]),
        )

    async def pulse(self) -> None:
        """Measure the event loop's delay until cancelled."""
        await self._metrics.pulse()

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format. Blocking."""
        return self._metrics.text()

    def notices(self) -> list[str]:
        """Returns what an operator must know now; empty while all is well."""
        disk = self._registry.disk.trouble
        return [*self._troubles(), *([disk] if disk else [])]

    def _troubles(self) -> list[str]:
        """Returns why hits are not kept or not loaded."""
        notices = [self._journal.trouble, self._loader.trouble]
        dropped = self._tracking.dropped.items()
        lost = sum(count for why, count in dropped if why.startswith(("disk_", "closed")))
        if lost:
            notices.append(f"{lost:,} hits were answered but could not be stored")
        return [notice for notice in notices if notice]

    async def healthz(self, _: Request) -> Response:
        """Answer 200 as soon as requests are served."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """Answer 200 while hits are kept and reach ClickHouse, else 503 with the reasons."""
        segments, size = self._journal.backlog
        trouble = self._troubles()
        if not self._loader.ready and not trouble:
            trouble = ["ClickHouse has not responded yet"]
        answer = {
            "ready": not trouble,
            "trouble": trouble,
            "journal": {"segments": segments, "bytes": size},
            "dropped": dict(self._tracking.dropped),
            "disk": self._registry.disk.trouble,
        }
        return JSONResponse(answer, 503 if trouble else 200)

    async def metrics(self, request: Request) -> Response:
        """Answer with all workspaces' metrics for Prometheus; needs a key of `default`."""
        _check_default(request, "read")
        text = await asyncio.to_thread(self.text)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def snapshot(self, request: Request) -> Response:
        """Fill a folder that `mailwake backup` has created in DATA_DIR, and no other."""
        _check_default(request, "admin")
        read_query(request.query_params, NoQuery)
        snapshot_request = await decoded(request, snapshot.SnapshotRequest, 4096)
        self._registry.disk.check()
        folder = self._settings.data_dir / snapshot_request.folder
        if not folder.is_dir() or any(folder.iterdir()):
            raise RequestError(
                422, "must be an empty folder created by `mailwake backup`", "folder"
            )
        await asyncio.to_thread(
            snapshot.take, self._settings, self._storage, self._loader, self._corrections, folder
        )
        return JSONResponse({"folder": folder.name})

    def _deliveries(self) -> Counter[str]:
        """Returns deliveries of all workspaces by state."""
        counts: Counter[str] = Counter()
        for context in list(self._registry.current.values()):
            counts.update(context.webhooks.counts_by_state())
        return counts


def _check_default(request: Request, scope: Scope) -> None:
    """Raises RequestError for keys of workspaces other than `default`."""
    if key_of(request, scope).workspace != DEFAULT:
        raise RequestError(
            403,
            "this endpoint covers the whole service and needs an API key of the workspace"
            " `default`",
        )
