"""Defines the servers that `hits` loads: one process each, on the same uvicorn.

`python -m tests.bench.handlers NAME PORT FOLDER` serves NAME until it is killed.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.model.ids import new_id
from app.server.connections import Connections
from app.server.tracking_protocol import tracking_protocol
from app.storage.journal import Journal
from app.tasks import Tasks
from app.tracking.middleware import TrackingMiddleware
from app.tracking.tokens import BadTokenError, LinkToken, MessageToken, Tokens
from app.tracking.tracker import GIF, PIXEL, Tracker

KEY = "a signing key for the bench and of no use elsewhere"
Served = tuple[ASGIApp, str | Callable[..., asyncio.Protocol]]  # with what uvicorn's `http` takes
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0"
MESSAGES, LINKS = 1000, 10


def paths(click: bool, messages: int = MESSAGES) -> list[str]:
    """Returns different messages of one newsletter, in the order of hits after a send."""
    tokens = Tokens([KEY])
    sent = [tokens.message(MessageToken(new_id(), 1, n)) for n in range(messages)]
    links = [
        tokens.link(LinkToken(1, n, f"https://www.example.com/products/{n}?utm_source=mail"))
        for n in range(LINKS)
    ]
    if click:
        return [f"/c/{message}/{links[n % LINKS]}" for n, message in enumerate(sent)]
    return [f"/o/{message}.gif" for message in sent]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with nothing but the 43 bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": PIXEL.fields})
    await send({"type": "http.response.body", "body": GIF})


def mailwake(folder: Path, sync_ms: int) -> Served:
    """Returns Mailwake's hot path and journal, without the loader: `chain` measures both."""
    journal = Journal(folder / f"journal-{sync_ms}", sync_ms)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        journal.start(Tasks())
        yield
        await journal.close()

    tracker = Tracker({b"": Tokens([KEY])})
    app = TrackingMiddleware(Starlette(lifespan=lifespan), tracker, journal)
    return app, tracking_protocol(tracker, journal, Connections(1000), ())


def postgresql(folder: Path) -> ASGIApp:
    """Returns what most peers do: verify, insert the row, answer."""
    import asyncpg

    tokens = Tokens([KEY])
    held: dict[str, asyncpg.Pool] = {}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        held["pool"] = await asyncpg.create_pool(os.environ["BENCH_POSTGRESQL"], max_size=16)
        yield

    async def pixel(request: Request) -> Response:
        try:
            token = tokens.read_message(request.path_params["message"].removesuffix(".gif"))
        except BadTokenError:
            return Response(GIF, media_type="image/gif")
        await held["pool"].execute(
            "INSERT INTO opens (at, message, newsletter, recipient, address, agent)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            datetime.now(UTC),
            token.message.hex(),
            token.newsletter,
            token.recipient,
            request.client.host if request.client else "",
            request.headers.get("user-agent", ""),
        )
        return Response(GIF, media_type="image/gif", headers={"cache-control": "no-store"})

    return Starlette(routes=[Route("/o/{message}", pixel)], lifespan=lifespan)


HANDLERS: dict[str, Callable[[Path], Served]] = {
    "bare ASGI": lambda _: (bare, "httptools"),
    "sync 100 ms": lambda folder: mailwake(folder, 100),
    "sync 0": lambda folder: mailwake(folder, 0),
    "PostgreSQL": lambda folder: (postgresql(folder), "httptools"),
}

if __name__ == "__main__":
    name, port, folder = sys.argv[1:]
    served, protocol = HANDLERS[name](Path(folder))
    uvicorn.run(
        served,
        port=int(port),
        http=protocol,  # type: ignore[arg-type]  # a factory, as uvicorn calls it
        loop="uvloop",
        access_log=False,
        log_level="error",
        server_header=False,
        backlog=4096,
    )
