"""The API for everybody else: newsletters and their figures."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.responses import Response

from app.model.numbers import read_int
from app.model.records import now_ms
from app.schemas.stats import (
    AgentList,
    LinkList,
    MailProviderList,
    NewsletterList,
    NewsletterOut,
    RatesOf,
    Split,
    StatsOut,
    StepOut,
    TimelineOut,
    Totals,
)
from app.schemas.timestamps import timestamp
from app.stats import rates
from app.stats.filters import Filters
from app.stats.periods import NamedPeriod
from app.stats.queries import Queries, utc
from app.web.api import paging
from app.web.api.operation import Call, Content, Operation
from app.web.api.paging import After
from app.web.errors import RequestError
from app.web.query import NoQuery
from app.web.requests import json
from app.web.views import report

STEPS = {"minute": 60, "hour": 3600, "day": 86_400}

MAX_POINTS = 10_000

MAX_MS = 7_258_118_400_000  # the year 2200, in milliseconds since 1970 UTC

PAGE = 100


class NewsletterPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which newsletters."""

    after: After = ""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Newsletters of one page.")] = PAGE
    offset: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31,
            description="A `next_offset`, as in version 0.1: use `after`.",
            extra_json_schema={"deprecated": True},
        ),
    ] = 0


class TimelineQuery(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}
):
    """Which hits, and how they are summed up."""

    start: (
        Annotated[
            datetime,
            Meta(
                description="Hits from this time on (RFC 3339). Default: the first message.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | None
    ) = None
    end: (
        Annotated[
            datetime,
            Meta(
                description="Hits before this time (RFC 3339). Default: now.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | None
    ) = None
    step: (
        Annotated[
            str,
            Meta(
                max_length=10,
                description="minute, hour, day or seconds. Default: depends on the time span.",
                extra_json_schema={"pattern": r"^(minute|hour|day|[1-9][0-9]{0,7})$"},
            ),
        ]
        | None
    ) = None


RatesOfQuery = Annotated[
    RatesOf,
    Meta(
        description="Messages that rates are shares of. Default: those delivered, if it is"
        f" known of at least {rates.MIN_KNOWN_SHARE:.0%} whether they were, else those sent."
    ),
]


class StatsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What rates are shares of."""

    of: RatesOfQuery | None = None


class ReportQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which messages, and what rates are shares of."""

    period: Annotated[
        NamedPeriod,
        Meta(description="Messages sent in this time until now. Today begins at 0:00 UTC."),
    ] = "all"
    of: RatesOfQuery | None = None


async def list_newsletters(call: Call[NewsletterPage]) -> Response:
    """List newsletters and transactional streams, latest active first."""
    limit, offset, after = call.query.limit, call.query.offset, call.query.after
    if after and offset:
        raise RequestError(422, "is not allowed with `after`", "offset")
    last = _place(after) if after else None
    rows = await asyncio.to_thread(call.api.queries.newsletter_page, last, limit + 1, offset)
    page = [
        _newsletter(row["id"], row["name"], row["subject"], row["tags"], row)
        for row in rows[:limit]
    ]
    if len(rows) <= limit:
        return json(NewsletterList(page, None, None))
    last_ms = int(utc(rows[limit - 1]["last_at"]).timestamp() * 1000)
    following = f"{last_ms}.{page[-1].id}"
    return json(NewsletterList(page, following, None if after else offset + limit))


async def get_newsletter(call: Call[NoQuery]) -> Response:
    """Return one newsletter."""
    api, newsletter_id = call.api, call.path("newsletter_id")
    described = await asyncio.to_thread(api.queries.newsletter, newsletter_id)
    sent = await asyncio.to_thread(api.queries.sent, newsletter_id)
    return json(_newsletter(described.id, described.name, described.subject, described.tags, sent))


async def get_newsletter_stats(call: Call[StatsQuery]) -> Response:
    """Return a newsletter's statistics. total counts hits, unique counts messages."""
    queries, newsletter_id = await _known(call)
    stats = await asyncio.to_thread(queries.stats, newsletter_id, of=call.query.of)
    return json(StatsOut.of(stats))


async def get_newsletter_links(call: Call[NoQuery]) -> Response:
    """Return a newsletter's links and their clicks."""
    queries, newsletter_id = await _known(call)
    rows = await asyncio.to_thread(queries.links, newsletter_id)
    return json(LinkList(newsletter_id, rows))


async def get_newsletter_agents(call: Call[NoQuery]) -> Response:
    """Return clients, operating systems, devices and countries of opens and clicks."""
    queries, newsletter_id = await _known(call)
    rows = await asyncio.to_thread(queries.agents, newsletter_id)
    return json(AgentList(newsletter_id, rows))


async def get_newsletter_mail_providers(call: Call[StatsQuery]) -> Response:
    """Return outcomes, opens and clicks by the mail providers of the recipients."""
    queries, newsletter_id = await _known(call)
    found = await asyncio.to_thread(queries.mail_providers, newsletter_id, of=call.query.of)
    return json(MailProviderList(newsletter_id, found.rates_of, found.providers))


async def get_newsletter_timeline(call: Call[TimelineQuery]) -> Response:
    """Return a newsletter's hits over time."""
    queries, newsletter_id = await _known(call)
    end = _utc(call.query.end) or datetime.fromtimestamp(now_ms() // 60_000 * 60 + 60, UTC)
    start = _utc(call.query.start)
    if start is None:
        sent = await asyncio.to_thread(queries.sent, newsletter_id)
        start = utc(sent["first_at"]).replace(second=0, microsecond=0) if sent["messages"] else end
    span = (end - start).total_seconds()
    if span < 0:
        raise RequestError(422, "must not be later than `to`", "from")
    step = _step(call.query.step, span)
    if span / step > MAX_POINTS:
        raise RequestError(422, f"results in more than {MAX_POINTS:,} points", "step")
    columns = await asyncio.to_thread(queries.timeline, newsletter_id, start, end, step)
    points = [
        StepOut(timestamp(point.at), _totals(point.opens), _totals(point.clicks))
        for point in columns
    ]
    return json(TimelineOut(newsletter_id, timestamp(start), timestamp(end), step, points))


async def get_newsletter_report(call: Call[ReportQuery]) -> Response:
    """Return an HTML report on the messages sent in a period."""
    queries, newsletter_id = await _known(call)
    filters = Filters(period=call.query.period, of=call.query.of or "auto")
    page = await asyncio.to_thread(report.figures, queries, newsletter_id, filters)
    return Response(report.html(page, ""), 200, report.HEADERS, "text/html; charset=utf-8")


def _place(after: str) -> tuple[int, str]:
    """Returns the time of the last message (ms) and id of a page's last newsletter."""
    number, _, newsletter_id = after.partition(".")
    last_ms = read_int(number, high=MAX_MS)
    if last_ms is None or not newsletter_id:
        raise paging.unknown()
    return last_ms, newsletter_id


async def _known(call: Call[Any]) -> tuple[Queries, str]:
    """Returns the questions and the newsletter's id. Raises NotFoundError, StorageError."""
    queries, newsletter_id = call.api.queries, call.path("newsletter_id")
    await asyncio.to_thread(queries.newsletter, newsletter_id)
    return queries, newsletter_id


def _utc(at: datetime | None) -> datetime | None:
    """Returns a time in UTC, which a time without offset is in already."""
    if at is None:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _step(text: str | None, span: float) -> int:
    """Seconds: as asked for, else whatever gives a readable number of points."""
    if text is None:
        return 60 if span <= 7200 else 3600 if span <= 14 * 86_400 else 86_400
    seconds = STEPS.get(text) or read_int(text, 1, 366 * 86_400)
    if seconds is None:
        raise RequestError(422, "must be minute, hour, day or a number of seconds", "step")
    return seconds


def _newsletter(
    newsletter_id: str, name: str, subject: str, tags: Sequence[str], sent: dict[str, object]
) -> NewsletterOut:
    first, last = sent["first_at"], sent["last_at"]
    some = isinstance(first, datetime) and isinstance(last, datetime) and sent["messages"]
    return NewsletterOut(
        id=newsletter_id,
        name=name,
        subject=subject,
        tags=list(tags),
        messages=int(str(sent["messages"])),
        first_message_at=timestamp(utc(first)) if some and isinstance(first, datetime) else None,
        last_message_at=timestamp(utc(last)) if some and isinstance(last, datetime) else None,
    )


def _totals(split: Split) -> Totals:
    return Totals(split.all.total, split.human.total, split.machine.total)


ONE = "/v1/newsletters/{newsletter_id}"
OPERATIONS = (
    Operation(
        "GET", "/v1/newsletters", list_newsletters, query=NewsletterPage, gives=NewsletterList
    ),
    Operation("GET", ONE, get_newsletter, gives=NewsletterOut),
    Operation("GET", f"{ONE}/stats", get_newsletter_stats, query=StatsQuery, gives=StatsOut),
    Operation("GET", f"{ONE}/links", get_newsletter_links, gives=LinkList),
    Operation("GET", f"{ONE}/agents", get_newsletter_agents, gives=AgentList),
    Operation(
        "GET",
        f"{ONE}/mail-providers",
        get_newsletter_mail_providers,
        query=StatsQuery,
        gives=MailProviderList,
    ),
    Operation(
        "GET", f"{ONE}/timeline", get_newsletter_timeline, query=TimelineQuery, gives=TimelineOut
    ),
    Operation(
        "GET", f"{ONE}/report", get_newsletter_report, query=ReportQuery, gives=Content("text/html")
    ),
)
