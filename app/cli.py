"""The `mailwake` command."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvicorn
import uvloop
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from uvicorn.supervisors import Multiprocess

from app import __version__, logs, schemas, settings
from app.greeting import greet
from app.journal import Journal, JournalError, adopt_orphans
from app.markup import RewriteError
from app.networks import Networks, NetworksError
from app.outgoing import Outgoing, Prepared
from app.settings import PREFIX, Settings, SettingsError
from app.storage import StorageError
from app.tokens import Tokens

cli = typer.Typer(
    help="Open and click tracking for outgoing mail.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)


def _option(name: str) -> Any:
    """A flag of `serve` with the help and the variable of its setting."""
    field = Settings.model_fields[name]
    flag = "--" + name.replace("_", "-")
    return typer.Option(
        f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag,
        help=f"{field.description} [{PREFIX}{name.upper()}]",
        show_default=False,
    )


@cli.command()
def serve(
    data_dir: Annotated[Path | None, _option("data_dir")] = None,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    public_url: Annotated[str | None, _option("public_url")] = None,
    clickhouse_dsn: Annotated[str | None, _option("clickhouse_dsn")] = None,
    journal_sync_ms: Annotated[int | None, _option("journal_sync_ms")] = None,
    journal_max_mb: Annotated[int | None, _option("journal_max_mb")] = None,
    trusted_proxies: Annotated[str | None, _option("trusted_proxies")] = None,
    max_html_mb: Annotated[float | None, _option("max_html_mb")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    log_format: Annotated[str | None, _option("log_format")] = None,
    asn_file: Annotated[Path | None, _option("asn_file")] = None,
    country_file: Annotated[Path | None, _option("country_file")] = None,
    workers: Annotated[int | None, _option("workers")] = None,
    load: Annotated[bool | None, _option("load")] = None,
) -> None:
    """Run the service: tracking, API and dashboard.

    Every flag has its MAILWAKE_ variable, in the environment or in .env; the flag wins. Secrets
    have variables only, so that no process list shows them.
    """
    _serve(_settings(**locals()))


@cli.command(name="load")
def load_journal(
    data_dir: Annotated[Path | None, _option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, _option("clickhouse_dsn")] = None,
    asn_file: Annotated[Path | None, _option("asn_file")] = None,
    country_file: Annotated[Path | None, _option("country_file")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    log_format: Annotated[str | None, _option("log_format")] = None,
) -> None:
    """Take DATA_DIR's journal to a ClickHouse server, beside `mailwake serve --no-load`."""
    chosen = _settings(**locals())
    if chosen.clickhouse_dsn == "chdb":
        raise _fail(f"{PREFIX}CLICKHOUSE_DSN: {settings.ONE_PROCESS}")
    logs.start(chosen.log_level, chosen.log_format)
    _check_networks(chosen)
    with suppress(KeyboardInterrupt):
        asyncio.run(_load(chosen))


@cli.command()
def demo(
    data_dir: Annotated[Path | None, _option("data_dir")] = None,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=20, help="Times the usual traffic.")] = 1.0,
) -> None:
    """Run the service with lifelike sample traffic through its own HTTP endpoints."""
    chosen = _settings(
        data_dir=data_dir or Path("data/demo"), host=host, port=port, trusted_proxies="127.0.0.1/32"
    )
    _serve(chosen, speed)


