"""The API of recipients: one with what it prefers, and segments of many."""

import asyncio

from starlette.responses import Response

from app.consent.suppressions import ALL
from app.model.errors import FieldError, NotFoundError
from app.schemas.fields import OneRecipientIn, Recipient, SegmentName
from app.schemas.recipients import RecipientOut
from app.schemas.segments import (
    SavedList,
    SavedOut,
    Segment,
    SegmentLine,
    SegmentOut,
)
from app.schemas.timestamps import timestamp_or_none
from app.stats import recipients, segments
from app.web.api.operation import MAX_RECIPIENT_BYTES, NDJSON, Call, Content, Operation
from app.web.context import WorkspaceContext
from app.web.query import NoQuery
from app.web.requests import json, streamed


async def look_up_recipient(call: Call[NoQuery]) -> Response:
    """Return a recipient's activity and preferences, from hits by people only."""
    body = await call.body(OneRecipientIn, MAX_RECIPIENT_BYTES)
    return await _recipient(call.api, body.recipient)


async def get_recipient(call: Call[NoQuery]) -> Response:
    """Return what `POST /v1/recipients/lookup` returns, which keeps the email address out of URLs.

    URLs are kept in logs and histories.
    """
    return await _recipient(call.api, call.path("recipient", Recipient))


async def _recipient(api: WorkspaceContext, email: str) -> Response:
    """Raises NotFoundError."""
    key = api.recipient_key(email)
    try:
        record = await asyncio.to_thread(recipients.recipient, api.queries, key)
    except NotFoundError as error:
        raise NotFoundError(error.field, f"No messages were sent to {email}.") from None
    entries = await asyncio.to_thread(api.suppressions.of, key)
    names = {row["newsletter"]: row["id"] for row in record.sent}
    return json(
        RecipientOut(
            recipient=record.email,
            messages=len(record.sent),
            opened=record.opened,
            clicked=record.clicked,
            last_seen_at=timestamp_or_none(record.last_seen_at),
            topics=record.topics,
            sites=record.sites,
            clients=record.clients,
            hours=record.hours,
            suppressed_everywhere=ALL in entries,
            suppressed_for=sorted(names[key] for key in entries if key in names),
        )
    )


async def find_recipients(call: Call[Segment]) -> Response:
    """Find recipients by what they did, as NDJSON. They must match all parameters."""
    return await streamed(segments.chunks(call.api.queries, call.query), NDJSON)


async def list_segments(call: Call[NoQuery]) -> Response:
    """List saved segments by name."""
    segments = await asyncio.to_thread(call.api.segments.all)
    return json(
        SavedList([SavedOut(name, SegmentOut.of(segment)) for name, segment in segments.items()])
    )


async def save_segment(call: Call[NoQuery]) -> Response:
    """Save a segment under a name of 1 to 100 characters. Replaces one with the same name."""
    api, name = call.api, _name(call)
    body = await call.body(Segment, 65_536)
    await asyncio.to_thread(api.segments.put, name, body)
    return json(SavedOut(name, SegmentOut.of(body)))


async def list_segment_recipients(call: Call[NoQuery]) -> Response:
    """Return the current recipients of a saved segment, as NDJSON."""
    api = call.api
    segment = await asyncio.to_thread(api.segments.get, _name(call))
    return await streamed(segments.chunks(api.queries, segment), NDJSON)


async def delete_segment(call: Call[NoQuery]) -> Response:
    """Remove a saved segment."""
    api, name = call.api, _name(call)
    segment = await asyncio.to_thread(api.segments.get, name)
    await asyncio.to_thread(api.segments.remove, name)
    return json(SavedOut(name, SegmentOut.of(segment)))


def _name(call: Call[NoQuery]) -> str:
    try:
        return call.path("name", SegmentName)
    except (NotFoundError, FieldError):
        message = "must have 1 to 100 characters and no control characters"
        raise FieldError("name", message) from None


ONE = "/v1/saved-segments/{name}"
OPERATIONS = (
    Operation(
        "POST",
        "/v1/recipients/lookup",
        look_up_recipient,
        takes=OneRecipientIn,
        gives=RecipientOut,
        problems=(404,),
        stores=False,
    ),
    Operation("GET", "/v1/recipients/{recipient}", get_recipient, gives=RecipientOut),
    Operation(
        "GET", "/v1/segments", find_recipients, query=Segment, gives=Content(NDJSON, SegmentLine)
    ),
    Operation("GET", "/v1/saved-segments", list_segments, gives=SavedList),
    Operation("GET", ONE, list_segment_recipients, gives=Content(NDJSON, SegmentLine)),
    Operation("PUT", ONE, save_segment, scope="admin", takes=Segment, gives=SavedOut),
    Operation("DELETE", ONE, delete_segment, scope="admin", gives=SavedOut),
)
