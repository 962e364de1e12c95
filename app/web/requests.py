"""What the API's endpoints share: parts of the service, the key check, bodies and errors."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar
from urllib.parse import unquote

import msgspec
from spectree import SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from spectree.models import SecureType, SecurityScheme, SecuritySchemeData
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app import __version__, threads
from app.auth.api_keys import Key, Keys, Scope
from app.experiments.variants import VariantError
from app.model.errors import NotFoundError, explain
from app.rewriting.html_scanner import RewriteError
from app.schemas.problem import Problem
from app.web.context import WorkspaceContext
from app.web.errors import RequestError

P = ParamSpec("P")
T = TypeVar("T")
METADATA = "metadata."  # how parameters of a query begin that are a message's own data

spec = SpecTree(
    "starlette",
    model_adapter=get_msgspec_model_adapter(),
    annotations=False,
    title="Mailwake",
    version=__version__,
    description="Open and click tracking for outgoing mail.",
    page_templates={},
    validation_error_model=Problem,
    naming_strategy=lambda model: model.__name__,
    nested_naming_strategy=lambda _, child: child,
    security_schemes=[
        SecurityScheme(
            name="key",
            data=SecuritySchemeData(
                type=SecureType.HTTP,
                scheme="bearer",
                description="An API key. Each operation lists the scope that it requires.",
            ),
        )
    ],
    security={"key": ["read"]},
)
REWRITE, ADMIN = {"key": ["rewrite"]}, {"key": ["admin"]}  # what other operations need


PROBLEMS = {f"HTTP_{status}": Problem for status in (401, 403, 404, 503)}


SUBJECT_FILE = {"content-disposition": 'attachment; filename="subject.json"'}


def integer(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query. Raises RequestError."""
    text = request.query_params.get(name, str(default))
    plain = text.isascii() and text.isdigit() and len(text) <= 16
    if not plain or not least <= int(text) <= most:
        raise RequestError(422, f"must be a whole number from {least} to {most}", name)
    return int(text)


def parts_of(request: Request, workspace: str) -> WorkspaceContext:
    """A workspace's parts. Raises RequestError where it is not known, or not yet."""
    parts: Mapping[str, WorkspaceContext] = request.app.state.parts
    if workspace not in parts:
        raise RequestError(503, f"workspace {workspace!r} is not loaded yet: try again in a moment")
    return parts[workspace]


def authorized(request: Request, scope: Scope = "read") -> WorkspaceContext:
    """The parts of the workspace whose key the request carries. Raises RequestError."""
    return parts_of(request, key_of(request, scope).workspace)


def key_of(request: Request, scope: Scope) -> Key:
    """The request's key. Raises RequestError: 401 without a valid one, 403 without the scope."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    keys: Keys = request.app.state.keys
    key = keys.find(secret.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        if scheme.lower() == "bearer" and secret.strip():
            raise RequestError(401, "this API key is unknown or revoked")
        raise RequestError(401, "no API key: send `Authorization: Bearer KEY`")
    if not key.may(scope):
        raise RequestError(403, f"the API key {key.name!r} does not have the scope {scope!r}")
    return key


def newsletter_id_of(request: Request) -> str:
    """The id in the path, which holds any character percent-encoded. Raises RequestError."""
    try:
        return unquote(request.path_params["newsletter_id"], errors="strict")
    except UnicodeDecodeError:
        raise NotFoundError("newsletter_id", "the newsletter ID is not UTF-8") from None


def recipient_of(request: Request) -> str:
    """The recipient in the path, percent-encoded. Raises RequestError."""
    try:
        return unquote(request.path_params["recipient"], errors="strict")
    except UnicodeDecodeError:
        raise NotFoundError("recipient", "the recipient is not UTF-8") from None


async def body_of(request: Request, limit: int) -> bytes:
    """The whole body. Raises RequestError with 413 as soon as it passes `limit` bytes."""
    too_large = RequestError(413, f"the body must have at most {limit:,} bytes")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


async def decoded(request: Request, type_: type[T], limit: int, empty: bytes = b"") -> T:
    """The body as JSON of that type; `empty` stands for none. Raises RequestError."""
    try:
        return msgspec.json.decode(await body_of(request, limit) or empty, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(error) from None


def invalid(error: Exception) -> RequestError:
    """Of a body that is no JSON, or not of the shape that is asked for."""
    if not isinstance(error, msgspec.ValidationError):
        return RequestError(400, f"the body is not valid JSON: {error}")
    message, field = explain(error)
    return RequestError(422, message, field or "body")


async def offloaded(size: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Rewrite a mail, a large one in a thread. Raises RequestError where it cannot be read."""
    try:
        return await threads.offloaded(size, work, *args, **kwargs)
    except RewriteError as error:
        raise RequestError(422, str(error), "html") from None
    except VariantError as error:
        raise RequestError(422, str(error), "variant") from None


async def streamed(
    parts: Iterator[bytes], media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Bytes as the database gives them; what it refuses is raised before the answer begins."""
    first = await run_in_threadpool(next, parts, b"")

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for part in iterate_in_threadpool(parts):
            yield part

    return StreamingResponse(body(), 200, headers, media_type)


def json(answer: object) -> Response:
    """200 with any of the schemas."""
    return Response(msgspec.json.encode(answer), media_type="application/json")
