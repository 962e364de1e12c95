"""Reaches the data for a command: through the running service if it holds chDB, else directly."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from app.auth.workspaces import DEFAULT
from app.local_socket import LOCAL_SOCKET, address_of
from app.settings.settings import Settings
from app.storage.clickhouse import NOT_OPENED, Storage, StorageError, open_storage
from app.storage.clickhouse_schema import prepare
from app.web.requests import WORKSPACE_HEADER


class AskError(Exception):
    """The service refused; the message says why."""


@contextmanager
def service(settings: Settings, workspace: str = DEFAULT) -> Iterator[httpx2.Client | None]:
    """Yields a client of the service that holds chDB, or None if the data is free or on a server.

    It is reached by the Unix socket in DATA_DIR, so it is always the service of this folder.
    """
    try:
        address, folder_fd = address_of(settings.data_dir)
    except OSError:  # there is no folder yet, so nothing can have it
        yield None
        return
    try:
        if settings.clickhouse_dsn != "chdb" or not _listens(address):
            yield None
            return
        with httpx2.Client(
            base_url=settings.local_url(),
            transport=httpx2.HTTPTransport(uds=address),
            timeout=300,
            headers={WORKSPACE_HEADER: workspace},
        ) as client:
            yield client
    finally:
        os.close(folder_fd)


def _listens(address: str) -> bool:
    """Returns whether a service listens; without one, the database is free."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


@contextmanager
def storage(settings: Settings) -> Iterator[Storage]:
    """Yields the database with its tables. Raises AskError if another process has chDB."""
    (settings.data_dir / "journal").mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = open_storage(settings)
    try:
        prepare(opened)
        yield opened
    except StorageError as error:
        if settings.clickhouse_dsn == "chdb" and NOT_OPENED in str(error):
            raise AskError(
                f"{settings.data_dir / 'chdb'} is open in another process, which does not answer on"
                f" {settings.data_dir / LOCAL_SOCKET}: stop it first"
            ) from error
        raise
    finally:
        opened.close()
