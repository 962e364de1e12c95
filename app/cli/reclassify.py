"""`mailwake reclassify`."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import httpx2
import msgspec
import typer
from rich.progress import Progress as ProgressBar
from rich.progress import TextColumn

from app.auth.workspaces import DEFAULT
from app.cli import (
    service_client,
)
from app.cli.common import Workspace, errors, fail, option, settings_of, utc
from app.cli.service_client import AskError
from app.cli.state import open_state
from app.ingest.corrections import Progress, span
from app.ingest.networks import NetworksError
from app.ingest.pipeline import assemble
from app.schemas.reclassify import ReclassifyIn, ReclassifyOut
from app.settings.settings import Settings
from app.storage.clickhouse import StorageError


def reclassify(
    start: Annotated[
        datetime | None, typer.Option("--from", help="Start, in UTC. The first hit if omitted.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", help="End, in UTC. Five minutes ago if omitted.")
    ] = None,
    workspace: Workspace = DEFAULT,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Classify stored hits again with the current rules. Safe to stop and to repeat.

    With embedded chDB, the running service does the work, or this process if there is none.
    """
    settings = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    if start and end and start > end:
        raise fail("--from: must not be later than --to")
    columns = (*ProgressBar.get_default_columns(), TextColumn("{task.fields[changed]:,} changed"))
    try:
        with ProgressBar(*columns, console=errors) as bar:
            task = bar.add_task("Reclassifying", total=None, changed=0)
            last = None
            for last in _steps(settings, workspace, utc(start), utc(end)):
                bar.update(task, total=last.total, completed=last.done, changed=last.changed)
    except (AskError, StorageError, NetworksError) as error:
        raise fail(str(error)) from None
    if last:
        typer.echo(f"{last.done:,} hits checked, {last.changed:,} verdicts changed")


def _steps(
    settings: Settings, workspace: str, start: datetime | None, end: datetime | None
) -> Iterator[Progress]:
    """Yields progress until all is done. Raises AskError, StorageError or NetworksError."""
    with service_client.service(settings, workspace) as client:
        if client:
            yield from _asked(client, start, end)
            return
    with service_client.storage(settings) as storage:
        corrections = assemble(settings, storage, open_state(settings)).corrections
        yield from corrections.reclassify(workspace, *span(start, end))


def _asked(
    client: httpx2.Client, start: datetime | None, end: datetime | None
) -> Iterator[Progress]:
    body = msgspec.json.encode(ReclassifyIn(start, end))
    with client.stream("POST", "/v1/reclassify", content=body) as answer:
        if answer.status_code != 200:
            raise AskError(f"the service responded with {answer.status_code}")
        for line in answer.iter_lines():
            step = msgspec.json.decode(line, type=ReclassifyOut)
            if step.error:
                raise AskError(step.error)
            yield Progress(step.done, step.total, step.changed)
