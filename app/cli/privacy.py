"""`mailwake erase` and `mailwake export-subject`: erase and export one person's data."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from sqlalchemy import Engine

from app.auth.workspaces import DEFAULT, WorkspaceError, Workspaces
from app.cli import service_client
from app.cli.common import Recipient, errors, fail, option, settings_of
from app.cli.service_client import AskError
from app.cli.state import open_state
from app.consent.erasure_requests import Erasure, Erasures
from app.ingest.networks import NetworksError
from app.ingest.pipeline import assemble
from app.privacy.erasure import ErasureWorker, request_erasure
from app.privacy.subject_export import SubjectExport
from app.settings.settings import Settings
from app.stats.queries import Queries
from app.storage.clickhouse import StorageError
from app.storage.state_db import StateError

WAIT_SECONDS = 120.0  # seconds for which a running service is waited for
POLL_SECONDS = 0.2
DataDir = Annotated[Path | None, option("data_dir")]
Dsn = Annotated[str | None, option("clickhouse_dsn")]
Space = Annotated[str, typer.Option(help="Workspace that the person belongs to.")]


def erase(
    recipient: Recipient,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    workspace: Space = DEFAULT,
    data_dir: DataDir = None,
    clickhouse_dsn: Dsn = None,
) -> None:
    """Erase a person's data. Totals stay the same. Safe to repeat.

    With embedded chDB, the running service does the work, or this process if there is none.
    """
    settings = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn)
    if not yes:
        typer.confirm(f"Permanently erase {recipient}?", abort=True, err=True)
    state = open_state(settings)
    erasures = Erasures(state)
    try:
        erasure = request_erasure(erasures, Workspaces(state, settings), workspace, recipient)
    except WorkspaceError as error:
        raise fail(str(error)) from None
    try:
        _finish(settings, state, erasure)
    except AskError:  # a service has chDB, and checks for requests
        _wait(erasures, erasure)
    except (StorageError, StateError, NetworksError) as error:
        raise fail(f"The request is saved. It cannot be completed now: {error}") from None
    ended = erasures.get(erasure.id, workspace) or erasure
    for name, count in ended.counts.items():
        typer.echo(f"{count:>8,} {name}")
    if ended.state == "cleaned":
        typer.echo("erased. ClickHouse deletes the old files within minutes.")
    elif ended.state == "done":
        typer.echo("erased")
    else:
        raise fail(
            "The request is saved but not complete yet. The service continues. Repeat the command"
            " to see whether it is done."
        )


def export_subject(
    recipient: Recipient,
    out: Annotated[str, typer.Option(help="File to write, or - for standard output.")] = "-",
    workspace: Space = DEFAULT,
    data_dir: DataDir = None,
    clickhouse_dsn: Dsn = None,
    port: Annotated[int | None, option("port")] = None,
) -> None:
    """Export all data about a person as one JSON document.

    With embedded chDB, the running service reads the data, or this process if there is none.
    """
    settings = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    try:
        with ExitStack() as stack:
            document = _document(settings, workspace, recipient, stack)
            first = next(document)  # errors are raised before a file is created
            file: BinaryIO = (
                sys.stdout.buffer if out == "-" else stack.enter_context(Path(out).open("wb"))
            )
            file.write(first)
            file.writelines(document)
    except (AskError, WorkspaceError, StorageError, OSError) as error:
        raise fail(str(error)) from None


def _finish(settings: Settings, state: Engine, erasure: Erasure) -> None:
    """Finish the erasure here. Raises AskError if another process has chDB."""
    with service_client.storage(settings) as storage:
        feed, loader, corrections, _ = assemble(settings, storage, state)
        erasures = feed.erasures
        eraser = ErasureWorker(
            data_dir=settings.data_dir,
            engine=state,
            storage=storage,
            loader=loader,
            corrections=corrections,
            workspaces=Workspaces(state, settings),
            erasures=erasures,
        )
        # The embedded engine removes old files on request, a server when it likes to.
        ends = ("done",) if storage.embedded else ("cleaned", "done")
        end = time.monotonic() + WAIT_SECONDS
        while _state(erasures, erasure) not in ends and time.monotonic() < end:
            eraser.finish()  # does nothing while another process does it
            time.sleep(POLL_SECONDS)
        eraser.finish()


def _wait(erasures: Erasures, begun: Erasure) -> None:
    end = time.monotonic() + WAIT_SECONDS
    with errors.status("Waiting for the service"):
        while _state(erasures, begun) != "done" and time.monotonic() < end:
            time.sleep(POLL_SECONDS)


def _state(erasures: Erasures, begun: Erasure) -> str:
    current = erasures.get(begun.id, begun.workspace)
    return current.state if current else "done"


def _document(
    settings: Settings, workspace: str, recipient: str, stack: ExitStack
) -> Iterator[bytes]:
    if client := stack.enter_context(service_client.service(settings, workspace)):
        body = {"recipient": recipient}
        answer = stack.enter_context(client.stream("POST", "/v1/recipients/export", json=body))
        if answer.status_code != 200:
            raise AskError(f"the service responded with {answer.status_code}")
        return answer.iter_bytes()
    state = open_state(settings)
    secret = Workspaces(state, settings).get(workspace).recipient_key
    storage = stack.enter_context(service_client.storage(settings))
    return SubjectExport(state, Queries(storage, workspace), secret, settings.recipient_key).of(
        recipient
    )
