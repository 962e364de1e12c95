"""The API of events: lines to fetch, or a stream that stays open."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from app.events.event_filter import EventFilter
from app.events.feed import POLL_SECONDS, Cursor, CursorError, Type, cursor
from app.links import identity
from app.model.numbers import read_int
from app.model.verdicts import Verdict
from app.schemas.events import EventOut
from app.storage.clickhouse import StorageError
from app.web.api.operation import EVENT_STREAM, NDJSON, Call, Content, Operation
from app.web.api.paging import MAX_CHARS
from app.web.context import WorkspaceContext
from app.web.errors import RequestError

PAGE, MAX_EVENTS = 1_000, 10_000  # events of one answer
BATCH_EVENTS = 1_000  # events read at once
MAX_SCANNED_EVENTS = 100_000  # events looked at for one answer, whether they are asked for or not
RETRY_SECONDS = 1.0  # while ClickHouse is unavailable
MAX_STREAMS = 1_000  # of one process
MAX_VALUES = 100  # of one parameter
MAX_POSITION = 65_535  # of a link in its mail

_encode = msgspec.json.Encoder().encode


class EventQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which events: those that match one value of each parameter that is given."""

    newsletter: Annotated[
        tuple[Annotated[str, Meta(max_length=200)], ...],
        Meta(max_length=MAX_VALUES, description="ID of the newsletter."),
    ] = ()
    type: Annotated[
        tuple[Type, ...], Meta(max_length=MAX_VALUES, description="Type of the event.")
    ] = ()
    verdict: Annotated[
        tuple[Literal["machine", Verdict], ...],
        Meta(
            max_length=MAX_VALUES,
            description="Verdict, or human for all of people and machine for all of bots.",
        ),
    ] = ()
    link: Annotated[
        tuple[Annotated[str, Meta(max_length=16)], ...],
        Meta(
            max_length=MAX_VALUES,
            description="ID of the clicked link (version 0.1: its position).",
        ),
    ] = ()
    label: Annotated[
        tuple[Annotated[str, Meta(max_length=1000)], ...],
        Meta(max_length=MAX_VALUES, description="Label of the clicked link."),
    ] = ()
    tag: Annotated[
        tuple[Annotated[str, Meta(max_length=100)], ...],
        Meta(max_length=MAX_VALUES, description="Tag of the clicked link."),
    ] = ()
    name: Annotated[
        tuple[Annotated[str, Meta(max_length=1000)], ...],
        Meta(max_length=MAX_VALUES, description="Name of the clicked link."),
    ] = ()
    url: Annotated[
        tuple[Annotated[str, Meta(max_length=2000)], ...],
        Meta(max_length=MAX_VALUES, description="Prefix of the clicked link's URL."),
    ] = ()
    host: Annotated[
        tuple[Annotated[str, Meta(max_length=253)], ...],
        Meta(
            max_length=MAX_VALUES,
            description="Host of the clicked link's URL, or a parent domain.",
        ),
    ] = ()
    path: Annotated[
        tuple[Annotated[str, Meta(max_length=500)], ...],
        Meta(
            max_length=MAX_VALUES,
            description="Path of the clicked link's URL; * matches anything.",
        ),
    ] = ()
    settled: Annotated[
        bool,
        Meta(
            description="Return events once their verdict is checked against the message's other"
            " hits, instead of at once."
        ),
    ] = False
    after: Annotated[
        str,
        Meta(
            max_length=MAX_CHARS,
            description="Events after this cursor: of an event, or a response's Mailwake-Cursor.",
        ),
    ] = ""


