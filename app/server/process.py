"""Runs `mailwake serve`, `load` and `smtp` once their settings are known."""

import asyncio
import fcntl
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop
from rich.console import Console
from sqlalchemy import Engine
from uvicorn.supervisors import Multiprocess

from app import local_socket
from app.auth.api_keys import Keys
from app.auth.users import Users
from app.auth.workspaces import DEFAULT
from app.clock import CLOCK
from app.ingest.networks import Networks, NetworksError
from app.messages.preparer_registry import PreparerRegistry
from app.ops import logs
from app.server import engine_process
from app.server.banner import print_banner
from app.server.bootstrap import bootstrap, take_over
from app.settings.load import (
    FOREIGN,
    load,
    meant,
    unknown_variables,
    variables,
    weak_secrets,
    with_public_url,
    with_secrets,
)
from app.settings.settings import PREFIX, Settings, SettingsError
from app.stats.signals import Signals
from app.storage.journal import Journal, JournalError
from app.storage.journal_segments import adopt_orphans
from app.storage.state_db import UnreachableError, open_state
from app.storage.state_steps import VersionError
from app.tasks import Tasks

if TYPE_CHECKING:
    from app.server.service import Mailwake
    from app.smtp.gateway import Gateway

LOCK = "serve.lock"  # held by the service of a data folder with the embedded engine
STARTED_POLL_SECONDS = 0.05  # between checks whether uvicorn serves


class StartError(Exception):
    """The service cannot start; the message names the setting."""


