"""`mailwake reclassify`: by the running service where it holds chDB, else by this process."""

from collections.abc import Iterator
from datetime import datetime

import httpx2
import msgspec

from app.corrections import Corrections, Progress, span
from app.networks import Networks
from app.schemas import ReclassifyIn, ReclassifyOut
from app.settings import PREFIX, Settings
from app.storage import Storage, StorageError


class ReclassifyError(Exception):
    """The service, or the database, refused; the message says why."""


def steps(settings: Settings, start: datetime | None, end: datetime | None) -> Iterator[Progress]:
    """Progress until all is done. Raises ReclassifyError, StorageError or NetworksError."""
    if settings.clickhouse_dsn == "chdb":
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        try:
            yield from _asked(f"http://{host}:{settings.port}", settings, start, end)
            return
        except httpx2.ConnectError:
            pass  # no service: the database is free
    yield from _own(settings, start, end)


def _asked(
    url: str, settings: Settings, start: datetime | None, end: datetime | None
) -> Iterator[Progress]:
    body = msgspec.json.encode(ReclassifyIn(start, end))
    headers = {"authorization": f"Bearer {settings.api_keys[0]}"}
    with (
        httpx2.Client(trust_env=False, timeout=300, headers=headers) as client,
        client.stream("POST", f"{url}/v1/reclassify", content=body) as answer,
    ):
        if answer.status_code == 401:
            raise ReclassifyError(f"the service at {url} runs on another data folder")
        if answer.status_code != 200:
            raise ReclassifyError(f"{url} answered {answer.status_code}")
        for line in answer.iter_lines():
            step = msgspec.json.decode(line, type=ReclassifyOut)
            if step.error:
                raise ReclassifyError(step.error)
            yield Progress(step.done, step.total, step.changed)


def _own(settings: Settings, start: datetime | None, end: datetime | None) -> Iterator[Progress]:
    folder = settings.data_dir / "journal"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    storage = Storage(settings)
    try:
        storage.migrate()
        networks = Networks(settings.asn_file, settings.country_file)
        corrections = Corrections(folder, storage, networks)
        yield from corrections.reclassify("default", *span(start, end))
    except StorageError as error:
        if settings.clickhouse_dsn == "chdb" and "chdb engine" in str(error):
            raise ReclassifyError(
                f"{settings.data_dir / 'chdb'} is open in another process: if that is the service,"
                f" say where it listens with --port or {PREFIX}PORT"
            ) from error
        raise
    finally:
        storage.close()
