"""The API of messages: found by what their mailer knows them by, each with what came of it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
from app.schemas.problem import (
    Problem,
)
from app.stats import messages as ledger
from app.stats.messages import Place, Search
from app.stats.queries import utc
from app.storage.clickhouse import Row
from app.web.requests import METADATA, PROBLEMS, RequestError, authorized, integer, json, spec

PAGE, MOST = 100, 1_000
NAMES = ("newsletter_id", "recipient", "message_id", "rfc_message_id")
PAGING = ("limit", "after")


class MessageRecord(Struct, frozen=True):
    """A recorded message.

    `recipient` and `rfc_message_id` are null and `metadata` is empty if the message is not
    tracked by person, if its retention time is over, or if the person was erased.
    """

    message_id: str
    newsletter_id: str
    recipient: str | None
    sent_at: datetime
    variant: str | None
    tracking: schemas.ModesOut
    metadata: dict[str, str]
    rfc_message_id: str | None


class MessageList(Struct, frozen=True):
    """Messages, latest first. `next_after` is null on the last page."""

    messages: list[MessageRecord]
    next_after: str | None


class MessageEvent(Struct, frozen=True):
    """An event of a message, with its latest verdict. `link` is set for clicks only."""

    type: str
    occurred_at: datetime
    verdict: str
    reasons: list[str]
    link: EventLink | None
    client: str
    os: str
    device: str
    country: str


class MessageHistory(Struct, frozen=True):
    """A message and its latest 1,000 events, earliest first."""

    message: MessageRecord
    events: list[MessageEvent]


@spec.validate(
    resp=Responses(HTTP_200=MessageList, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def messages(request: Request) -> Response:
    """Find messages, latest first. They must match all parameters.

    ?metadata.KEY= (repeatable with other keys), ?message_id= (ours or the Message-ID of RFC 5322),
    ?rfc_message_id=, ?recipient=, ?newsletter_id=; one of them is required. ?limit= (1 to 1,000),
    ?after= (a `next_after`, for the next page).
    """
    api = authorized(request)
    wanted = _search(request, api.settings.recipient_key, api.queries.workspace)
    limit = integer(request, "limit", PAGE, 1, MOST)
    after = (
        ledger.place(request.query_params["after"]) if "after" in request.query_params else Place()
    )
    if after is None:
        raise RequestError(422, "must be a `next_after` returned by this service", "after")
    rows = await asyncio.to_thread(ledger.search, api.queries, wanted, limit + 1, after)
    shown = rows[:limit]
    following = None
    if len(rows) > limit:
        last = shown[-1]
        following = str(Place(last["at_ms"], ledger.identity(last["message_id"]) or after.message))
    return json(MessageList([_record(row) for row in shown], following))


@spec.validate(resp=Responses(HTTP_200=MessageHistory, **PROBLEMS), skip_validation=True)
async def message(request: Request) -> Response:
    """Return one message and its events, by people and by bots."""
    api = authorized(request)
    message_id = unquote(request.path_params["message_id"])
    row, hits = await asyncio.to_thread(ledger.message, api.queries, message_id)
    return json(MessageHistory(_record(row), [_event(hit) for hit in hits]))


ROUTES: Sequence[Route] = (
    Route("/v1/messages", messages),
    Route("/v1/messages/{message_id}", message),
)


def _search(request: Request, secret: str, workspace: str) -> Search:
    """Raises RequestError."""
    query = request.query_params
    metadata: dict[str, str] = {}
    for name, value in query.multi_items():
        if name.startswith(METADATA):
            key = name.removeprefix(METADATA)
            if metadata.setdefault(key, value) != value:
                raise RequestError(422, "must not be repeated", name[:100])
        elif name not in NAMES + PAGING:
            raise RequestError(422, "is not a known parameter", name[:100])
    for key, value in metadata.items():
        _valid({key: value}, Metadata, f"{METADATA}{key}"[:100])
    _valid(metadata, Metadata, "metadata")
    given = {name: query[name] for name in NAMES if name in query}
    for name, type_ in (("newsletter_id", Id), ("recipient", Recipient)):
        if name in given:
            _valid(given[name], type_, name)
    ours = ledger.identity(given.get("message_id", ""))
    theirs = [
        (name, given[name])
        for name in ("message_id", "rfc_message_id")
        if name in given and (name == "rfc_message_id" or not ours)
    ]
    for name, value in theirs:
        _valid(value, RfcMessageId, name)
    if len({value.strip("<>") for _, value in theirs}) > 1:
        raise RequestError(422, "differs from `message_id`", "rfc_message_id")
    if not given and not metadata:
        raise RequestError(422, f"one of {', '.join(NAMES)}, metadata.KEY is required", "query")
    recipient = given.get("recipient")
    return Search(
        given.get("newsletter_id", ""),
        None if recipient is None else recipient_key(secret, workspace, recipient),
        ours,
        theirs[0][1].strip("<>") if theirs else "",
        metadata,
    )


def _valid(value: object, type_: object, field: str) -> None:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise RequestError(422, str(error).partition(" - at ")[0], field) from None


def _record(row: Row) -> MessageRecord:
    return MessageRecord(
        row["message_id"],
        row["newsletter_id"],
        row["address"] or None,
        ledger.at(row),
        row["variant"] or None,
        schemas.ModesOut(*modes(row["flags"])),
        dict(row["metadata"]),
        row["rfc_message_id"] or None,
    )


def _event(hit: Row) -> MessageEvent:
    link = EventLink(
        identity.shown_id(hit["link_key"]),
        hit["link_name"],
        hit["label"],
        hit["url"],
        hit["position"],
        list(hit["tags"]),
    )
    return MessageEvent(
        TYPE_OF[hit["kind"]],
        utc(hit["at"]),
        hit["verdict"],
        list(hit["reasons"]),
        link if hit["kind"] == "click" else None,
        hit["client"],
        hit["os"],
        hit["device"],
        hit["country"],
    )