class EventPage(EventQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Events of one response."""

    limit: Annotated[int, Meta(ge=1, le=MAX_EVENTS, description="Events of one response.")] = PAGE


async def list_events(call: Call[EventPage]) -> Response:
    """Return events as NDJSON, oldest first, after the cursor `after` (default: all kept).

    Parameters on events may be repeated. To continue, pass the response's Mailwake-Cursor header
    as `after`, even if there were no events. Events are kept for 7 days (then 410).
    """
    api, query, limit = call.api, call.query, call.query.limit
    event_filter, at = _filter(query), _cursor(query.after)
    page: list[EventOut] = []
    scanned = 0
    while len(page) < limit and scanned < MAX_SCANNED_EVENTS:
        events, following = await asyncio.to_thread(_read, api, event_filter, at, query.settled)
        if following == at:
            break
        page += events
        scanned, at = scanned + BATCH_EVENTS, following
    if len(page) > limit:
        del page[limit:]
        at = cursor(page[-1].cursor)
    body = b"".join(_encode(event) + b"\n" for event in page)
    return Response(body, 200, {"mailwake-cursor": str(at)}, "application/x-ndjson")


async def stream_events(call: Call[EventQuery]) -> Response:
    """Stream events as server-sent events. Their ids are cursors, their names are types.

    Continues after Last-Event-ID or `after`, by default with the next event.
    """
    api, event_filter = call.api, _filter(call.query)
    after = call.request.headers.get("last-event-id") or call.query.after
    at = _cursor(after) if after else await asyncio.to_thread(api.feed.last)
    await asyncio.to_thread(
        _read, api, event_filter, at, call.query.settled
    )  # a bad cursor is an error before the stream begins
    api.quota.check_streams()
    if api.news.streams >= MAX_STREAMS:
        raise RequestError(503, f"there are already {MAX_STREAMS:,} open streams, the maximum")
    return EventSourceResponse(
        _follow(api, event_filter, at, call.query.settled),
        headers={"cache-control": "no-store"},
        ping=15,
    )


async def _follow(
    api: WorkspaceContext, event_filter: EventFilter, at: Cursor, settled: bool
) -> AsyncIterator[ServerSentEvent]:
    api.news.streams += 1
    try:
        with api.quota.stream():
            async for event in _events(api, event_filter, at, settled):
                yield event
    finally:
        api.news.streams -= 1


async def _events(
    api: WorkspaceContext, event_filter: EventFilter, at: Cursor, settled: bool
) -> AsyncIterator[ServerSentEvent]:
    while True:
        try:
            events, following = await asyncio.to_thread(_read, api, event_filter, at, settled)
        except StorageError:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        except CursorError as error:  # the stream was held up until its place was gone
            yield ServerSentEvent(event="error", data=str(error))
            return
        for event in events:
            yield ServerSentEvent(
                _encode(event).decode(), event=event.type, id=event.cursor, retry=2000
            )
        if following == at:
            while await api.news.newest() <= at.seq:  # noqa: ASYNC110  (other processes write)
                await asyncio.sleep(POLL_SECONDS)
        at = following


def _read(
    api: WorkspaceContext, event_filter: EventFilter, at: Cursor, settled: bool
) -> tuple[list[EventOut], Cursor]:
    """Returns those of the next BATCH_EVENTS events that match, and where the next page begins."""
    events, following = api.feed.after(at, api.queries.workspace, BATCH_EVENTS, settled)
    likely = [event for event in events if event_filter.may_match(event, api.queries)]
    enriched = api.enricher.enrich(likely) if likely else []
    return [event for event in enriched if event_filter.matches(event)], following


def _cursor(text: str) -> Cursor:
    try:
        return cursor(text)
    except CursorError as error:
        raise RequestError(422, str(error), "after") from None


def _filter(query: EventQuery) -> EventFilter:
    return EventFilter(
        newsletters=query.newsletter,
        types=query.type,
        verdicts=query.verdict,
        links=tuple(map(_link, query.link)),
        labels=query.label,
        tags=query.tag,
        names=query.name,
        urls=query.url,
        hosts=query.host,
        paths=query.path,
    )


def _link(text: str) -> int | str:
    """Returns the id of a link or, as in version 0.1, its place."""
    if identity.read_id(text) is not None:
        return text
    position = read_int(text, high=MAX_POSITION)
    if position is None:
        raise RequestError(422, "must be the ID of a link", "link")
    return position


OPERATIONS = (
    Operation(
        "GET",
        "/v1/events",
        list_events,
        query=EventPage,
        gives=Content(NDJSON, EventOut),
        problems=(410,),
        headers={"Mailwake-Cursor": "Cursor of the end of this response: `after` of the next."},
    ),
    Operation(
        "GET",
        "/v1/events/stream",
        stream_events,
        query=EventQuery,
        gives=Content(EVENT_STREAM, EventOut),
        problems=(410,),
    ),
)
