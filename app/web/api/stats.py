"""The API for everybody else: newsletters and their figures."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.model.records import now_ms
from app.schemas.problem import (
    Problem,
)
from app.schemas.stats import (
    AgentList,
    LinkList,
    NewsletterList,
    NewsletterOut,
    Split,
    Stats,
    StepOut,
    TimelineOut,
    Totals,
)
from app.stats.filters import FilterError, Filters
from app.stats.queries import Queries, utc
from app.web.errors import RequestError
from app.web.requests import (
    PROBLEMS,
    authorized,
    integer,
    json,
    newsletter_id_of,
    spec,
)
from app.web.views import report

STEPS = {"minute": 60, "hour": 3600, "day": 86_400}

MAX_POINTS = 10_000

PAGE = 100


@spec.validate(resp=Responses(HTTP_200=NewsletterList, **PROBLEMS), skip_validation=True)
async def newsletters(request: Request) -> Response:
    """List newsletters and transactional streams, latest active first (?limit=&offset=)."""
    api = authorized(request)
    limit = integer(request, "limit", PAGE, 1, 1000)
    offset = integer(request, "offset", 0, 0, 2**31)
    rows = await asyncio.to_thread(partial(api.queries.newsletters, limit=limit + 1, offset=offset))
    found = [
        _newsletter(row["id"], row["name"], row["subject"], row["tags"], row)
        for row in rows[:limit]
    ]
    following = offset + limit if len(rows) > limit else None
    return json(NewsletterList(found, following))


@spec.validate(resp=Responses(HTTP_200=NewsletterOut, **PROBLEMS), skip_validation=True)
async def newsletter(request: Request) -> Response:
    """Return one newsletter."""
    api, newsletter_id = authorized(request), newsletter_id_of(request)
    found = await asyncio.to_thread(api.queries.newsletter, newsletter_id)
    sent = await asyncio.to_thread(api.queries.sent, newsletter_id)
    return json(_newsletter(found.id, found.name, found.subject, found.tags, sent))


@spec.validate(resp=Responses(HTTP_200=Stats, **PROBLEMS), skip_validation=True)
async def stats(request: Request) -> Response:
    """Return a newsletter's statistics. total counts hits, unique counts messages."""
    queries, newsletter_id = await _known(request)
    return json(await asyncio.to_thread(queries.stats, newsletter_id))


@spec.validate(resp=Responses(HTTP_200=LinkList, **PROBLEMS), skip_validation=True)
async def links(request: Request) -> Response:
    """Return a newsletter's links and their clicks."""
    queries, newsletter_id = await _known(request)
    found = await asyncio.to_thread(queries.links, newsletter_id)
    return json(LinkList(newsletter_id, found))


@spec.validate(resp=Responses(HTTP_200=AgentList, **PROBLEMS), skip_validation=True)
async def agents(request: Request) -> Response:
    """Return clients, operating systems, devices and countries of opens and clicks."""
    queries, newsletter_id = await _known(request)
    found = await asyncio.to_thread(queries.agents, newsletter_id)
    return json(AgentList(newsletter_id, found))


@spec.validate(
    resp=Responses(HTTP_200=TimelineOut, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
)
async def timeline(request: Request) -> Response:
    """Return a newsletter's hits over time: ?from=&to= (RFC 3339), step=minute|hour|day|seconds."""
    queries, newsletter_id = await _known(request)
    end = _time(request, "to") or datetime.fromtimestamp(now_ms() // 60_000 * 60 + 60, UTC)
    start = _time(request, "from")
    if start is None:
        sent = await asyncio.to_thread(queries.sent, newsletter_id)
        start = utc(sent["first_at"]).replace(second=0, microsecond=0) if sent["messages"] else end
    span = (end - start).total_seconds()
    if span < 0:
        raise RequestError(422, "must not be later than `to`", "from")
    step = _step(request, span)
    if span / step > MAX_POINTS:
        raise RequestError(422, f"results in more than {MAX_POINTS:,} points", "step")
    found = await asyncio.to_thread(queries.timeline, newsletter_id, start, end, step)
    points = [StepOut(point.at, _totals(point.opens), _totals(point.clicks)) for point in found]
    return json(TimelineOut(newsletter_id, start, end, step, points))


@spec.validate(resp=Responses(HTTP_200=None, HTTP_422=Problem, **PROBLEMS), skip_validation=True)
async def report_of(request: Request) -> Response:
    """Return an HTML report on the messages sent in ?period=all|24h|7d|30d|90d|365d."""
    queries, newsletter_id = await _known(request)
    try:
        period = Filters.read(request.query_params).period
    except FilterError as error:
        raise RequestError(422, str(error), error.name) from None
    page = await asyncio.to_thread(report.figures, queries, newsletter_id, period)
    return Response(report.html(page, ""), 200, report.HEADERS, "text/html; charset=utf-8")


ROUTES: Sequence[Route] = (
    Route("/v1/newsletters", newsletters),
    Route("/v1/newsletters/{newsletter_id}", newsletter),
    Route("/v1/newsletters/{newsletter_id}/stats", stats),
    Route("/v1/newsletters/{newsletter_id}/links", links),
    Route("/v1/newsletters/{newsletter_id}/agents", agents),
    Route("/v1/newsletters/{newsletter_id}/timeline", timeline),
    Route("/v1/newsletters/{newsletter_id}/report", report_of),
)


async def _known(request: Request) -> tuple[Queries, str]:
    """The questions and the newsletter's id. Raises RequestError, NotFoundError, StorageError."""
    queries, newsletter_id = authorized(request).queries, newsletter_id_of(request)
    await asyncio.to_thread(queries.newsletter, newsletter_id)
    return queries, newsletter_id


def _time(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a bare + in a query is a space
    except ValueError:
        raise RequestError(422, "must be a time such as 2026-11-24T08:00:00Z", name) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if not 1970 <= at.year <= 2200:
        raise RequestError(422, "must lie between 1970 and 2200", name)
    return at.astimezone(UTC)


def _step(request: Request, span: float) -> int:
    """Seconds: as asked for, else whatever gives a readable number of points."""
    text = request.query_params.get("step")
    if text is None:
        return 60 if span <= 7200 else 3600 if span <= 14 * 86_400 else 86_400
    if text in STEPS:
        return STEPS[text]
    plain = text.isascii() and text.isdigit() and len(text) <= 9
    if plain and 1 <= int(text) <= 366 * 86_400:
        return int(text)
    raise RequestError(422, "must be minute, hour, day or a number of seconds", "step")


def _newsletter(
    newsletter_id: str, name: str, subject: str, tags: Sequence[str], sent: dict[str, object]
) -> NewsletterOut:
    first, last = sent["first_at"], sent["last_at"]
    some = isinstance(first, datetime) and isinstance(last, datetime) and sent["messages"]
    return NewsletterOut(
        newsletter_id,
        name,
        subject,
        list(tags),
        int(str(sent["messages"])),
        utc(first) if some and isinstance(first, datetime) else None,
        utc(last) if some and isinstance(last, datetime) else None,
    )


def _totals(split: Split) -> Totals:
    return Totals(split.all.total, split.human.total, split.machine.total)
