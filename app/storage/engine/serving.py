"""Opens the engine and serves it on its socket until it is stopped."""

import asyncio
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import uvicorn

from app import local_socket
from app.storage.engine import SOCKET
from app.storage.engine.chdb_engine import Engine
from app.storage.engine.endpoint import create

THREADS = 16  # statements at once, more than a service has clients
KEEP_ALIVE_SECONDS = 86_400  # the service keeps its connections
STOP_SECONDS = 5  # for statements under way


def serve(data_dir: Path, stopping: threading.Event) -> None:
    """Serve until `stopping`. Ends the process if the engine cannot be opened."""
    try:
        engine = Engine(data_dir / "chdb")
    except RuntimeError as error:
        print(f"the database engine cannot be opened: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # chDB, which failed to start, would not end
    listener = local_socket.listen(data_dir, SOCKET)
    if listener is None:
        sys.exit(f"{data_dir} has no Unix sockets")
    asyncio.run(_serve(engine, listener, stopping))
    local_socket.remove(data_dir, SOCKET)
    engine.close()


async def _serve(engine: Engine, listener: socket.socket, stopping: threading.Event) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS + 1))
    server = uvicorn.Server(
        uvicorn.Config(
            create(engine),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]

    async def stop() -> None:
        await asyncio.to_thread(stopping.wait)
        server.should_exit = True

    stop_task = asyncio.create_task(stop())
    await server.serve(sockets=[listener])
    stop_task.cancel()
