"""Keeps the embedded engine in a process of its own: a crash of it takes no redirect with it.

Each process that needs the engine starts such a process. One of them gets the lock and
serves all; the others wait, and the next takes over when it ends.
"""

import asyncio
import logging
import os
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

from app import local_socket
from app.server.child_process import child_process
from app.settings.settings import Settings
from app.storage.engine import SOCKET, STOP

log = logging.getLogger(__name__)
MODULE = "app.storage.engine"
PING_SECONDS = 10.0  # between questions whether it lives
SILENCE_SECONDS = 60.0  # without an answer to that, after which it is replaced
_PING = b"GET /ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"


class EngineError(Exception):
    """The engine's process has ended by itself, or was killed since it did not answer."""


def needed(settings: Settings) -> bool:
    """Returns whether the engine is embedded, and DATA_DIR has the Unix sockets for its process."""
    if settings.clickhouse_dsn != "chdb":
        return False
    name = f"probe-{os.getpid()}.sock"  # workers look at the same time
    probe = local_socket.listen(settings.data_dir, name)
    if probe is None:
        log.warning("%s has no Unix sockets: the engine is in this process", settings.data_dir)
        return False
    probe.close()
    local_socket.remove(settings.data_dir, name)
    return True


async def run(settings: Settings) -> None:
    """Run the engine's process until cancelled. Raises EngineError when it ends by itself."""
    folder = settings.data_dir.absolute()
    async with child_process(MODULE, str(folder), env={}, last_words=STOP) as process:
        watching = asyncio.create_task(_watch(folder, process))
        try:
            await process.wait()
        finally:
            watching.cancel()
    raise EngineError(f"the database engine has ended with status {process.returncode}")


async def _watch(folder: Path, process: Process) -> None:
    """Kill a process that is alive and does not answer; long queries do not keep it from that."""
    while True:
        await asyncio.sleep(PING_SECONDS)
        try:
            await asyncio.wait_for(_answered(folder), SILENCE_SECONDS)
        except TimeoutError:
            log.error("the database engine has not answered for %g s: killed", SILENCE_SECONDS)
            process.kill()
            return
        except OSError:
            pass  # it does not listen yet, or no longer


async def _answered(folder: Path) -> None:
    """Wait for an answer. Raises OSError while nothing listens."""
    address, folder_fd = local_socket.address_of(folder, SOCKET)
    try:
        reader, writer = await asyncio.open_unix_connection(address)
    finally:
        os.close(folder_fd)
    try:
        writer.write(_PING)
        await reader.read()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
