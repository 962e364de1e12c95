"""`mailwake serve`, `load`, `smtp` and `demo`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import console, fail, option, settings_of
from app.ops import logs
from app.server import process
from app.settings.settings import Settings


def serve(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    host: Annotated[str | None, option("host")] = None,
    port: Annotated[int | None, option("port")] = None,
    public_url: Annotated[str | None, option("public_url")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    journal_sync_ms: Annotated[int | None, option("journal_sync_ms")] = None,
    journal_max_mb: Annotated[int | None, option("journal_max_mb")] = None,
    trusted_proxies: Annotated[str | None, option("trusted_proxies")] = None,
    max_html_mb: Annotated[float | None, option("max_html_mb")] = None,
    log_level: Annotated[str | None, option("log_level")] = None,
    log_format: Annotated[str | None, option("log_format")] = None,
    asn_file: Annotated[Path | None, option("asn_file")] = None,
    country_file: Annotated[Path | None, option("country_file")] = None,
    workers: Annotated[int | None, option("workers")] = None,
    load: Annotated[bool | None, option("load")] = None,
    smtp: Annotated[bool | None, option("smtp")] = None,
) -> None:
    """Run the service: tracking, API and dashboard.

    Every option can also be set by its MAILWAKE_ variable, in the environment or in .env. Options
    take precedence. Secrets are variables only, so that no process list shows them.
    """
    _serve(settings_of(**locals()))


def load_journal(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, option("clickhouse_dsn")] = None,
    asn_file: Annotated[Path | None, option("asn_file")] = None,
    country_file: Annotated[Path | None, option("country_file")] = None,
    log_level: Annotated[str | None, option("log_level")] = None,
    log_format: Annotated[str | None, option("log_format")] = None,
) -> None:
    """Load the journal into ClickHouse. Run it next to `mailwake serve --no-load`."""
    settings = settings_of(**locals())
    logs.start(settings.log_level, settings.log_format)
    with suppress(KeyboardInterrupt), _failing():
        asyncio.run(process.run_loader(settings))


def smtp(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    smtp_listen: Annotated[str | None, option("smtp_listen")] = None,
    public_url: Annotated[str | None, option("public_url")] = None,
    log_level: Annotated[str | None, option("log_level")] = None,
    log_format: Annotated[str | None, option("log_format")] = None,
) -> None:
    """Run the SMTP gateway: track mails and pass them on to MAILWAKE_SMARTHOST."""
    with _failing():
        process.smtp(settings_of(**locals()))


def demo(
    data_dir: Annotated[Path | None, option("data_dir")] = None,
    host: Annotated[str | None, option("host")] = None,
    port: Annotated[int | None, option("port")] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=20, help="Traffic multiplier.")] = 1.0,
) -> None:
    """Run the service with realistic sample traffic, sent through its own HTTP endpoints."""
    settings = settings_of(
        data_dir=data_dir or Path("data/demo"), host=host, port=port, trusted_proxies="127.0.0.1/32"
    )
    _serve(settings, speed)


def _serve(settings: Settings, speed: float = 0) -> None:
    with _failing():
        process.serve(console, settings, speed)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except process.StartError as error:
        raise fail(str(error)) from None
