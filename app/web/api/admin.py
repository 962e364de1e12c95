"""The API for operators."""

from collections.abc import Iterator, Sequence

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from app.ingest.corrections import Corrections, span
from app.schemas.problem import (
    Problem,
)
from app.schemas.reclassify import (
    ReclassifyIn,
    ReclassifyOut,
)
from app.storage.clickhouse import StorageError
from app.web.errors import RequestError
from app.web.requests import ADMIN, PROBLEMS, authorized, decoded, spec


@spec.validate(
    json=ReclassifyIn,
    resp=Responses(
        HTTP_200=ReclassifyOut,
        HTTP_413=Problem,
        HTTP_422=Problem,
        **PROBLEMS,
    ),
    skip_validation=True,
    security=ADMIN,
)
async def reclassify(request: Request) -> Response:
    """Classify stored hits again with the current rules; returns progress as NDJSON.

    Safe to interrupt and to repeat. A last line with `error` means that ClickHouse became
    unavailable.
    """
    api = authorized(request, "admin")
    wanted = await decoded(request, ReclassifyIn, 4096, b"{}")
    if wanted.start and wanted.end and wanted.start > wanted.end:
        raise RequestError(422, "must not be later than `to`", "from")
    start, end = span(wanted.start, wanted.end)
    lines = _lines(api.corrections, api.queries.workspace, start, end)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def _lines(corrections: Corrections, workspace: str, start: int, end: int) -> Iterator[bytes]:
    step = ReclassifyOut(0, 0, 0)
    try:
        for found in corrections.reclassify(workspace, start, end):
            step = ReclassifyOut(*found)
            yield msgspec.json.encode(step) + b"\n"
    except StorageError as error:
        yield msgspec.json.encode(msgspec.structs.replace(step, error=str(error))) + b"\n"


ROUTES: Sequence[Route] = (Route("/v1/reclassify", reclassify, methods=["POST"]),)