@cli.command()
def rewrite(
    file: Annotated[str, typer.Argument(help="An HTML file, or - for standard input.")],
    newsletter: Annotated[str, typer.Option(help="The newsletter's id.")] = "shell",
    recipient: Annotated[str, typer.Option(help="Whom it goes to.")] = "someone@example.com",
    name: Annotated[str, typer.Option(help="The newsletter's name.")] = "",
    utm: Annotated[
        list[str] | None, typer.Option(help="A UTM parameter, such as source=newsletter.")
    ] = None,
    opens: Annotated[bool, typer.Option(help="Put in the pixel.")] = True,
    clicks: Annotated[bool, typer.Option(help="Track the links.")] = True,
    report: Annotated[
        bool, typer.Option("--report", help="Print each link and why it is not tracked instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's answer.")] = False,
    data_dir: Annotated[Path | None, _option("data_dir")] = None,
    public_url: Annotated[str | None, _option("public_url")] = None,
) -> None:
    """Rewrite one HTML message with the service's own keys and record it.

    With --report nothing is recorded.
    """
    chosen = _with_public_url(_settings(data_dir=data_dir, public_url=public_url))
    wanted = {
        "newsletter": {"id": newsletter, "name": name},
        "recipient": recipient,
        "html": "",
        "tracking": {"opens": opens, "clicks": clicks},
        "utm": dict(item.partition("=")[::2] for item in utm or []),
    }
    try:
        message = msgspec.convert(wanted, schemas.RewriteIn)
        prepared = asyncio.run(_rewrite(chosen, message, _read(file), record=not report))
    except (msgspec.ValidationError, RewriteError, JournalError) as error:
        raise _fail(str(error)) from None
    if as_json:
        answer = {
            "message_id": prepared.draft.message_id,
            "links": prepared.report,
            "notes": prepared.notes,
            "headers": prepared.draft.headers,
        }
        if not report:
            answer["html"] = prepared.html.decode("utf-8", "replace")
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    elif report:
        _report(prepared)
    else:
        sys.stdout.buffer.write(prepared.html)


@cli.command()
def reclassify(
    start: Annotated[
        datetime | None, typer.Option("--from", help="UTC; the first hit when left out.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", help="UTC; five minutes ago when left out.")
    ] = None,
    data_dir: Annotated[Path | None, _option("data_dir")] = None,
    clickhouse_dsn: Annotated[str | None, _option("clickhouse_dsn")] = None,
    port: Annotated[int | None, _option("port")] = None,
) -> None:
    """Recompute the stored verdicts by the newest rules; safe to stop and to repeat.

    With embedded chDB a running service does the work; without one, this process.
    """
    from app import reclassifying  # noqa: PLC0415

    chosen = _settings(data_dir=data_dir, clickhouse_dsn=clickhouse_dsn, port=port)
    if start and end and start > end:
        raise _fail("--from: must not be later than --to")
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[changed]:,} changed"))
    try:
        with Progress(*columns, console=errors) as bar:
            task = bar.add_task("Reclassifying", total=None, changed=0)
            last = None
            for last in reclassifying.steps(chosen, _utc(start), _utc(end)):
                bar.update(task, total=last.total, completed=last.done, changed=last.changed)
    except (reclassifying.ReclassifyError, StorageError, NetworksError) as error:
        raise _fail(str(error)) from None
    if last:
        typer.echo(f"{last.done:,} hits looked at, {last.changed:,} verdicts changed")


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"mailwake {__version__}")


def main() -> None:
    """The console script."""
    cli()


def _settings(**flags: Any) -> Settings:
    try:
        return settings.with_secrets(settings.load(**flags))
    except SettingsError as error:
        raise _fail(str(error)) from None


def _fail(message: str) -> typer.Exit:
    for line in message.splitlines():
        errors.print(Text("error: ", style="bold red") + Text(line))
    return typer.Exit(2)


def _with_public_url(chosen: Settings, port: int | None = None) -> Settings:
    """Where PUBLIC_URL is not set: the address that the service itself listens on."""
    if chosen.public_url:
        return chosen
    host = "127.0.0.1" if chosen.host in ("0.0.0.0", "::") else chosen.host  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    return chosen.model_copy(update={"public_url": f"http://{host}:{port or chosen.port}"})


def _serve(chosen: Settings, demo_speed: float = 0) -> None:
    from app.main import Mailwake  # noqa: PLC0415  (chDB loads slowly; other commands need none)

    logs.start(chosen.log_level, chosen.log_format)
    for name in settings.unknown_variables():
        logging.warning("%s is no setting of Mailwake's", name)
    _check_networks(chosen)
    family = socket.AF_INET6 if ":" in chosen.host else socket.AF_INET
    # asyncio sets TCP_NODELAY where it sees the protocol; without it answers wait for ACKs.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((chosen.host, chosen.port))
    except OSError as error:
        raise _fail(
            f"{PREFIX}HOST, {PREFIX}PORT: cannot listen on {chosen.host}:{chosen.port}:"
            f" {error.strerror}"
        ) from None
    port = listener.getsockname()[1]
    chosen = _with_public_url(chosen, port)
    local = _with_public_url(chosen.model_copy(update={"public_url": ""}), port).public_url
    if chosen.workers > 1:
        greet(console, chosen, local)
        _many(chosen, listener)
        return
    try:
        service = Mailwake(chosen)
    except JournalError as error:
        raise _fail(f"{PREFIX}DATA_DIR: {error}") from None
    server = uvicorn.Server(_uvicorn(service.asgi, chosen))
    greet(console, chosen, local, service.access.new_login_code(), bool(demo_speed))
    with suppress(KeyboardInterrupt):
        uvloop.run(_run(server, listener, chosen, local, demo_speed))


