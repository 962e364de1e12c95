"""The JSON API under /v1: rewriting for mailers, figures for everybody else."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

import msgspec
from spectree import Response as Responses
from spectree import SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from spectree.models import SecureType, SecurityScheme, SecuritySchemeData
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__, schemas
from app.events import now_ms
from app.outgoing import Outgoing
from app.queries import Queries, Split, Stats, utc
from app.settings import Settings

STEPS = {"minute": 60, "hour": 3600, "day": 86_400}
MAX_POINTS = 10_000
PAGE = 100
INLINE_BYTES = 65_536  # larger HTML is rewritten in a thread, so that hits need not wait for it

spec = SpecTree(
    "starlette",
    model_adapter=get_msgspec_model_adapter(),
    annotations=False,
    title="Mailwake",
    version=__version__,
    description="Open and click tracking for outgoing mail.",
    page_templates={},
    validation_error_model=schemas.Problem,
    naming_strategy=lambda model: model.__name__,
    nested_naming_strategy=lambda _, child: child,
    security_schemes=[
        SecurityScheme(
            name="key",
            data=SecuritySchemeData(
                type=SecureType.HTTP, scheme="bearer", description="One of MAILWAKE_API_KEYS."
            ),
        )
    ],
    security={"key": []},
)
_problems = {f"HTTP_{status}": schemas.Problem for status in (401, 404, 503)}


class RequestError(Exception):
    """A request that cannot be served; `field` names the part that is wrong."""

    def __init__(self, status: int, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field


@dataclass(frozen=True)
class Api:
    """ASGI app of everything under /v1; mount it where the whole path reaches it."""

    settings: Settings
    outgoing: Outgoing
    queries: Queries
    handlers: dict[type[Exception], Callable[[Request, Exception], Response]]

    def app(self) -> ASGIApp:
        """Checks the key, then routes on the raw path: ids may hold any character, slashes too."""
        routed = Starlette(routes=list(ROUTES), exception_handlers=self.handlers)
        routed.state.api = self

        async def raw(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
            await routed({**scope, "path": path, "root_path": ""}, receive, send)

        return raw


def openapi() -> dict[str, object]:
    """The OpenAPI 3.1 document of ROUTES."""
    spec.app = Starlette(routes=list(ROUTES))
    return dict(spec.spec)


def _api(request: Request) -> Api:
    """The API's parts, for a request with a valid key."""
    api: Api = request.app.state.api
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    digest = hashlib.sha256(key.strip().encode()).digest()
    known = [hashlib.sha256(known.encode()).digest() for known in api.settings.api_keys]
    if scheme.lower() != "bearer" or not any(hmac.compare_digest(digest, k) for k in known):
        raise RequestError(401, "send `Authorization: Bearer KEY` with a valid API key")
    return api


