"""The API for who wants to react: events as lines to fetch, or as a stream that stays open."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
from spectree import Response as Responses
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.events.event_filter import EventFilter
from app.events.feed import POLL_SECONDS, TYPES, Cursor, CursorError, cursor
from app.links import identity
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.events import EventOut
from app.schemas.problem import (
    Problem,
)
from app.storage.clickhouse import StorageError
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.requests import PROBLEMS, authorized, integer, spec

PAGE, MOST = 1_000, 10_000  # events of one answer
READ = 1_000  # events read at once
MAX_SCANNED_EVENTS = 100_000  # events looked at for one answer, whether they are asked for or not
RETRY_SECONDS = 1.0  # seconds, while ClickHouse is away
STREAMS = 1_000  # of one process
MAX_POSITION = 65_535  # of a link in its mail

_encode = msgspec.json.Encoder().encode


@spec.validate(
    resp=Responses(HTTP_200=EventOut, HTTP_410=Problem, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def events(request: Request) -> Response:
    """Return events as NDJSON, oldest first, after the cursor ?after= (default: all kept).

    ?newsletter=, ?type=, ?verdict=, ?link=, ?name=, ?label=, ?tag=, ?url= (prefix), ?host= and
    ?path= (with *) may be repeated. To continue, pass the response's Mailwake-Cursor header as
    ?after=, even if there were no events. Events are kept for 7 days (then 410).
    """
    api = authorized(request)
    wanted, at = _wanted(request.query_params), _cursor(request.query_params.get("after", ""))
    limit = integer(request, "limit", PAGE, 1, MOST)
    found: list[EventOut] = []
    scanned = 0
    while len(found) < limit and scanned < MAX_SCANNED_EVENTS:
        told, following = await asyncio.to_thread(_read, api, wanted, at)
        if following == at:
            break
        found += told
        scanned, at = scanned + READ, following
    if len(found) > limit:
        del found[limit:]
        at = cursor(found[-1].cursor)
    body = b"".join(_encode(told) + b"\n" for told in found)
    return Response(body, 200, {"mailwake-cursor": str(at)}, "application/x-ndjson")


@spec.validate(
    resp=Responses(HTTP_200=EventOut, HTTP_410=Problem, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def stream(request: Request) -> Response:
    """Stream events as server-sent events. Their ids are cursors, their names are types.

    Continues after Last-Event-ID or ?after=, by default with the next event.
    """
    api = authorized(request)
    wanted = _wanted(request.query_params)
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    at = _cursor(after) if after else await asyncio.to_thread(api.feed.last)
    await asyncio.to_thread(_read, api, wanted, at)  # a bad cursor is told before all else
    if api.news.streams >= STREAMS:
        raise RequestError(503, f"there are already {STREAMS:,} open streams, the maximum")
    return EventSourceResponse(
        _follow(api, wanted, at), headers={"cache-control": "no-store"}, ping=15
    )


async def _follow(
    api: WorkspaceContext, wanted: EventFilter, at: Cursor
) -> AsyncIterator[ServerSentEvent]:
    api.news.streams += 1
    try:
        while True:
            try:
                told, following = await asyncio.to_thread(_read, api, wanted, at)
            except StorageError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except CursorError as error:  # the stream was held up until its place was gone
                yield ServerSentEvent(event="error", data=str(error))
                return
            for one in told:
                yield ServerSentEvent(
                    _encode(one).decode(), event=one.type, id=one.cursor, retry=2000
                )
            if following == at:
                while await api.news.newest() <= at.seq:  # noqa: ASYNC110  (other processes write)
                    await asyncio.sleep(POLL_SECONDS)
            at = following
    finally:
        api.news.streams -= 1


def _read(api: WorkspaceContext, wanted: EventFilter, at: Cursor) -> tuple[list[EventOut], Cursor]:
    """Of the next READ events those that are wanted, and where to go on."""
    found, following = api.feed.after(at, api.queries.workspace, READ)
    likely = [event for event in found if wanted.may_match(event, api.queries)]
    told = api.enricher.enrich(likely) if likely else []
    return [one for one in told if wanted.matches(one)], following


def _cursor(text: str) -> Cursor:
    try:
        return cursor(text)
    except CursorError as error:
        raise RequestError(422, str(error), "after") from None


def _wanted(query: QueryParams) -> EventFilter:
    for name, allowed in (("type", TYPES), ("verdict", ("human", "machine", *HUMAN, *MACHINE))):
        for value in query.getlist(name):
            if value not in allowed:
                raise RequestError(422, f"must be one of {', '.join(allowed)}", name)
    return EventFilter(
        tuple(query.getlist("newsletter")),
        tuple(query.getlist("type")),
        tuple(query.getlist("verdict")),
        tuple(map(_link, query.getlist("link"))),
        tuple(query.getlist("label")),
        tuple(query.getlist("tag")),
        tuple(query.getlist("name")),
        tuple(query.getlist("url")),
        tuple(query.getlist("host")),
        tuple(query.getlist("path")),
    )


def _link(text: str) -> int | str:
    """The id of a link or, as in version 0.1, its place."""
    if identity.read_id(text) is not None:
        return text
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_POSITION):
        raise RequestError(422, "must be the ID of a link", "link")
    return int(text)


ROUTES: Sequence[Route] = (Route("/v1/events", events), Route("/v1/events/stream", stream))