def _check_networks(chosen: Settings) -> None:
    """Before anything listens: workers could only fail one after the other."""
    try:
        Networks(chosen.asn_file, chosen.country_file)
    except (NetworksError, OSError) as error:
        raise _fail(f"{PREFIX}ASN_FILE, {PREFIX}COUNTRY_FILE: {error}") from None


def _uvicorn(app: Any, chosen: Settings, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=bool(chosen.trusted_proxies),
        forwarded_allow_ips=list(chosen.trusted_proxies),
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=10,
        backlog=4096,
        **more,
    )


def _many(chosen: Settings, listener: socket.socket) -> None:
    """Worker processes on one listening socket; one that dies is started again."""
    # They are started afresh, so settings reach them as variables; secrets are in their file.
    given = chosen.model_dump(mode="json", exclude=set(settings.GENERATED))
    for name, value in given.items():
        text = ",".join(value) if isinstance(value, list) else str("" if value is None else value)
        os.environ[PREFIX + name.upper()] = text
    config = _uvicorn("app.cli:worker", chosen, factory=True, workers=chosen.workers)
    Multiprocess(config, [listener]).run()


def worker() -> Any:
    """The ASGI application of one worker process."""
    from app.main import Mailwake  # noqa: PLC0415

    chosen = settings.with_secrets(settings.load())
    logs.start(chosen.log_level, chosen.log_format)
    return Mailwake(chosen).asgi


async def _load(chosen: Settings) -> None:
    from app.corrections import Corrections  # noqa: PLC0415
    from app.loader import Loader  # noqa: PLC0415
    from app.storage import Storage  # noqa: PLC0415

    folder = chosen.data_dir / "journal"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    adopt_orphans(folder)
    storage = Storage(chosen)
    networks = Networks(chosen.asn_file, chosen.country_file)
    loader = Loader(folder, storage, networks)
    settling = asyncio.create_task(Corrections(folder, storage, networks).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, loader.stop)
    logging.info("loading %s", folder)
    await loader.run()
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    await asyncio.to_thread(storage.close)


async def _run(
    server: uvicorn.Server, listener: socket.socket, chosen: Settings, local: str, speed: float
) -> None:
    stop = asyncio.Event()
    traffic = None
    if speed:
        from app.demo import run_traffic  # noqa: PLC0415

        traffic = asyncio.create_task(
            run_traffic(local, chosen.api_keys[0], stop=stop, speed=speed)
        )
    await server.serve(sockets=[listener])
    stop.set()
    if traffic:
        traffic.cancel()
        await asyncio.gather(traffic, return_exceptions=True)


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise _fail(f"{file}: {error.strerror}") from None


async def _rewrite(
    chosen: Settings, message: schemas.RewriteIn, html: bytes, record: bool
) -> Prepared:
    journal = Journal(chosen.data_dir / "journal", sync_ms=0)
    try:
        outgoing = Outgoing(chosen, Tokens(chosen.secret_keys), journal)
        prepared = outgoing.prepare(message, html, None)
        if record:
            await outgoing.record(prepared)
        return prepared
    finally:
        await journal.close()


def _report(prepared: Prepared) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("#", "tracked", "why not", "label", "URL"):
        table.add_column(heading, overflow="fold")
    for link in prepared.report:
        tracked = Text("yes", "green") if link.tracked else Text("no", "yellow")
        table.add_row(str(link.index), tracked, link.reason or "", Text(link.label), Text(link.url))
    console.print(table)
    for note in prepared.notes:
        errors.print(Text(f"note: {note}"))
