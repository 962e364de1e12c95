"""How a command reaches the data: through the running service where it holds chDB, else itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from app.auth.api_keys import local_token
from app.auth.workspaces import DEFAULT
from app.settings.settings import PREFIX, Settings
from app.storage.clickhouse import Storage, StorageError
from app.storage.clickhouse_schema import prepare


class AskError(Exception):
    """The service refused; the message says why."""


@contextmanager
def service(settings: Settings, workspace: str = DEFAULT) -> Iterator[httpx2.Client | None]:
    """A client of the service that holds chDB, None where there is none or a server has the data.

    Raises AskError when the service that answers belongs to another data folder.
    """
    if settings.clickhouse_dsn != "chdb":
        yield None
        return
    url = settings.local_url()

    def pass_on(request: httpx2.Request) -> httpx2.Request:
        request.headers["authorization"] = f"Bearer {local_token(settings, workspace)}"
        return request

    with httpx2.Client(base_url=url, trust_env=False, timeout=300, auth=pass_on) as client:
        try:
            status = client.get("/v1/newsletters", params={"limit": 1}).status_code
        except httpx2.ConnectError:
            yield None  # the database is free
            return
        if status == 401:
            raise AskError(f"the service at {url} uses another data folder")
        yield client


@contextmanager
def storage(settings: Settings) -> Iterator[Storage]:
    """The database with its tables. Raises AskError where another process has chDB."""
    (settings.data_dir / "journal").mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = Storage(settings)
    try:
        prepare(opened)
        yield opened
    except StorageError as error:
        if settings.clickhouse_dsn == "chdb" and "chdb engine" in str(error):
            raise AskError(
                f"{settings.data_dir / 'chdb'} is open in another process. If that is the service,"
                f" pass its port with --port or {PREFIX}PORT."
            ) from error
        raise
    finally:
        opened.close()
