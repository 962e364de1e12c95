"""The API of data subjects: all that is held about a person, and its erasure."""

import asyncio

import msgspec
from starlette.responses import Response

from app.consent.erasure_requests import Erasure
from app.model.errors import NotFoundError
from app.model.numbers import read_int
from app.privacy.erasure import ANSWER_SECONDS, finished
from app.schemas.fields import OneRecipientIn, Recipient
from app.schemas.privacy import ErasureOut, SubjectOut
from app.schemas.timestamps import timestamp
from app.web.api.operation import MAX_RECIPIENT_BYTES, Call, Operation
from app.web.query import MAX_INT, NoQuery
from app.web.requests import SUBJECT_FILE, streamed

HEADERS = {"cache-control": "no-store", **SUBJECT_FILE}


async def export_recipient(call: Call[NoQuery]) -> Response:
    """Export all data about a recipient as one JSON document."""
    body = await call.body(OneRecipientIn, MAX_RECIPIENT_BYTES)
    return await streamed(call.api.exports.of(body.recipient), "application/json", HEADERS)


async def export_recipient_by_url(call: Call[NoQuery]) -> Response:
    """Return what `POST /v1/recipients/export` returns, which keeps the email address out of URLs.

    URLs are kept in logs and histories.
    """
    email = call.path("recipient", Recipient)
    return await streamed(call.api.exports.of(email), "application/json", HEADERS)


async def erase_recipient(call: Call[NoQuery]) -> Response:
    """Erase a recipient's data. 200 once it is complete; 202 while it continues: ask again.

    Totals stay the same; messages and hits can no longer be traced to a person. Safe to
    repeat.
    """
    api, body = call.api, await call.body(OneRecipientIn, MAX_RECIPIENT_BYTES)
    requested = await asyncio.to_thread(api.request_erasure, body.recipient)
    return _answer(await finished(api.erasures, requested, ANSWER_SECONDS))


async def get_erasure(call: Call[NoQuery]) -> Response:
    """Return the progress of an erasure: 200 once it is complete, else 202."""
    api, erasure_id = call.api, call.path("erasure_id")
    number, erasure = read_int(erasure_id, high=MAX_INT), None
    if number is not None:
        erasure = await asyncio.to_thread(api.erasures.get, number, api.queries.workspace)
    if erasure is None:
        raise NotFoundError("erasure_id", f"there is no erasure {erasure_id!r}")
    return _answer(erasure)


def _answer(erasure: Erasure) -> Response:
    body = ErasureOut(erasure.id, erasure.state, timestamp(erasure.at), erasure.counts)
    status = 200 if erasure.state == "done" else 202
    return Response(msgspec.json.encode(body), status, media_type="application/json")


OPERATIONS = (
    Operation(
        "POST",
        "/v1/recipients/export",
        export_recipient,
        scope="admin",
        takes=OneRecipientIn,
        gives=SubjectOut,
        stores=False,
    ),
    Operation(
        "GET",
        "/v1/recipients/{recipient}/export",
        export_recipient_by_url,
        scope="admin",
        gives=SubjectOut,
    ),
    Operation(
        "POST",
        "/v1/erasures",
        erase_recipient,
        scope="admin",
        takes=OneRecipientIn,
        gives=ErasureOut,
        statuses=(200, 202),
        stores=False,
    ),
    Operation(
        "GET",
        "/v1/erasures/{erasure_id}",
        get_erasure,
        scope="admin",
        gives=ErasureOut,
        statuses=(200, 202),
    ),
)
