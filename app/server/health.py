"""Serves operators and their tools: health checks, metrics, and snapshots for backups."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.auth.api_keys import Scope
from app.auth.workspaces import DEFAULT
from app.clock import CLOCK
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.ingest.verification import Verifier, period
from app.ops import snapshot
from app.ops.metrics import CONTENT_TYPE, Metrics
from app.schemas.verification import Verification, VerifyIn, in_words
from app.server.workspaces import WorkspaceRegistry
from app.settings.settings import Settings
from app.storage.clickhouse import Storage
from app.storage.journal import Journal
from app.tasks import Tasks, TaskState
from app.tracking.tracker import Tracker
from app.web.dashboard.live import Live
from app.web.dashboard.status import Status
from app.web.errors import RequestError
from app.web.query import NoQuery, read_query
from app.web.requests import decoded, key_of

SHOWN = 20  # differences in an answer
LOST_SECONDS = 600.0  # how long a hit that was not stored is reported as trouble
BACKLOG_SECONDS = 60.0  # age of the oldest hit beyond which the loader does not keep up


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
        tasks: Tasks,
        verifier: Verifier,
    ) -> None:
        self._settings, self._journal, self._storage = settings, journal, storage
        self._loader, self._corrections, self._registry = loader, corrections, registry
        self._tasks, self._verifier = tasks, verifier
        self._damaged, self._damaged_at = 0, 0.0  # damaged journal segments, and when the last was
        self._lost, self._lost_at = 0, 0.0  # hits that were not stored, and when the last was

    def watch(
        self,
        tracking: Tracker,
        live: Live,
        mails: Mapping[str, int],
        refused: Mapping[str, int],
        unproven: Callable[[], int],
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
            mails=mails,
            tasks=self._tasks.states,
            verified=self._verifier.verifications.latest,
            unproven=unproven,
        )

    @property
    def routes(self) -> Sequence[Route]:
        """Returns the routes for the application's router."""
        return (
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/healthz/full", self.full),
            Route("/metrics", self.metrics),
            Route("/v1/snapshot", self.snapshot, methods=["POST"]),
            Route("/v1/verify", self.verify, methods=["POST"]),
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
        notices = [self._journal.trouble, self._loader.trouble, CLOCK.trouble]
        if lost := self._lately_lost():
            notices.append(f"{lost:,} hits were answered but could not be stored")
        if damaged := self._lately_damaged():
            notices.append(
                f"{damaged:,} journal segments were damaged on the disk: see their .bad files"
            )
        notices += [
            f"the background task {task.name} is failing ({task.reason}, see the log)"
            for task in self._tasks.states()
            if task.state == "failing"
        ]
        return [notice for notice in notices if notice]

    def _lately_lost(self) -> int:
        """Returns how many hits were not stored since the start, if one was within LOST_SECONDS."""
        dropped = self._tracking.dropped.items()
        lost = sum(count for why, count in dropped if why.startswith(("disk_", "closed")))
        if lost != self._lost:
            self._lost, self._lost_at = lost, time.monotonic()
        return lost if lost and time.monotonic() - self._lost_at < LOST_SECONDS else 0

    def _lately_damaged(self) -> int:
        """Returns how many checksums were wrong since the start, if one within LOST_SECONDS."""
        if self._loader.damaged != self._damaged:
            self._damaged, self._damaged_at = self._loader.damaged, time.monotonic()
        lately = self._damaged and time.monotonic() - self._damaged_at < LOST_SECONDS
        return self._damaged if lately else 0

    async def healthz(self, _: Request) -> Response:
        """Answer 200 as soon as requests are served."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """Answer 200 while this process can serve recipients: hits are kept on disk, else 503.

        ClickHouse does not matter: without it hits wait in the journal.
        """
        if self._journal.trouble:
            return PlainTextResponse("hits cannot be kept\n", 503)
        return PlainTextResponse("ok\n")

    def status(self) -> Status:
        """Returns the state of this process and of the journal. Blocking."""
        lag = self._journal.lag()
        trouble = self._troubles()
        if not self._loader.ready and not trouble:
            trouble = ["ClickHouse has not responded yet"]
        if lag.seconds > BACKLOG_SECONDS:
            trouble.append(f"hits have waited for ClickHouse for {lag.seconds:.0f} seconds")
        verified = self._verifier.verifications.latest()
        if verified and verified.unrepaired:
            trouble.append(
                f"verification has found {verified.unrepaired:,} differences that are not repaired:"
                " run `mailwake verify`"
            )
        tasks = self._tasks.states()
        return Status(trouble, lag, dict(self._tracking.dropped), tasks, verified)

    async def full(self, _: Request) -> Response:
        """Answer 200 while hits are kept and reach ClickHouse, else 503 with the reasons."""
        status = await asyncio.to_thread(self.status)
        answer = {
            "healthy": not status.trouble,
            "trouble": status.trouble,
            "journal": {
                "segments": status.lag.segments,
                "bytes": status.lag.bytes,
                "oldest_seconds": round(status.lag.seconds, 1),
            },
            "dropped": status.dropped,
            "tasks": [_described(task) for task in status.tasks],
            "disk": self._registry.disk.trouble,
            "verified": _verified(status.verified) if status.verified else None,
        }
        return JSONResponse(answer, 503 if status.trouble else 200)

    async def metrics(self, request: Request) -> Response:
        """Answer with all workspaces' metrics for Prometheus; needs a key of `default`."""
        await _check_default(request, "read")
        text = await asyncio.to_thread(self.text)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def snapshot(self, request: Request) -> Response:
        """Fill a folder that `mailwake backup` has created in DATA_DIR, and no other."""
        await _check_default(request, "admin")
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

    async def verify(self, request: Request) -> Response:
        """Compare journal, hits, roll-ups and feed for `mailwake verify`, and repair them."""
        await _check_default(request, "admin")
        read_query(request.query_params, NoQuery)
        body = await decoded(request, VerifyIn, 4096)
        result = await asyncio.to_thread(
            self._verifier.verify, *period(body.start, body.end), repair=body.repair
        )
        return Response(msgspec.json.encode(result), media_type="application/json")

    def _deliveries(self) -> Counter[str]:
        """Returns deliveries of all workspaces by state."""
        counts: Counter[str] = Counter()
        for context in list(self._registry.current.values()):
            counts.update(context.webhooks.counts_by_state())
        return counts


def _described(task: TaskState) -> dict[str, object]:
    """Returns a task's state with times in RFC 3339."""
    return {
        **task._asdict(),
        "failing_since": _utc(task.failing_since) if task.failing_since else None,
        "ok_at": _utc(task.ok_at),
    }


def _verified(result: Verification) -> dict[str, object]:
    """Returns what a verification has found."""
    return {
        "at": _utc(result.at),
        "hits": result.hits,
        "differences": [in_words(difference) for difference in result.differences[:SHOWN]],
        "unrepaired": result.unrepaired,
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


async def _check_default(request: Request, scope: Scope) -> None:
    """Raises RequestError for keys of workspaces other than `default`."""
    key = await key_of(request, scope)
    if key.workspace != DEFAULT:
        raise RequestError(
            403,
            "this endpoint covers the whole service and needs an API key of the workspace"
            " `default`",
        )
