"""The API of the suppression list: who must not be mailed."""

import asyncio
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from app.consent.suppression_rules import SuppressionRules
from app.consent.suppressions import ALL
from app.schemas.fields import Id, Recipient
from app.schemas.suppressions import (
    SuppressedOut,
    SuppressionIn,
    SuppressionList,
    SuppressionOut,
    SuppressionRulesIn,
    SuppressionRulesOut,
)
from app.schemas.timestamps import timestamp
from app.web.api.operation import MAX_BODY_BYTES, Call, Operation
from app.web.api.paging import After, number_of
from app.web.context import WorkspaceContext
from app.web.query import NoQuery
from app.web.requests import json

PAGE, MAX_ENTRIES = 100, 1_000
RULES = "/v1/suppression-rules"


class SuppressionPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries."""

    after: After = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_ENTRIES, description="Entries of one page.")] = PAGE


class SuppressionQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters: a recipient, and a newsletter or all."""

    recipient: Recipient
    newsletter: Annotated[Id, Meta(description="ID of a newsletter. Default: all.")] | None = None


async def list_suppressions(call: Call[SuppressionPage]) -> Response:
    """List suppressions, oldest first."""
    limit, after = call.query.limit, number_of(call.query.after)
    entries = await asyncio.to_thread(_page, call.api, after, limit + 1)
    page = entries[:limit]
    following = str(page[-1].id) if len(entries) > limit else None
    return json(SuppressionList(page, following))


async def suppress_recipient(call: Call[NoQuery]) -> Response:
    """Suppress a recipient for one newsletter, or for all without newsletter_id. Idempotent."""
    api, body = call.api, await call.body(SuppressionIn, MAX_BODY_BYTES)
    keys = _keys(api, body.recipient, body.newsletter_id)
    await asyncio.to_thread(api.suppressions.add, *keys, "api")
    return json(SuppressedOut(body.recipient, body.newsletter_id, True))


async def unsuppress_recipient(call: Call[NoQuery]) -> Response:
    """Remove a suppression after the recipient has subscribed again. Idempotent.

    `suppressed` says whether another entry still suppresses the recipient.
    """
    api, body = call.api, await call.body(SuppressionIn, MAX_BODY_BYTES)
    recipient, newsletter = _keys(api, body.recipient, body.newsletter_id)
    await asyncio.to_thread(api.suppressions.remove, recipient, newsletter)
    left = await asyncio.to_thread(api.suppressions.among, [recipient], newsletter)
    return json(SuppressedOut(body.recipient, body.newsletter_id, bool(left)))


async def check_suppression(call: Call[NoQuery]) -> Response:
    """Check whether a recipient is suppressed for a newsletter, or for all."""
    body = await call.body(SuppressionIn, MAX_BODY_BYTES)
    return await _check(call.api, body.recipient, body.newsletter_id)


async def check_suppression_by_url(call: Call[SuppressionQuery]) -> Response:
    """Return what `POST /v1/suppressions/check` returns, which keeps email addresses out of URLs.

    URLs are kept in logs and histories.
    """
    return await _check(call.api, call.query.recipient, call.query.newsletter)


async def get_suppression_rules(call: Call[NoQuery]) -> Response:
    """Return which outcomes suppress a recipient of this workspace."""
    return json(await asyncio.to_thread(_rules, call.api))


async def save_suppression_rules(call: Call[NoQuery]) -> Response:
    """Set which outcomes suppress a recipient of this workspace, from now on.

    Existing suppressions stay.
    """
    api, body = call.api, await call.body(SuppressionRulesIn, MAX_BODY_BYTES)
    rules = SuppressionRules(body.bounces, body.complaints, body.soft_bounces)
    await asyncio.to_thread(api.suppression_rules.put, api.queries.workspace, rules)
    return json(await asyncio.to_thread(_rules, api))


async def reset_suppression_rules(call: Call[NoQuery]) -> Response:
    """Apply the rules of the settings to this workspace again."""
    api = call.api
    await asyncio.to_thread(api.suppression_rules.reset, api.queries.workspace)
    return json(await asyncio.to_thread(_rules, api))


def _rules(api: WorkspaceContext) -> SuppressionRulesOut:
    own = api.suppression_rules.own(api.queries.workspace)
    return SuppressionRulesOut(*(own or api.suppression_rules.default), is_default=own is None)


async def _check(api: WorkspaceContext, recipient: str, newsletter: str | None) -> Response:
    key, newsletter_key = _keys(api, recipient, newsletter)
    entries = await asyncio.to_thread(api.suppressions.among, [key], newsletter_key)
    return json(SuppressedOut(recipient, newsletter, bool(entries)))


def _keys(api: WorkspaceContext, recipient: str, newsletter_id: str | None) -> tuple[int, int]:
    newsletter = ALL if newsletter_id is None else api.newsletter_key(newsletter_id)
    return api.recipient_key(recipient), newsletter


def _page(api: WorkspaceContext, after: int, limit: int) -> list[SuppressionOut]:
    """Email addresses and ids come from the messages recorded; null if none has them."""
    entries = api.suppressions.page(after, limit)
    recipients = sorted({entry.recipient for entry in entries})
    newsletters = sorted({entry.newsletter for entry in entries} - {ALL})
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
            id=entry.id,
            recipient=addresses.get(entry.recipient),
            newsletter_id=ids.get(entry.newsletter),
            all_newsletters=entry.newsletter == ALL,
            reason=entry.reason,
            at=timestamp(entry.at),
        )
        for entry in entries
    ]


OPERATIONS = (
    Operation(
        "GET", "/v1/suppressions", list_suppressions, query=SuppressionPage, gives=SuppressionList
    ),
    Operation(
        "POST",
        "/v1/suppressions",
        suppress_recipient,
        scope="rewrite",
        takes=SuppressionIn,
        gives=SuppressedOut,
        stores=False,
    ),
    Operation(
        "DELETE",
        "/v1/suppressions",
        unsuppress_recipient,
        scope="rewrite",
        takes=SuppressionIn,
        gives=SuppressedOut,
    ),
    Operation(
        "POST",
        "/v1/suppressions/check",
        check_suppression,
        scope="rewrite",
        takes=SuppressionIn,
        gives=SuppressedOut,
        stores=False,
    ),
    Operation(
        "GET",
        "/v1/suppressions/check",
        check_suppression_by_url,
        scope="rewrite",
        query=SuppressionQuery,
        gives=SuppressedOut,
    ),
    Operation("GET", RULES, get_suppression_rules, gives=SuppressionRulesOut),
    Operation(
        "PUT",
        RULES,
        save_suppression_rules,
        scope="admin",
        takes=SuppressionRulesIn,
        gives=SuppressionRulesOut,
    ),
    Operation("DELETE", RULES, reset_suppression_rules, scope="admin", gives=SuppressionRulesOut),
)
