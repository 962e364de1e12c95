"""`mailwake reclassify`."""

from collections.abc import Iterator
from datetime import datetime

import httpx2
import msgspec

from app.cli import service_client
from app.cli.service_client import AskError
from app.events.feed import Feed
from app.ingest.corrections import Corrections, Progress, span
from app.ingest.networks import Networks
from app.schemas.reclassify import ReclassifyIn, ReclassifyOut
from app.settings.settings import Settings
from app.storage.state_db import open_state


def steps(
    settings: Settings, workspace: str, start: datetime | None, end: datetime | None
) -> Iterator[Progress]:
    """Progress until all is done. Raises AskError, StorageError or NetworksError."""
    with service_client.service(settings, workspace) as client:
        if client:
            yield from _asked(client, start, end)
            return
    with service_client.storage(settings) as storage:
        networks = Networks(settings.asn_file, settings.country_file)
        corrections = Corrections(
            settings.data_dir / "journal", storage, networks, Feed(open_state(settings.data_dir))
        )
        yield from corrections.reclassify(workspace, *span(start, end))


def _asked(
    client: httpx2.Client, start: datetime | None, end: datetime | None
) -> Iterator[Progress]:
    body = msgspec.json.encode(ReclassifyIn(start, end))
    with client.stream("POST", "/v1/reclassify", content=body) as answer:
        if answer.status_code != 200:
            raise AskError(f"the service answered {answer.status_code}")
        for line in answer.iter_lines():
            step = msgspec.json.decode(line, type=ReclassifyOut)
            if step.error:
                raise AskError(step.error)
            yield Progress(step.done, step.total, step.changed)
