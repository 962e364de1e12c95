"""The API of data subjects: all that is held about a person, and its erasure."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.consent.erasure_requests import Erasure
from app.model.errors import NotFoundError
from app.privacy.erasure import ANSWER_SECONDS, finished
from app.schemas.privacy import (
    ErasureIn,
    ErasureOut,
    SubjectOut,
)
from app.schemas.problem import (
    Problem,
)
from app.web.requests import (
    ADMIN,
    PROBLEMS,
    SUBJECT_FILE,
    authorized,
    decoded,
    recipient_of,
    spec,
    streamed,
)

HEADERS = {"cache-control": "no-store", **SUBJECT_FILE}


@spec.validate(
    resp=Responses(HTTP_200=SubjectOut, **PROBLEMS), skip_validation=True, security=ADMIN
)
async def export(request: Request) -> Response:
    """Export all data about a recipient as one JSON document."""
    api, address = authorized(request, "admin"), recipient_of(request)
    return await streamed(api.exports.of(address), "application/json", HEADERS)


@spec.validate(
    json=ErasureIn,
    resp=Responses(
        HTTP_200=ErasureOut,
        HTTP_202=ErasureOut,
        HTTP_413=Problem,
        HTTP_422=Problem,
        **PROBLEMS,
    ),
    skip_validation=True,
    security=ADMIN,
)
async def erase(request: Request) -> Response:
    """Erase a recipient's data. 200 once it is complete; 202 while it continues: ask again.

    Totals stay the same; messages and hits can no longer be traced to a person. Safe to
    repeat.
    """
    api = authorized(request, "admin")
    wanted = await decoded(request, ErasureIn, 4096)
    requested = await asyncio.to_thread(api.request_erasure, wanted.recipient)
    return _answer(await finished(api.erasures, requested, ANSWER_SECONDS))


@spec.validate(
    resp=Responses(HTTP_200=ErasureOut, HTTP_202=ErasureOut, **PROBLEMS),
    skip_validation=True,
    security=ADMIN,
)
async def erasure(request: Request) -> Response:
    """Return the progress of an erasure: 200 once it is complete, else 202."""
    api = authorized(request, "admin")
    number = request.path_params["erasure_id"]
    found = None
    if number.isascii() and number.isdigit() and len(number) < 16:
        found = await asyncio.to_thread(api.erasures.get, int(number), api.queries.workspace)
    if found is None:
        raise NotFoundError("erasure_id", f"there is no erasure {number!r}")
    return _answer(found)


def _answer(one: Erasure) -> Response:
    at = datetime.fromtimestamp(one.at, UTC)
    found = ErasureOut(one.id, one.state, at, one.counts)
    status = 200 if one.state == "done" else 202
    return Response(msgspec.json.encode(found), status, media_type="application/json")


ROUTES: Sequence[Route] = (
    Route("/v1/recipients/{recipient}/export", export),
    Route("/v1/erasures", erase, methods=["POST"]),
    Route("/v1/erasures/{erasure_id}", erasure),
)