def serve(console: Console, settings: Settings, demo_speed: float = 0) -> None:
    """Serve until stopped. Raises StartError."""
    from app.server.service import Mailwake  # noqa: PLC0415  (chDB loads slowly; other commands need none)

    _check(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY if it knows the protocol; without it answers wait for ACKs.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise StartError(
            f"{PREFIX}HOST, {PREFIX}PORT: cannot listen on {settings.host}:{settings.port}:"
            f" {error.strerror}"
        ) from None
    port = listener.getsockname()[1]
    settings = with_public_url(settings, port)
    local = with_public_url(settings.model_copy(update={"public_url": ""}), port).public_url
    new_demo = bool(demo_speed) and not (settings.data_dir / "journal").exists()
    state = _state(settings, listener)
    welcome = bootstrap(settings, state)
    if demo_speed and not Signals(state).all():
        Signals(state).add("label", "basket")  # of the mail about an abandoned cart
    state.dispose()
    if settings.workers > 1:
        if settings.clickhouse_dsn == "chdb" and not engine_process.needed(settings):
            raise StartError(f"{PREFIX}WORKERS: {settings.data_dir} has no Unix sockets")
        print_banner(console, settings, local, welcome)
        _run_workers(settings, listener)
        return
    try:
        service = Mailwake(settings)
        if service.gateway:
            service.gateway.listen()
    except JournalError as error:
        raise StartError(f"{PREFIX}DATA_DIR: {error}") from None
    except SettingsError as error:
        raise StartError(str(error)) from None
    server = uvicorn.Server(_uvicorn(service.asgi, settings, http=service.protocol))
    print_banner(console, settings, local, welcome, bool(demo_speed))
    with suppress(KeyboardInterrupt):
        uvloop.run(_run(server, listener, service, local, demo_speed, new_demo))


def _check(settings: Settings) -> None:
    """Begin to log, and check what would fail later. Raises StartError."""
    from app.events import webhook_config  # noqa: PLC0415
    from app.outcomes import provider_config  # noqa: PLC0415
    from app.storage.clickhouse import engine_missing  # noqa: PLC0415

    logs.start(settings.log_level, settings.log_format)
    for name in unknown_variables():
        hint = f": did you mean {meant(name)}?" if meant(name) else ""
        logging.warning("unknown setting %s is ignored%s", name, hint)
    for weak in weak_secrets(settings, FOREIGN):
        logging.warning("%s", weak)
    _check_networks(settings)
    if problem := engine_missing(settings):
        raise StartError(problem)
    if settings.clickhouse_dsn == "chdb":
        _claim(settings)
    try:  # before anything listens: workers could only fail one after the other
        if settings.webhooks_file:
            webhook_config.from_file(settings.webhooks_file)
        if settings.outcomes_file:
            provider_config.from_file(settings.outcomes_file)
        if not settings.state_dsn:
            open_state(settings.data_dir, settings.auto_migrate).dispose()
    except (SettingsError, VersionError) as error:
        raise StartError(str(error)) from None


def _state(settings: Settings, listener: socket.socket) -> Engine:
    """Returns the state; while PostgreSQL is unavailable, serves recipients. Raises StartError."""
    while True:
        try:
            return open_state(settings.data_dir, settings.auto_migrate, settings.state_dsn)
        except VersionError as error:
            raise StartError(str(error)) from None
        except UnreachableError as error:
            from app.server import recipients_only  # noqa: PLC0415  (with all that serves)

            known = recipients_only.LastKnown.read(settings.data_dir)
            if known is None:  # it is the folder's first start
                raise StartError(f"{PREFIX}STATE_DSN: {error}") from None
            logging.error("only recipients are served: %s", error)
        try:
            part = recipients_only.RecipientsOnly(settings, known)
        except JournalError as error:
            raise StartError(f"{PREFIX}DATA_DIR: {error}") from None
        server = uvicorn.Server(_uvicorn(part.asgi, settings, http=part.protocol))
        # uvicorn closes the socket that it gets; this one keeps listening.
        uvloop.run(part.run(server, listener.dup()))
        logging.warning("PostgreSQL answers: the whole service starts")


def _claim(settings: Settings) -> None:
    """Keep other services out of the data folder as long as this process lives.

    The embedded engine has one process a folder: another service could never read or write.
    """
    number = os.open(settings.data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(number, 20, 0).decode("ascii", "replace").strip()
        os.close(number)
        raise StartError(
            f"{PREFIX}DATA_DIR: {settings.data_dir} is in use by another service"
            f" (process {owner or 'unknown'}): stop it, or set another folder"
        ) from None
    os.ftruncate(number, 0)
    os.pwrite(number, b"%d\n" % os.getpid(), 0)


def _check_networks(settings: Settings) -> None:
    """Check before anything listens: workers could only fail one after the other."""
    try:
        Networks(settings.asn_file, settings.country_file)
    except (NetworksError, OSError) as error:
        raise StartError(f"{PREFIX}ASN_FILE, {PREFIX}COUNTRY_FILE: {error}") from None


def _uvicorn(app: Any, settings: Settings, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=10,
        backlog=4096,
        **more,
    )


def _run_workers(settings: Settings, listener: socket.socket) -> None:
    """Run worker processes on one listening socket; one that dies is started again."""
    os.environ.update(variables(settings))  # workers are new processes
    config = _uvicorn(
        "app.server.process:worker",
        settings,
        http="app.server.process:worker_protocol",
        factory=True,
        workers=settings.workers,
    )
    Multiprocess(config, [listener]).run()


def worker() -> Any:
    """Returns the ASGI application of one worker process."""
    from app.server.service import Mailwake  # noqa: PLC0415

    settings = with_secrets(load())
    logs.start(settings.log_level, settings.log_format)
    service = Mailwake(settings)
    _worker_protocols.append(service.protocol)
    return service.asgi


# One, of the service that `worker()` has created.
_worker_protocols: list[Callable[..., asyncio.Protocol]] = []


def worker_protocol(**arguments: Any) -> asyncio.Protocol:
    """Returns the protocol of one connection of a worker process."""
    return _worker_protocols[-1](**arguments)


async def run_loader(settings: Settings) -> None:
    """Load the journal until stopped. Raises StartError."""
    _check_networks(settings)
    from app.ingest.newsletter_counts import NewsletterCounts  # noqa: PLC0415
    from app.ingest.pipeline import assemble  # noqa: PLC0415
    from app.storage.clickhouse import Storage  # noqa: PLC0415
    from app.storage.retention import follow_clock  # noqa: PLC0415

    folder = settings.data_dir / "journal"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    adopt_orphans(folder)
    apart = engine_process.needed(settings)
    storage = Storage(settings, starting=True, engine_apart=apart)
    try:
        state = open_state(settings.data_dir, settings.auto_migrate, settings.state_dsn)
    except VersionError as error:
        raise StartError(str(error)) from None
    except UnreachableError as error:
        raise StartError(f"{PREFIX}STATE_DSN: {error}") from None
    _, loader, corrections, verifier = assemble(settings, storage, state)
    tasks = Tasks()
    if apart:
        tasks.start("engine", partial(engine_process.run, settings))
    tasks.start("clock", partial(CLOCK.run, settings.data_dir))
    tasks.start("retention", partial(follow_clock, storage))
    tasks.start("corrections", corrections.run)
    tasks.start("verification", verifier.run)
    tasks.start("outcomes", loader.outcomes.run)
    tasks.start("counts", NewsletterCounts(storage, loader, corrections).run)
    loading = tasks.start("loader", loader.run)

    def stop() -> None:
        loader.stop()
        tasks.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    logging.info("loading the journal %s", folder)
    await loading
    tasks.cancel(but=("engine",))
    await tasks.ended(but=("engine",))
    await asyncio.to_thread(storage.close)
    tasks.cancel()
    await tasks.ended()


def smtp(settings: Settings) -> None:
    """Run the SMTP gateway alone, until stopped. Raises StartError."""
    from app.smtp.bounces import BounceReceiver  # noqa: PLC0415
    from app.smtp.gateway import Gateway  # noqa: PLC0415  (its libraries load slowly)

    if not settings.smarthost:
        raise StartError(f"{PREFIX}SMARTHOST: is required for the SMTP gateway")
    logs.start(settings.log_level, settings.log_format)
    settings = with_public_url(settings)
    try:
        journal = Journal(
            settings.data_dir / "journal", settings.journal_sync_ms, settings.journal_max_mb * 2**20
        )
        state = open_state(settings.data_dir, settings.auto_migrate, settings.state_dsn)
        keys = Keys(state, settings)
        take_over(settings, keys, Users(state))
        bounces = BounceReceiver.of(settings, state, journal)
        gateway = Gateway(settings, keys, PreparerRegistry(settings, state, journal).of, bounces)
        gateway.listen()
    except JournalError as error:
        raise StartError(f"{PREFIX}DATA_DIR: {error}") from None
    except (SettingsError, VersionError) as error:
        raise StartError(str(error)) from None
    except UnreachableError as error:
        raise StartError(f"{PREFIX}STATE_DSN: {error}") from None
    with suppress(KeyboardInterrupt):
        uvloop.run(_take_mail(gateway, journal, keys))


async def _take_mail(gateway: "Gateway", journal: Journal, keys: Keys) -> None:
    tasks = Tasks()
    journal.start(tasks)
    running = tasks.start("smtp", gateway.run)
    tasks.start("keys", keys.run)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    await asyncio.wait([running])
    await gateway.stop()
    await journal.close()
    tasks.cancel()
    await tasks.ended()
    logging.info("mails since start: %s", dict(gateway.counts))


async def _write_history(server: uvicorn.Server, service: "Mailwake") -> None:
    """Write the demo's earlier days, once, as soon as the journal is open."""
    from app.server.demo_history import write_history  # noqa: PLC0415

    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(STARTED_POLL_SECONDS)
    try:
        await write_history(service)
    except JournalError as error:
        logging.warning("the demo has no history: %s", error)


async def _run(
    server: uvicorn.Server,
    listener: socket.socket,
    service: "Mailwake",
    local: str,
    speed: float,
    new_demo: bool,
) -> None:
    keys, settings = service.keys, service.settings
    stop = asyncio.Event()
    tasks = Tasks()
    tasks.start("commands", partial(_serve_commands, server, settings.data_dir))
    traffic = history = None
    if speed:
        from app.demo import run_traffic  # noqa: PLC0415

        if new_demo:
            history = asyncio.create_task(_write_history(server, service))
        key, secret = keys.add(DEFAULT, "demo", ("admin",), "the demo")
        traffic = asyncio.create_task(run_traffic(local, lambda: secret, stop=stop, speed=speed))
    await server.serve(sockets=[listener])
    stop.set()
    tasks.cancel()
    await tasks.ended()
    if traffic:
        traffic.cancel()
        if history:
            history.cancel()
        await asyncio.gather(traffic, *([history] if history else []), return_exceptions=True)
        keys.revoke(DEFAULT, key.id)


async def _serve_commands(server: uvicorn.Server, data_dir: Path) -> None:
    """Serve commands of this machine on the Unix socket of DATA_DIR, until cancelled.

    uvicorn serves TCP and Unix sockets, but not both at once: this adds the second to its server.
    """
    listener = local_socket.listen(data_dir)
    if listener is None:
        logging.warning("%s has no Unix sockets: stop the service to use commands", data_dir)
        return
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(STARTED_POLL_SECONDS)
    config = server.config

    def protocol() -> asyncio.Protocol:
        return config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=server.server_state, app_state=server.lifespan.state
        )

    unix_server = await asyncio.get_running_loop().create_unix_server(protocol, sock=listener)
    try:
        await unix_server.serve_forever()
    finally:
        unix_server.close()
        local_socket.remove(data_dir)
