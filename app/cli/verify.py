"""`mailwake verify`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli import service_client
from app.cli.common import fail, option, settings_of, utc
from app.cli.service_client import AskError
from app.cli.state import open_state
from app.ingest.networks import NetworksError
from app.ingest.pipeline import assemble
from app.ingest.verification import period
from app.schemas.verification import Verification, VerifyIn, in_words
from app.settings.settings import Settings
from app.storage.clickhouse import StorageError
from app.storage.state_db import StateError


def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what differs. Safe to stop and to repeat.")
    ] = False,
    start: Annotated[
        datetime | None, typer.Option("--from", help="Start, in UTC. The first hit if omitted.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", help="End, in UTC. Now if omitted.")
    ] = None,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Compare what the journal held, hits, roll-ups and the feed of events.

    Exits with 0 if all are equal or were repaired, with 1 if something differs. With embedded chDB,
    the running service does the work, or this process if there is none. The service does the same
    every night.
    """
    settings = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    if start and end and start > end:
        raise fail("--from: must not be later than --to")
    try:
        result = _verified(settings, VerifyIn(utc(start), utc(end), repair))
    except (AskError, StorageError, StateError, NetworksError) as error:
        raise fail(str(error)) from None
    for difference in result.differences:
        typer.echo(in_words(difference))
    typer.echo(
        f"Compared {result.hits:,} hits of {result.newsletters:,} newsletters with their roll-ups,"
        f" and {result.segments:,} journal segments{_since(result)} with hits and feed:"
    )
    repaired = len(result.differences) - result.unrepaired
    if not result.differences:
        typer.echo("everything is equal")
    else:
        typer.echo(
            f"{len(result.differences):,} differences, {repaired:,} of them repaired"
            + ("" if repair else " (run with --repair to repair them)")
        )
    if result.unrepaired:
        raise typer.Exit(1)


def _since(result: Verification) -> str:
    """Returns from when on journal segments are kept."""
    if not result.kept_from:
        return ""
    at = datetime.fromtimestamp(result.kept_from, UTC)
    return f" (kept from {at:%Y-%m-%d %H:%M} UTC on)"


def _verified(settings: Settings, request: VerifyIn) -> Verification:
    """Returns the result. Raises AskError, StorageError, StateError or NetworksError."""
    with service_client.service(settings) as client:
        if client:
            content = msgspec.json.encode(request)
            answer = client.post("/v1/verify", content=content, timeout=None)
            if answer.status_code != 200:
                raise AskError(f"the service responded with {answer.status_code}: {answer.text}")
            return msgspec.json.decode(answer.content, type=Verification)
    with service_client.storage(settings) as storage:
        verifier = assemble(settings, storage, open_state(settings)).verifier
        span = period(request.start, request.end)
        return verifier.verify(*span, repair=request.repair)
