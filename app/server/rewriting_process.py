"""A process of its own rewrites large mails, so that hits do not wait for the interpreter's lock.

    mailer -> service: key, quotas -> Unix socket in DATA_DIR -> process: rewrites and records

The first large mail starts the process; it ends with the service. Until it listens, and whenever it
does not, the service rewrites such mails itself, in threads: they are slower then, never refused.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from app import local_socket
from app.auth.api_keys import Keys
from app.events.feed import Feed
from app.ingest.corrections import Corrections
from app.ops import logs
from app.server.child_process import child_process
from app.server.connections import Connections
from app.server.workspaces import WorkspaceRegistry
from app.settings.load import load, variables, with_secrets
from app.settings.settings import Settings
from app.storage.clickhouse import Storage
from app.storage.journal import Journal
from app.storage.state_db import open_state
from app.tasks import Tasks
from app.threads import favour_event_loop
from app.web.api import app, rewrite
from app.web.errors import ERRORS, RequestError
from app.web.requests import WORKSPACE_HEADER

log = logging.getLogger(__name__)

LARGE_BYTES = 131_072  # of a body; Gmail clips mails of more than 102 KB, so few are larger
NICENESS = 10  # so that hits take priority where cores are few
START_POLL_SECONDS = 0.05
NO_SOCKETS = 3  # the process's exit status
ANSWER_SECONDS = 600.0  # without a byte of an answer
UNPROVEN_HEADER = "mailwake-unproven"  # how many mails failed the check, for a metric
# Of an answer; uvicorn sets its own.
_NOT_PASSED = ("connection", "date", "server", "transfer-encoding", UNPROVEN_HEADER)
_PASSED = ("content-type", "content-length", "accept")  # of a request


class RewritingProcess:
    """Starts, watches and asks the process: `run()` until cancelled, `forward` on the same loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = f"rewriting-{os.getpid()}.sock"
        self._wanted = asyncio.Event()
        self._client: httpx2.AsyncClient | None = None  # while the process listens
        self.unproven = 0  # whole messages that failed the check after rewriting there

    async def run(self) -> None:
        """Start the process when it is wanted. Raises OSError when it ends by itself.

        Returns where DATA_DIR can have no Unix sockets.
        """
        await self._wanted.wait()
        _sweep(self._settings.data_dir)
        try:
            async with child_process(
                __name__, self._name, env=variables(self._settings)
            ) as process:
                await self._wait_until_listening(process)
                async with self._connected() as self._client:
                    await process.wait()
        finally:
            self._client = None
            (self._settings.data_dir / self._name).unlink(missing_ok=True)
        if process.returncode == NO_SOCKETS:
            return
        raise OSError(f"the process for rewriting has ended with status {process.returncode}")

    async def _wait_until_listening(self, process: Process) -> None:
        path = self._settings.data_dir / self._name
        while process.returncode is None and not path.exists():  # noqa: ASYNC110  (its file)
            await asyncio.sleep(START_POLL_SECONDS)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Yields a client of the process, which connects for each request."""
        address, folder_fd = local_socket.address_of(self._settings.data_dir, self._name)
        # Without `verify` it would load certificates, which takes 20 ms and serves nothing here.
        transport = httpx2.AsyncHTTPTransport(
            uds=address, verify=False, limits=httpx2.Limits(max_keepalive_connections=0)
        )
        try:
            async with httpx2.AsyncClient(transport=transport, timeout=ANSWER_SECONDS) as client:
                yield client
        finally:
            os.close(folder_fd)

    async def forward(self, request: Request, workspace: str) -> Response | None:
        """Returns the process's answer to a large request, or None if this one has to answer."""
        if int(request.headers.get("content-length") or LARGE_BYTES) < LARGE_BYTES:
            return None
        self._wanted.set()
        return await self._ask(self._client, request, workspace) if self._client else None

    async def _ask(
        self, client: httpx2.AsyncClient, request: Request, workspace: str
    ) -> Response | None:
        begun = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal begun
            async for part in request.stream():
                begun = True
                yield part

        passed = {name: request.headers[name] for name in _PASSED if name in request.headers}
        path = request.scope["raw_path"].partition(b"?")[0]
        asked = client.build_request(
            request.method,
            "http://localhost/",
            content=body(),
            headers={**passed, WORKSPACE_HEADER: workspace},
            # As it came: a URL would be normalised, and an id may be `..`.
            extensions={"target": b"?".join((path, request.scope["query_string"]))},
        )
        try:
            answer = await client.send(asked, stream=True)
        # RuntimeError: the process has just ended, and its client was closed meanwhile.
        except (httpx2.TransportError, OSError, RuntimeError) as error:
            if not begun:
                return None
            log.warning("the process for rewriting did not answer: %r", error)
            raise RequestError(503, "rewriting was interrupted: send the mail again") from None
        self.unproven += int(answer.headers.get(UNPROVEN_HEADER, 0))
        headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.lower().decode("latin-1") not in _NOT_PASSED
        ]

        async def parts() -> AsyncIterator[bytes]:
            try:
                async for part in answer.aiter_raw():
                    yield part
            finally:
                await answer.aclose()

        response = StreamingResponse(parts(), answer.status_code)
        response.raw_headers = headers
        return response


