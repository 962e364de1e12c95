"""Runs the engine of a data folder: `python -m app.engine DATA_DIR`, until standard input ends."""

import asyncio
import fcntl
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import uvicorn

from app import local_socket
from app.engine import LOCK, SOCKET, STOP
from app.engine.chdb_engine import Engine
from app.engine.endpoint import create

THREADS = 16  # statements at once, more than a service has clients
KEEP_ALIVE_SECONDS = 86_400  # the service keeps its connections
# Added to the share of memory in a thousand by which the kernel chooses what to kill (proc(5)):
# the engine rather than the process that answers recipients.
OOM_SCORE = "500"


def main(data_dir: Path) -> None:
    """Serve on the socket in DATA_DIR. Ends at once when the service has ended without a word."""
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a container
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    stopping = threading.Event()
    threading.Thread(target=_follow_service, args=[stopping], daemon=True).start()
    lock = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until the engine of a killed service has ended
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


def _follow_service(stopping: threading.Event) -> None:
    if sys.stdin.buffer.read() != STOP:  # it was killed, and the next one waits for the lock
        os._exit(1)
    stopping.set()


async def _serve(engine: Engine, listener: object, stopping: threading.Event) -> None:
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
            timeout_graceful_shutdown=5,
        )
    )
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]

    async def stop() -> None:
        await asyncio.to_thread(stopping.wait)
        server.should_exit = True

    stop_task = asyncio.create_task(stop())
    await server.serve(sockets=[listener])  # type: ignore[list-item]
    stop_task.cancel()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
