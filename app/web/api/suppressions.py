"""The API of the suppression list: who must not be mailed."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.consent.suppressions import ALL
from app.schemas.problem import (
    Problem,
)
from app.schemas.suppressions import (
    SuppressedOut,
    SuppressionIn,
    SuppressionList,
    SuppressionOut,
)
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.requests import (
    PROBLEMS,
    REWRITE,
    authorized,
    decoded,
    integer,
    invalid,
    json,
    spec,
)

PAGE, MOST = 100, 1_000


@spec.validate(
    resp=Responses(HTTP_200=SuppressionList, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def suppressions(request: Request) -> Response:
    """List suppressions, oldest first (?after= the id of an entry, ?limit=)."""
    api = authorized(request)
    after, limit = integer(request, "after", 0, 0, 2**53), integer(request, "limit", PAGE, 1, MOST)
    found = await asyncio.to_thread(_page, api, after, limit)
    following = found[-1].id if len(found) == limit else None
    return json(SuppressionList(found, following))


@spec.validate(
    json=SuppressionIn,
    resp=Responses(
        HTTP_200=SuppressedOut,
        HTTP_413=Problem,
        HTTP_422=Problem,
        **PROBLEMS,
    ),
    skip_validation=True,
    security=REWRITE,
)
async def suppress(request: Request) -> Response:
    """Suppress a recipient for one newsletter, or for all without newsletter_id. Idempotent."""
    api = authorized(request, "rewrite")
    wanted = await _wanted(request)
    keys = _keys(api, wanted.recipient, wanted.newsletter_id)
    await asyncio.to_thread(api.suppressions.add, *keys, "api")
    return json(SuppressedOut(wanted.recipient, wanted.newsletter_id, True))


@spec.validate(
    json=SuppressionIn,
    resp=Responses(
        HTTP_200=SuppressedOut,
        HTTP_413=Problem,
        HTTP_422=Problem,
        **PROBLEMS,
    ),
    skip_validation=True,
    security=REWRITE,
)
async def unsuppress(request: Request) -> Response:
    """Remove a suppression after the recipient has subscribed again. Idempotent.

    `suppressed` says whether another entry still suppresses the recipient.
    """
    api = authorized(request, "rewrite")
    wanted = await _wanted(request)
    recipient, newsletter = _keys(api, wanted.recipient, wanted.newsletter_id)
    await asyncio.to_thread(api.suppressions.remove, recipient, newsletter)
    left = await asyncio.to_thread(api.suppressions.among, [recipient], newsletter)
    return json(SuppressedOut(wanted.recipient, wanted.newsletter_id, bool(left)))


@spec.validate(
    resp=Responses(HTTP_200=SuppressedOut, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def check(request: Request) -> Response:
    """Check whether ?recipient= is suppressed for ?newsletter= (default: for all)."""
    api = authorized(request, "rewrite")
    given = {"recipient": request.query_params.get("recipient", "")}
    if "newsletter" in request.query_params:
        given["newsletter_id"] = request.query_params["newsletter"]
    try:
        wanted = msgspec.convert(given, SuppressionIn)
    except msgspec.ValidationError as error:
        problem = invalid(error)
        named = problem.field.replace("newsletter_id", "newsletter")
        raise RequestError(422, problem.detail, named) from None
    recipient, newsletter = _keys(api, wanted.recipient, wanted.newsletter_id)
    found = await asyncio.to_thread(api.suppressions.among, [recipient], newsletter)
    return json(SuppressedOut(wanted.recipient, wanted.newsletter_id, bool(found)))


async def _wanted(request: Request) -> SuppressionIn:
    return await decoded(request, SuppressionIn, 16_384)


def _keys(api: WorkspaceContext, recipient: str, newsletter_id: str | None) -> tuple[int, int]:
    newsletter = ALL if newsletter_id is None else api.newsletter_key(newsletter_id)
    return api.recipient_key(recipient), newsletter


def _page(api: WorkspaceContext, after: int, limit: int) -> list[SuppressionOut]:
    """Addresses and ids come from the ledger; null where it has none."""
    found = api.suppressions.page(after, limit)
    recipients = sorted({one.recipient for one in found})
    newsletters = sorted({one.newsletter for one in found} - {ALL})
    run = api.queries.run
    addresses = {
        row["recipient"]: row["address"]
        for row in (run("suppressed_addresses", recipients=recipients) if recipients else ())
    }
    ids = {
        row["newsletter"]: row["id"]
        for row in (run("event_newsletters", newsletters=newsletters) if newsletters else ())
    }
    return [
        SuppressionOut(
            one.id,
            addresses.get(one.recipient),
            ids.get(one.newsletter),
            one.newsletter == ALL,
            one.reason,
            datetime.fromtimestamp(one.at, UTC),
        )
        for one in found
    ]


ROUTES: Sequence[Route] = (
    Route("/v1/suppressions", suppressions),
    Route("/v1/suppressions", suppress, methods=["POST"]),
    Route("/v1/suppressions", unsuppress, methods=["DELETE"]),
    Route("/v1/suppressions/check", check),
)
