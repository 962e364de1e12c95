"""The API of recipients: one with what it prefers, and segments of many."""

import asyncio
from collections.abc import Sequence
from urllib.parse import unquote

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.consent.suppressions import ALL
from app.schemas.fields import (
    SegmentName,
)
from app.schemas.problem import (
    Problem,
)
from app.schemas.recipients import RecipientOut
from app.schemas.segments import (
    SavedList,
    SavedOut,
    Segment,
    SegmentLine,
)
from app.stats import recipients, segments
from app.web.errors import RequestError
from app.web.requests import (
    ADMIN,
    PROBLEMS,
    authorized,
    decoded,
    recipient_of,
    spec,
    streamed,
)
from app.web.requests import json as answer_of

FIELDS = (*segments.NAMED, *segments.LINKED.values(), "since")


@spec.validate(resp=Responses(HTTP_200=RecipientOut, **PROBLEMS), skip_validation=True)
async def recipient(request: Request) -> Response:
    """Return a recipient's activity and preferences, from hits by people only."""
    api, address = authorized(request), recipient_of(request)
    key = api.recipient_key(address)
    found = await asyncio.to_thread(recipients.recipient, api.queries, key)
    entries = await asyncio.to_thread(api.suppressions.of, key)
    names = {row["newsletter"]: row["id"] for row in found.sent}
    return answer_of(
        RecipientOut(
            recipient=found.email,
            messages=len(found.sent),
            opened=found.opened,
            clicked=found.clicked,
            last_seen_at=found.last_seen_at,
            topics=found.topics,
            sites=found.sites,
            clients=found.clients,
            hours=found.hours,
            suppressed_everywhere=ALL in entries,
            suppressed_for=sorted(names[key] for key in entries if key in names),
        )
    )


@spec.validate(
    resp=Responses(HTTP_200=SegmentLine, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def segment(request: Request) -> Response:
    """Find recipients by what they did, as NDJSON. They must match all parameters.

    ?newsletter= was sent this newsletter; ?opened=, ?clicked= opened or clicked it;
    ?not_opened=, ?not_clicked= was sent it but did not; ?clicked_tag= (repeatable: any of these
    topics), ?clicked_link= (ID), ?clicked_name=, ?clicked_label=, ?clicked_url= (prefix),
    ?clicked_host= (and subdomains), ?clicked_path= (* matches anything) clicked such a link;
    ?since= (RFC 3339) counts only opens and clicks since then.
    """
    api = authorized(request)
    query = request.query_params
    given: dict[str, object] = {name: query[name] for name in FIELDS if query.get(name)}
    given["clicked_tag"] = query.getlist("clicked_tag")
    if unknown := set(query) - {*FIELDS, "clicked_tag"}:
        raise RequestError(422, "is not a known parameter", min(unknown))
    try:
        wanted = msgspec.convert(given, Segment)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise RequestError(422, message, path.rstrip("`").partition("[")[0]) from None
    return await streamed(segments.chunks(api.queries, wanted), "application/x-ndjson")


@spec.validate(resp=Responses(HTTP_200=SavedList, **PROBLEMS), skip_validation=True)
async def saved(request: Request) -> Response:
    """List saved segments by name."""
    found = await asyncio.to_thread(authorized(request).segments.all)
    return answer_of(SavedList([SavedOut(name, wanted) for name, wanted in found.items()]))


@spec.validate(
    json=Segment,
    resp=Responses(HTTP_200=SavedOut, HTTP_413=Problem, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
    security=ADMIN,
)
async def save(request: Request) -> Response:
    """Save a segment under a name of 1 to 100 characters. Replaces one with the same name."""
    api, name = authorized(request, "admin"), _name(request)
    wanted = await decoded(request, Segment, 65_536)
    await asyncio.to_thread(api.segments.put, name, wanted)
    return answer_of(SavedOut(name, wanted))


@spec.validate(resp=Responses(HTTP_200=SegmentLine, **PROBLEMS), skip_validation=True)
async def saved_one(request: Request) -> Response:
    """Return the current recipients of a saved segment, as NDJSON."""
    api = authorized(request)
    wanted = await asyncio.to_thread(api.segments.get, _name(request))
    return await streamed(segments.chunks(api.queries, wanted), "application/x-ndjson")


@spec.validate(resp=Responses(HTTP_200=SavedOut, **PROBLEMS), skip_validation=True, security=ADMIN)
async def forget(request: Request) -> Response:
    """Remove a saved segment."""
    api, name = authorized(request, "admin"), _name(request)
    wanted = await asyncio.to_thread(api.segments.get, name)
    await asyncio.to_thread(api.segments.remove, name)
    return answer_of(SavedOut(name, wanted))


def _name(request: Request) -> str:
    try:
        name = unquote(request.path_params["name"], errors="strict")
        return msgspec.convert(name, SegmentName)
    except (UnicodeDecodeError, msgspec.ValidationError):
        raise RequestError(
            422, "must have 1 to 100 characters and no control characters", "name"
        ) from None


ROUTES: Sequence[Route] = (
    Route("/v1/recipients/{recipient}", recipient),
    Route("/v1/segments", segment),
    Route("/v1/saved-segments", saved),
    Route("/v1/saved-segments/{name}", saved_one),
    Route("/v1/saved-segments/{name}", save, methods=["PUT"]),
    Route("/v1/saved-segments/{name}", forget, methods=["DELETE"]),
)
