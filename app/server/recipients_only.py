"""Serves recipients while PostgreSQL is unavailable as the service starts.

    service -> DATA_DIR/last_known.json: workspaces and withdrawals, whenever they have changed
    start without PostgreSQL -> that file, pixels, links, unsubscribe -> journal

Everything else answers 503. Once PostgreSQL answers, the service starts as always, on the same
listening socket: connections that come in between wait in its backlog.
"""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.auth.workspaces import DEFAULT, Workspace
from app.consent.withdrawals import Entries, withdrawn
from app.files import write_private
from app.model.errors import UNREADABLE
from app.server.connections import Connections
from app.server.tracking_protocol import tracking_protocol
from app.server.workspaces import WorkspaceRegistry, readers, valid_on
from app.settings.settings import Settings
from app.storage.journal import Journal
from app.storage.state_db import UnreachableError, missing_shared
from app.storage.state_steps import VersionError
from app.tasks import Tasks
from app.tracking.middleware import TrackingMiddleware
from app.tracking.recording_policy import keeper, refuser
from app.tracking.tracker import Tracker
from app.tracking.unsubscribe import Unsubscribe
from app.web.dashboard.pages import static_files
from app.web.errors import ERRORS, problem
from app.web.hosts import HostRouting
from app.web.views.templating import templates

log = logging.getLogger(__name__)
FILE = "last_known.json"  # mode 0600: it has the keys of workspaces
POLL_SECONDS = 1.0  # seconds between checks for changes, and for PostgreSQL
SHARE = 0.02  # of the time that writing the file may take


class LastKnown(msgspec.Struct, frozen=True):
    """What answers to recipients need of the state.

    `withdrawals` has workspace, recipient, axis and newsletter of each. The workspace `default` is
    in the settings.
    """

    workspaces: tuple[Workspace, ...]
    withdrawals: tuple[tuple[str, int, str, int], ...]

    @classmethod
    def read(cls, data_dir: Path) -> "LastKnown | None":
        """Returns what a service of this folder has written, or None."""
        try:
            return msgspec.json.decode((data_dir / FILE).read_bytes(), type=cls)
        except (*UNREADABLE, OSError):
            return None

    @classmethod
    def of(cls, registry: WorkspaceRegistry) -> "LastKnown":
        """Returns what a running service knows."""
        return cls(
            tuple(workspace for workspace in registry.known if workspace.name != DEFAULT),
            tuple(
                (workspace, recipient, axis, newsletter)
                for (workspace, recipient), entries in registry.withdrawals.known.items()
                for axis, newsletter in entries
            ),
        )

    @property
    def entries(self) -> Entries:
        """Returns the withdrawals as `withdrawn` takes them."""
        entries: dict[tuple[str, int], set[tuple[str, int]]] = {}
        for workspace, recipient, axis, newsletter in self.withdrawals:
            entries.setdefault((workspace, recipient), set()).add((axis, newsletter))
        return entries


async def keep(registry: WorkspaceRegistry, data_dir: Path) -> None:
    """Write the file whenever something has changed, and when it is cancelled."""
    seen: tuple[object, object] = None, None
    try:
        while True:
            known, started = (registry.known, registry.withdrawals.known), time.monotonic()
            if known[0] is not seen[0] or known[1] is not seen[1]:
                try:
                    await asyncio.to_thread(_write, registry, data_dir)
                    seen = known
                except OSError as error:
                    log.debug("%s is written later: %s", FILE, error)
            await asyncio.sleep(max(POLL_SECONDS, (time.monotonic() - started) / SHARE))
    finally:
        if registry.known is not seen[0] or registry.withdrawals.known is not seen[1]:
            with suppress(OSError):
                _write(registry, data_dir)


def _write(registry: WorkspaceRegistry, data_dir: Path) -> None:
    write_private(data_dir / FILE, msgspec.json.encode(LastKnown.of(registry)))


class RecipientsOnly:
    """A service for recipients; `asgi` is what uvicorn serves with `protocol`.

    Raises JournalError if DATA_DIR is unusable.
    """

    def __init__(self, settings: Settings, known: LastKnown) -> None:
        self._settings = settings
        self._server: uvicorn.Server
        self._journal = Journal(
            settings.data_dir / "journal", settings.journal_sync_ms, settings.journal_max_mb * 2**20
        )
        default = Workspace(
            DEFAULT, settings.public_url, settings.secret_keys, settings.recipient_key
        )
        by_host = readers([default, *known.workspaces])
        visitor = keeper(settings.visitor_addresses)
        connections = Connections(settings.connections_per_ip, settings.proxy_networks)
        refused = refuser(partial(withdrawn, known.entries), settings.respect_gpc)
        tracker = Tracker(by_host, visitor, refused)
        unsubscribe = Unsubscribe(partial(valid_on, by_host), self._journal, templates(), visitor)
        starlette = Starlette(
            routes=[
                Route("/healthz", _healthz),
                Route("/readyz", self._readyz),
                *unsubscribe.routes,
                static_files(),
                Route("/{path:path}", _unavailable, methods=METHODS),
            ],
            exception_handlers={**ERRORS},
            lifespan=self._lifespan,
        )
        front = HostRouting(starlette, settings, by_host)
        self.asgi = TrackingMiddleware(front, tracker, self._journal)
        self.protocol: Callable[..., Any] = tracking_protocol(
            tracker, self._journal, connections, settings.trusted_proxies
        )

    async def run(self, server: uvicorn.Server, listener: socket.socket) -> None:
        """Serve until PostgreSQL answers, or a signal ends the process."""
        self._server = server
        await server.serve(sockets=[listener])

    async def _wait(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(missing_shared, self._settings.state_dsn)
            except UnreachableError:
                continue
            except VersionError:
                pass  # the start says so
            self._server.should_exit = True
            return

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        tasks = Tasks()
        self._journal.start(tasks)
        tasks.start("postgresql", self._wait)
        try:
            yield
        finally:
            tasks.cancel(but=("journal",))
            await self._journal.close()
            tasks.cancel()
            await tasks.ended()

    async def _readyz(self, _: Request) -> Response:
        if self._journal.trouble:
            return PlainTextResponse("hits cannot be kept\n", 503)
        return PlainTextResponse("ok\n")


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _unavailable(_: Request) -> Response:
    detail = "PostgreSQL does not answer. Pixels, links and unsubscribe links work."
    return problem(503, "The state is unavailable", detail)
