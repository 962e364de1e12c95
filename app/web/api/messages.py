"""The API of messages: found by what their mailer knows them by, each with what came of it."""

import asyncio
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from app.events.feed import TYPE_OF
from app.links import identity
from app.model.ids import recipient_key
from app.model.tracking_modes import modes
from app.schemas import messages as schemas
from app.schemas.events import EventLink
from app.schemas.fields import (
    Id,
    Metadata,
    Recipient,
    RfcMessageId,
)
from app.schemas.outcomes import MessageOutcome
from app.schemas.timestamps import Timestamp, timestamp
from app.stats import messages as message_stats
from app.stats.messages import Place, Search
from app.stats.queries import utc
from app.storage.clickhouse import Row
from app.web.api import paging
from app.web.api.operation import MAX_BODY_BYTES, Call, Operation
from app.web.api.paging import After
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.query import NoQuery
from app.web.requests import json

PAGE, MAX_MESSAGES = 100, 1_000
NAMES = ("newsletter_id", "recipient", "message_id", "rfc_message_id")


class MessageQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of messages."""

    metadata: Annotated[
        Metadata, Meta(description="Metadata with this key and value; repeatable with other keys.")
    ] = {}
    message_id: (
        Annotated[RfcMessageId, Meta(description="ID of the message, or its Message-ID.")] | None
    ) = None
    rfc_message_id: RfcMessageId | None = None
    recipient: Recipient | None = None
    newsletter_id: Annotated[Id, Meta(description="ID of the newsletter.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_MESSAGES, description="Messages of one page.")] = PAGE
    after: After | None = None


class MessageRecord(Struct, frozen=True):
    """A recorded message.

    `recipient` and `rfc_message_id` are null and `metadata` is empty if the message is not
    tracked by person, if its retention time is over, or if the person was erased.
    """

    message_id: str
    newsletter_id: str
    recipient: str | None
    sent_at: Timestamp
    variant: str | None
    tracking: schemas.ModesOut
    metadata: dict[str, str]
    rfc_message_id: str | None


class MessageList(Struct, frozen=True):
    """Messages, latest first. `next_after` is null on the last page."""

    messages: list[MessageRecord]
    next_after: str | None


class MessageEvent(Struct, frozen=True):
    """An event of a message, with its latest verdict. `link` is set for clicks only.

    `explanation` says in a sentence why the verdict is so; `reasons` has the names of the rules.
    """

    type: str
    occurred_at: Timestamp
    verdict: str
    reasons: list[str]
    explanation: str
    link: EventLink | None
    client: str
    os: str
    device: str
    country: str


class MessageHistory(Struct, frozen=True):
    """A message, its latest 1,000 events and its latest 100 outcomes, each earliest first.

    `state` is what the outcomes together say: queued, sent, deferred, delivered, bounced, rejected
    or complained. It is null if there are none.
    """

    message: MessageRecord
    events: list[MessageEvent]
    state: str | None
    outcomes: list[MessageOutcome]


async def search_messages(call: Call[NoQuery]) -> Response:
    """Find messages, latest first. They must match all fields of the body.

    At least one of them besides `limit` and `after` is required.
    """
    return await _messages(call.api, await call.body(MessageQuery, MAX_BODY_BYTES))


async def find_messages(call: Call[MessageQuery]) -> Response:
    """Find messages as `POST /v1/messages/search` does, which keeps email addresses out of URLs.

    They must match all parameters. At least one of them besides `limit` and `after` is required.
    """
    return await _messages(call.api, call.query)


async def _messages(api: WorkspaceContext, query: MessageQuery) -> Response:
    """Raises RequestError."""
    limit = query.limit
    criteria = _search(query, api.settings.recipient_key, api.queries.workspace)
    after = message_stats.place(query.after) if query.after else Place()
    if after is None:
        raise paging.unknown()
    rows = await asyncio.to_thread(message_stats.search, api.queries, criteria, limit + 1, after)
    shown = rows[:limit]
    following = None
    if len(rows) > limit:
        last = shown[-1]
        following = str(
            Place(last["at_ms"], message_stats.identity(last["message_id"]) or after.message)
        )
    return json(MessageList([_record(row) for row in shown], following))


async def get_message(call: Call[NoQuery]) -> Response:
    """Return one message, its events, by people and by bots, and its outcomes."""
    queries, message_id = call.api.queries, call.path("message_id")
    row, hits = await asyncio.to_thread(message_stats.message, queries, message_id)
    outcomes = await asyncio.to_thread(message_stats.outcomes, queries, row)
    return json(
        MessageHistory(
            message=_record(row),
            events=[_event(hit) for hit in hits],
            state=(outcomes[0]["state"] or None) if outcomes else None,
            outcomes=[_outcome(outcome) for outcome in outcomes],
        )
    )


def _search(query: MessageQuery, secret: str, workspace: str) -> Search:
    """Raises RequestError."""
    ours = message_stats.identity(query.message_id or "")
    theirs = [text for text in (None if ours else query.message_id, query.rfc_message_id) if text]
    if len({text.strip("<>") for text in theirs}) > 1:
        raise RequestError(422, "differs from `message_id`", "rfc_message_id")
    if not query.metadata and all(getattr(query, name) is None for name in NAMES):
        raise RequestError(422, f"one of {', '.join(NAMES)}, metadata is required", "query")
    key = None
    if query.recipient is not None:
        key = recipient_key(secret, workspace, query.recipient)
    return Search(
        newsletter_id=query.newsletter_id or "",
        recipient=key,
        message=ours,
        rfc_message_id=theirs[0].strip("<>") if theirs else "",
        metadata=query.metadata,
    )


def _record(row: Row) -> MessageRecord:
    return MessageRecord(
        message_id=row["message_id"],
        newsletter_id=row["newsletter_id"],
        recipient=row["address"] or None,
        sent_at=timestamp(message_stats.at(row)),
        variant=row["variant"] or None,
        tracking=schemas.ModesOut(*modes(row["flags"])),
        metadata=dict(row["metadata"]),
        rfc_message_id=row["rfc_message_id"] or None,
    )


def _event(hit: Row) -> MessageEvent:
    link = EventLink(
        id=identity.shown_id(hit["link_key"]),
        name=hit["link_name"],
        label=hit["label"],
        url=hit["url"],
        position=hit["position"],
        tags=list(hit["tags"]),
    )
    return MessageEvent(
        type=TYPE_OF[hit["kind"]],
        occurred_at=timestamp(utc(hit["at"])),
        verdict=hit["verdict"],
        reasons=list(hit["reasons"]),
        explanation=hit["explanation"],
        link=link if hit["kind"] == "click" else None,
        client=hit["client"],
        os=hit["os"],
        device=hit["device"],
        country=hit["country"],
    )


def _outcome(row: Row) -> MessageOutcome:
    return MessageOutcome(
        id=row["event_id"],
        type=row["kind"],
        permanent=bool(row["permanent"]) if row["kind"] == "bounced" else None,
        occurred_at=timestamp(utc(row["at"])),
        received_at=timestamp(utc(row["received"])),
        code=row["code"],
        text=row["text"],
        provider=row["provider"],
    )


OPERATIONS = (
    Operation(
        "POST",
        "/v1/messages/search",
        search_messages,
        takes=MessageQuery,
        gives=MessageList,
        stores=False,
    ),
    Operation("GET", "/v1/messages", find_messages, query=MessageQuery, gives=MessageList),
    Operation("GET", "/v1/messages/{message_id}", get_message, gives=MessageHistory),
)