@spec.validate(
    json=schemas.RewriteIn,
    resp=Responses(
        HTTP_200=schemas.RewriteOut, HTTP_413=schemas.Problem, HTTP_422=schemas.Problem, **_problems
    ),
    skip_validation=True,
)
async def rewrite(request: Request) -> Response:
    """Rewrite one message: a pixel and signed links go in, nothing else changes."""
    api = _api(request)
    limit = int(api.settings.max_html_mb * 1_000_000)
    # JSON may need six bytes for one (\u0000), and the text part comes along.
    body = await _body(request, 7 * limit)
    try:
        wanted = msgspec.json.decode(body, type=schemas.RewriteIn)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(error) from None
    size = len(wanted.html.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise RequestError(413, f"html has {size:,} bytes, more than {limit:,}", "html")
    prepare = api.outgoing.prepare
    if size > INLINE_BYTES:
        prepared = await asyncio.to_thread(prepare, wanted)
    else:
        prepared = prepare(wanted)
    kept = api.outgoing.record(prepared)
    if kept is not None:
        await kept
    return _json(prepared.answer)


@spec.validate(resp=Responses(HTTP_200=schemas.NewsletterList, **_problems), skip_validation=True)
async def newsletters(request: Request) -> Response:
    """Newsletters and transactional streams, the latest active first (?limit=&offset=)."""
    api = _api(request)
    limit = _integer(request, "limit", PAGE, 1, 1000)
    offset = _integer(request, "offset", 0, 0, 2**31)
    rows = await asyncio.to_thread(api.queries.newsletters, limit + 1, offset)
    found = [
        _newsletter(row["id"], row["name"], row["subject"], row["tags"], row)
        for row in rows[:limit]
    ]
    following = offset + limit if len(rows) > limit else None
    return _json(schemas.NewsletterList(found, following))


@spec.validate(resp=Responses(HTTP_200=schemas.NewsletterOut, **_problems), skip_validation=True)
async def newsletter(request: Request) -> Response:
    """One newsletter."""
    api, newsletter_id = _api(request), _id(request)
    found = await asyncio.to_thread(api.queries.newsletter, newsletter_id)
    sent = await asyncio.to_thread(api.queries.sent, newsletter_id)
    return _json(_newsletter(found.id, found.name, found.subject, found.tags, sent))


@spec.validate(resp=Responses(HTTP_200=Stats, **_problems), skip_validation=True)
async def stats(request: Request) -> Response:
    """A newsletter's figures: total counts hits, unique counts distinct messages hit."""
    api = _api(request)
    return _json(await asyncio.to_thread(api.queries.stats, _id(request)))


@spec.validate(resp=Responses(HTTP_200=schemas.LinkList, **_problems), skip_validation=True)
async def links(request: Request) -> Response:
    """A newsletter's links with their clicks."""
    api, newsletter_id = _api(request), _id(request)
    found = await asyncio.to_thread(api.queries.links, newsletter_id)
    return _json(schemas.LinkList(newsletter_id, found))


@spec.validate(
    resp=Responses(HTTP_200=schemas.TimelineOut, HTTP_422=schemas.Problem, **_problems),
    skip_validation=True,
)
async def timeline(request: Request) -> Response:
    """A newsletter's hits over time: ?from=&to= (RFC 3339), step=minute|hour|day|seconds."""
    api, newsletter_id = _api(request), _id(request)
    end = _time(request, "to") or datetime.fromtimestamp(now_ms() / 1000 + 1, UTC)
    start = _time(request, "from")
    if start is None:
        sent = await asyncio.to_thread(api.queries.sent, newsletter_id)
        start = utc(sent["first_at"]) if sent["messages"] else end
    span = (end - start).total_seconds()
    if span < 0:
        raise RequestError(422, "must not be later than `to`", "from")
    step = _step(request, span)
    if span / step > MAX_POINTS:
        raise RequestError(422, f"gives more than {MAX_POINTS:,} points", "step")
    found = await asyncio.to_thread(api.queries.timeline, newsletter_id, start, end, step)
    points = [
        schemas.StepOut(point.at, _totals(point.opens), _totals(point.clicks)) for point in found
    ]
    return _json(schemas.TimelineOut(newsletter_id, start, end, step, points))


ROUTES: Sequence[Route] = (
    Route("/v1/rewrite", rewrite, methods=["POST"]),
    Route("/v1/newsletters", newsletters),
    Route("/v1/newsletters/{newsletter_id}", newsletter),
    Route("/v1/newsletters/{newsletter_id}/stats", stats),
    Route("/v1/newsletters/{newsletter_id}/links", links),
    Route("/v1/newsletters/{newsletter_id}/timeline", timeline),
)


async def _body(request: Request, limit: int) -> bytes:
    """The whole body. Raises RequestError with 413 as soon as it passes `limit` bytes."""
    too_large = RequestError(413, f"the body has more than {limit:,} bytes")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _invalid(error: Exception) -> RequestError:
    """msgspec says where: `Expected str, got int - at $.newsletter.id`."""
    message, _, path = str(error).partition(" - at `")
    if not isinstance(error, msgspec.ValidationError):
        return RequestError(400, f"the body is no valid JSON: {error}")
    return RequestError(422, message, path.rstrip("`").removeprefix("$").lstrip(".") or "body")


def _id(request: Request) -> str:
    try:
        return unquote(request.path_params["newsletter_id"], errors="strict")
    except UnicodeDecodeError:
        raise RequestError(404, "the newsletter's id is not UTF-8", "newsletter_id") from None


def _integer(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text[:12]) <= most:
        raise RequestError(422, f"must be a whole number from {least} to {most}", name)
    return int(text)


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
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 366 * 86_400:
        return int(text)
    raise RequestError(422, "must be minute, hour, day or a number of seconds", "step")


def _newsletter(
    newsletter_id: str, name: str, subject: str, tags: Sequence[str], sent: dict[str, object]
) -> schemas.NewsletterOut:
    first, last = sent["first_at"], sent["last_at"]
    some = isinstance(first, datetime) and isinstance(last, datetime) and sent["messages"]
    return schemas.NewsletterOut(
        newsletter_id,
        name,
        subject,
        list(tags),
        int(str(sent["messages"])),
        utc(first) if some and isinstance(first, datetime) else None,
        utc(last) if some and isinstance(last, datetime) else None,
    )


def _totals(split: Split) -> schemas.Totals:
    return schemas.Totals(split.all.total, split.human.total, split.machine.total)


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
