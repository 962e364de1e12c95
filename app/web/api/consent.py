"""The API of consent: which recipients have withdrawn it, for opens or clicks."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from starlette.responses import Response

from app.consent.withdrawals import ALL
from app.model.tracking_modes import Axis
from app.schemas.fields import OneRecipientIn, Recipient
from app.schemas.privacy import (
    ConsentIn,
    ConsentOut,
    WithdrawalOut,
)
from app.schemas.timestamps import timestamp
from app.web.api.operation import MAX_BODY_BYTES, MAX_RECIPIENT_BYTES, Call, Operation
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.query import NoQuery
from app.web.requests import json


class ConsentQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose consent."""

    recipient: Recipient


async def look_up_consent(call: Call[NoQuery]) -> Response:
    """Return the consent that a recipient has withdrawn."""
    body = await call.body(OneRecipientIn, MAX_RECIPIENT_BYTES)
    return json(await asyncio.to_thread(_standing, call.api, body.recipient))


async def get_consent(call: Call[ConsentQuery]) -> Response:
    """Return what `POST /v1/consent/lookup` returns, which keeps the email address out of URLs.

    URLs are kept in logs and histories.
    """
    return json(await asyncio.to_thread(_standing, call.api, call.query.recipient))


async def withdraw_consent(call: Call[NoQuery]) -> Response:
    """Withdraw consent: nothing is counted any more, including for messages already sent.

    `axes` are opens, clicks or both. Without newsletter_id it applies to all newsletters.
    Idempotent.
    """
    api, body = call.api, await _body(call)
    await asyncio.to_thread(api.withdrawals.withdraw, *_arguments(api, body))
    return json(await asyncio.to_thread(_standing, api, body.recipient))


async def restore_consent(call: Call[NoQuery]) -> Response:
    """Restore consent after the recipient has given it again. Idempotent.

    A withdrawal for all newsletters and one for a single newsletter are independent.
    """
    api, body = call.api, await _body(call)
    await asyncio.to_thread(api.withdrawals.restore, *_arguments(api, body))
    return json(await asyncio.to_thread(_standing, api, body.recipient))


async def _body(call: Call[NoQuery]) -> ConsentIn:
    body = await call.body(ConsentIn, MAX_BODY_BYTES)
    if not body.axes:
        raise RequestError(422, "must contain opens, clicks or both", "axes")
    return body


def _arguments(api: WorkspaceContext, body: ConsentIn) -> tuple[str, int, Sequence[Axis], int]:
    newsletter_id = body.newsletter_id
    newsletter = ALL if newsletter_id is None else api.newsletter_key(newsletter_id)
    return api.queries.workspace, api.recipient_key(body.recipient), body.axes, newsletter


def _standing(api: WorkspaceContext, recipient: str) -> ConsentOut:
    """Returns the consent; ids of newsletters come from ClickHouse, null where it has none."""
    withdrawals = api.withdrawals.of(api.queries.workspace, api.recipient_key(recipient))
    newsletters = sorted({withdrawal.newsletter for withdrawal in withdrawals} - {ALL})
    rows = api.queries.run("event_newsletters", newsletters=newsletters) if newsletters else ()
    ids = {row["newsletter"]: row["id"] for row in rows}
    return ConsentOut(
        recipient,
        [
            WithdrawalOut(
                axis=withdrawal.axis,
                newsletter_id=ids.get(withdrawal.newsletter),
                all_newsletters=withdrawal.newsletter == ALL,
                at=timestamp(withdrawal.at),
            )
            for withdrawal in withdrawals
        ],
    )


OPERATIONS = (
    Operation(
        "POST",
        "/v1/consent/lookup",
        look_up_consent,
        scope="rewrite",
        takes=OneRecipientIn,
        gives=ConsentOut,
        stores=False,
    ),
    Operation(
        "GET", "/v1/consent", get_consent, scope="rewrite", query=ConsentQuery, gives=ConsentOut
    ),
    Operation(
        "POST",
        "/v1/consent",
        withdraw_consent,
        scope="rewrite",
        takes=ConsentIn,
        gives=ConsentOut,
        stores=False,
    ),
    Operation(
        "DELETE", "/v1/consent", restore_consent, scope="rewrite", takes=ConsentIn, gives=ConsentOut
    ),
)
