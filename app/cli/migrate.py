"""`mailwake migrate`: migrates the tables of an earlier version."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlalchemy.exc import SQLAlchemyError

from app.cli.common import fail, option, settings_of
from app.cli.state import open_state
from app.settings.settings import PREFIX, Settings
from app.storage import clickhouse_schema, state_db
from app.storage.clickhouse import NOT_OPENED, StorageError, open_storage
from app.storage.state_copy import NotEmptyError, copy_state
from app.storage.state_steps import VersionError, steps_missing

Copied = Literal["sqlite", "postgresql"]  # the state that is copied to the other


def migrate(
    check: Annotated[
        bool,
        typer.Option("--check", help="Only list what is missing. Exits with 1 if anything is."),
    ] = False,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed", help="Also create tables that read from all shards of the cluster."
        ),
    ] = False,
    copied: Annotated[
        Copied | None,
        typer.Option(
            "--copy-state",
            help="Only copy the state: from `sqlite` (state.db) to MAILWAKE_STATE_DSN, or from"
            " `postgresql` to state.db. Stop the services first; the target must be empty.",
        ),
    ] = None,
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
) -> None:
    """Update ClickHouse's tables and state.db to this version.

    `mailwake serve` does this at start unless MAILWAKE_AUTO_MIGRATE is off. Exits with 2 if it
    fails; it is safe to repeat. A database of a newer version is left unchanged.
    """
    settings = settings_of(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn)
    if distributed and not settings.clickhouse_cluster:
        raise fail("--distributed: MAILWAKE_CLICKHOUSE_CLUSTER is required")
    if copied:
        _copy_state(settings, copied)
        return
    storage = open_storage(settings)
    try:
        dsn = settings.state_dsn
        steps = state_db.missing_shared(dsn) if dsn else steps_missing(settings.data_dir)
        names = clickhouse_schema.missing(storage) if check else clickhouse_schema.migrate(storage)
        created = clickhouse_schema.distribute(storage) if distributed and not check else []
    except (StorageError, VersionError) as error:
        raise fail(_explained(settings, str(error))) from None
    except state_db.UnreachableError as error:
        raise fail(f"{PREFIX}STATE_DSN: {error}") from None
    finally:
        storage.close()
    if not check:
        open_state(settings).dispose()
    for name in names:
        typer.echo(f"ClickHouse: {name}{' is missing' if check else ''}")
    for name in created:
        typer.echo(f"ClickHouse: {name} reads from all shards")
    if steps:
        where = "PostgreSQL" if dsn else "state.db"
        typer.echo(f"{where}: {steps} step{'s' * (steps > 1)}{' missing' * check}")
    if not names and not steps:
        typer.echo("everything is up to date")
    elif check:
        raise typer.Exit(1)


def _copy_state(settings: Settings, source: Copied) -> None:
    if not settings.state_dsn:
        raise fail(f"{PREFIX}STATE_DSN: is required to copy the state")
    try:
        file = state_db.open_state(settings.data_dir)
    except VersionError as error:
        raise fail(str(error)) from None
    shared = open_state(settings)
    here, there = (file, shared) if source == "sqlite" else (shared, file)
    try:
        counts = copy_state(here, there)
    except (NotEmptyError, SQLAlchemyError) as error:
        raise fail(f"--copy-state: {error}") from None
    for table, count in counts.items():
        if count:
            typer.echo(f"{table}: {count:,} rows")
    typer.echo(f"copied {sum(counts.values()):,} rows")


def _explained(settings: Settings, error: str) -> str:
    if settings.clickhouse_dsn == "chdb" and NOT_OPENED in error:
        return (
            f"{settings.data_dir / 'chdb'} is open in another process. Stop the service first. It"
            " migrates by itself at start, unless MAILWAKE_AUTO_MIGRATE is off."
        )
    return error
