"""The API of consent: who has withdrawn from being counted, for opens or clicks."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.consent.withdrawals import ALL
from app.model.tracking_modes import Axis
from app.schemas.privacy import (
    ConsentIn,
    ConsentOut,
    WithdrawalOut,
)
from app.schemas.problem import (
    Problem,
)
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.requests import (
    PROBLEMS,
    REWRITE,
    authorized,
    decoded,
    invalid,
    json,
    spec,
)

_CHANGES = {
    "HTTP_200": ConsentOut,
    "HTTP_413": Problem,
    "HTTP_422": Problem,
    **PROBLEMS,
}


@spec.validate(
    resp=Responses(HTTP_200=ConsentOut, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def consent(request: Request) -> Response:
    """Return the consent that ?recipient= has withdrawn."""
    api = authorized(request, "rewrite")
    try:
        given = msgspec.convert({"recipient": request.query_params.get("recipient", "")}, ConsentIn)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    return json(await asyncio.to_thread(_standing, api, given.recipient))


@spec.validate(json=ConsentIn, resp=Responses(**_CHANGES), skip_validation=True, security=REWRITE)
async def withdraw(request: Request) -> Response:
    """Withdraw consent: nothing is counted any more, including for messages already sent.

    `axes` are opens, clicks or both. Without newsletter_id it applies to all newsletters.
    Idempotent.
    """
    api = authorized(request, "rewrite")
    wanted = await _wanted(request)
    await asyncio.to_thread(api.withdrawals.withdraw, *_given(api, wanted))
    return json(await asyncio.to_thread(_standing, api, wanted.recipient))


@spec.validate(json=ConsentIn, resp=Responses(**_CHANGES), skip_validation=True, security=REWRITE)
async def restore(request: Request) -> Response:
    """Restore consent after the recipient has given it again. Idempotent.

    A withdrawal for all newsletters and one for a single newsletter are independent.
    """
    api = authorized(request, "rewrite")
    wanted = await _wanted(request)
    await asyncio.to_thread(api.withdrawals.restore, *_given(api, wanted))
    return json(await asyncio.to_thread(_standing, api, wanted.recipient))


ROUTES: Sequence[Route] = (
    Route("/v1/consent", consent),
    Route("/v1/consent", withdraw, methods=["POST"]),
    Route("/v1/consent", restore, methods=["DELETE"]),
)


async def _wanted(request: Request) -> ConsentIn:
    wanted = await decoded(request, ConsentIn, 16_384)
    if not wanted.axes:
        raise RequestError(422, "must contain opens, clicks or both", "axes")
    return wanted


def _given(api: WorkspaceContext, wanted: ConsentIn) -> tuple[str, int, Sequence[Axis], int]:
    named = wanted.newsletter_id
    newsletter = ALL if named is None else api.newsletter_key(named)
    return api.queries.workspace, api.recipient_key(wanted.recipient), wanted.axes, newsletter


def _standing(api: WorkspaceContext, recipient: str) -> ConsentOut:
    """Ids of newsletters come from ClickHouse; null where it has none."""
    found = api.withdrawals.of(api.queries.workspace, api.recipient_key(recipient))
    newsletters = sorted({one.newsletter for one in found} - {ALL})
    rows = api.queries.run("event_newsletters", newsletters=newsletters) if newsletters else ()
    ids = {row["newsletter"]: row["id"] for row in rows}
    return ConsentOut(
        recipient,
        [
            WithdrawalOut(
                one.axis,
                ids.get(one.newsletter),
                one.newsletter == ALL,
                datetime.fromtimestamp(one.at, UTC),
            )
            for one in found
        ],
    )
