"""Keeps the embedded engine in a process of its own: a crash of it takes no redirect with it."""

import logging

from app import local_socket
from app.engine import SOCKET, STOP
from app.server.child_process import child_process
from app.settings.settings import Settings

log = logging.getLogger(__name__)
MODULE = "app.engine"


class EngineError(Exception):
    """The engine's process has ended by itself."""


def engine_apart(settings: Settings) -> bool:
    """Returns whether the embedded engine gets a process: DATA_DIR needs Unix sockets for that."""
    if settings.clickhouse_dsn != "chdb":
        return False
    probe = local_socket.listen(settings.data_dir, f"probe-{SOCKET}")
    if probe is None:
        log.warning("%s has no Unix sockets: the engine is in this process", settings.data_dir)
        return False
    probe.close()
    local_socket.remove(settings.data_dir, f"probe-{SOCKET}")
    return True


async def run(settings: Settings) -> None:
    """Run the engine's process until cancelled. Raises EngineError when it ends by itself."""
    async with child_process(
        MODULE, str(settings.data_dir.absolute()), env={}, last_words=STOP
    ) as process:
        await process.wait()
    raise EngineError(f"the database engine has ended with status {process.returncode}")