def _sweep(data_dir: Path) -> None:
    """Delete sockets of services that were killed."""
    for path in data_dir.glob("rewriting-*.sock"):
        pid = path.stem.rpartition("-")[2]
        if not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)


class _Rewriter:
    """What runs in the process: the operations of large requests, for all workspaces."""

    def __init__(self, settings: Settings) -> None:
        folder = settings.data_dir / "journal"
        self.journal = Journal(folder, settings.journal_sync_ms, settings.journal_max_mb * 2**20)
        self.tasks = Tasks()
        self._reported = 0  # mails that failed the check, in answers so far
        # Neither opens ClickHouse before it is asked, and rewriting asks for nothing.
        storage, state = Storage(settings), open_state(settings.data_dir, dsn=settings.state_dsn)
        self.registry = WorkspaceRegistry(
            settings, state, self.journal, storage, Corrections(folder, storage), Feed(state)
        )
        operations = [operation for operation in rewrite.OPERATIONS if operation.forwards]
        api = app.create(self.registry.current, Keys(state, settings), ERRORS, operations)
        self.asgi = Starlette(routes=[Mount("/v1", app=self._fresh(api))], lifespan=self._lifespan)

    def _fresh(self, api: Any) -> Any:
        """Wrap the API: what the service has just changed applies, as if it were one process."""

        async def fresh(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.to_thread(self.registry.refresh)
            await asyncio.to_thread(self.registry.withdrawals.refresh)

            async def counted(message: Any) -> None:
                if message["type"] == "http.response.start":
                    headers = [*message["headers"], (UNPROVEN_HEADER.encode(), self._news())]
                    message = {**message, "headers": headers}
                await send(message)

            await api(scope, receive, counted)

        return fresh

    def _news(self) -> bytes:
        """Returns how many mails failed the check since the last answer, whichever they were."""
        total = sum(context.preparer.unproven for context in self.registry.current.values())
        news, self._reported = total - self._reported, total
        return b"%d" % news

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        favour_event_loop()
        self.journal.start(self.tasks)
        try:
            yield
        finally:
            self.tasks.cancel(but=("journal",))
            await self.journal.close()
            await self.tasks.ended()


def main(name: str) -> None:
    """Serve on the socket of that name in DATA_DIR until standard input closes."""
    os.umask(0o077)
    os.nice(NICENESS)
    settings = with_secrets(load())
    logs.start(settings.log_level, settings.log_format)
    rewriter = _Rewriter(settings)
    listener = local_socket.listen(settings.data_dir, name)
    if listener is None:
        log.warning("%s has no Unix sockets: large mails delay hits", settings.data_dir)
        sys.exit(NO_SOCKETS)
    connections = Connections(settings.connections_per_ip, ())
    server = uvicorn.Server(
        uvicorn.Config(
            rewriter.asgi,
            http=connections.protocol(),  # type: ignore[arg-type]
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            log_level="warning",
        )
    )

    def stop_with_the_service() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=stop_with_the_service, daemon=True).start()
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a container
        signal.signal(number, signal.SIG_IGN)
    # asyncio's own loop: uvloop serves no Unix socket that it has not opened.
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main(sys.argv[1])
