"""Reaches the engine's process by its Unix socket, with the HTTP client of clickhouse-connect."""

import os
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from app.local_socket import address_of
from app.storage.engine import SOCKET

ANSWER_SECONDS = 600  # as in one process, a long query is not given up
START_POLL_SECONDS = 0.02


def connect(folder: Path, answer_seconds: int, settings: dict[str, int] | None) -> Client:
    """Returns a client of the process that has DATA_DIR's engine open. Raises ClickHouseError."""
    return clickhouse_connect.get_client(
        interface="http",
        host="localhost",
        pool_mgr=_pools(folder),
        settings=dict(settings or {}),
        compress=False,
        connect_timeout=5,
        send_receive_timeout=max(answer_seconds, ANSWER_SECONDS),
        autogenerate_session_id=False,
    )


def listens(folder: Path) -> bool:
    """Returns whether a process has DATA_DIR's engine open, and answers there."""
    try:
        _connected(folder).close()
    except OSError:
        return False
    return True


def wait_until_listening(folder: Path, seconds: float) -> None:
    """Wait for the process to open the engine, for so long at most."""
    end = time.monotonic() + seconds
    while not listens(folder) and time.monotonic() < end:
        time.sleep(START_POLL_SECONDS)


def _connected(folder: Path) -> socket.socket:
    """Returns a connection. Raises OSError while nothing listens."""
    address, folder_fd = address_of(folder, SOCKET)
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.connect(address)
    except OSError:
        connected.close()
        raise
    finally:
        os.close(folder_fd)
    return connected


class _Connection(HTTPConnection):
    """A connection to the socket in a data folder, whatever host and port the URL names."""

    def __init__(self, folder: Path, **more: Any) -> None:
        super().__init__(**more)
        self._folder = folder

    def _new_conn(self) -> socket.socket:
        try:
            connected = _connected(self._folder)
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        connected.settimeout(self.timeout)
        return connected


def _pools(folder: Path) -> PoolManager:
    class EngineHTTPConnectionPool(HTTPConnectionPool):
        ConnectionCls: Any = partial(_Connection, folder)

    pools = PoolManager(maxsize=1)
    pools.pool_classes_by_scheme = {"http": EngineHTTPConnectionPool}
    return pools
