"""The API for operators."""

from collections.abc import Iterator

import msgspec
from starlette.responses import Response, StreamingResponse

from app.ingest.corrections import Corrections, span
from app.schemas.reclassify import (
    ReclassifyIn,
    ReclassifyOut,
)
from app.storage.clickhouse import StorageError
from app.web.api.operation import NDJSON, Call, Content, Operation
from app.web.errors import RequestError
from app.web.query import NoQuery


async def reclassify_hits(call: Call[NoQuery]) -> Response:
    """Classify stored hits again with the current rules; returns progress as NDJSON.

    Safe to interrupt and to repeat. A last line with `error` means that ClickHouse became
    unavailable.
    """
    api, body = call.api, await call.body(ReclassifyIn, 4096, b"{}")
    if body.start and body.end and body.start > body.end:
        raise RequestError(422, "must not be later than `to`", "from")
    start, end = span(body.start, body.end)
    lines = _lines(api.corrections, api.queries.workspace, start, end)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def _lines(corrections: Corrections, workspace: str, start: int, end: int) -> Iterator[bytes]:
    step = ReclassifyOut(0, 0, 0)
    try:
        for counts in corrections.reclassify(workspace, start, end):
            step = ReclassifyOut(*counts)
            yield msgspec.json.encode(step) + b"\n"
    except StorageError as error:
        yield msgspec.json.encode(msgspec.structs.replace(step, error=str(error))) + b"\n"


OPERATIONS = (
    Operation(
        "POST",
        "/v1/reclassify",
        reclassify_hits,
        scope="admin",
        takes=ReclassifyIn,
        gives=Content(NDJSON, ReclassifyOut),
    ),
)
