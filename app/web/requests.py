"""What HTTP endpoints share: the key check, paths and bodies, and answers."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app import threads
from app.auth.api_keys import Key, Keys, Scope, local_key
from app.auth.workspaces import DEFAULT
from app.experiments.variants import VariantError
from app.model.errors import UNREADABLE, NotFoundError, explain, field_error
from app.rewriting.html_scanner import RewriteError
from app.web.context import WorkspaceContext
from app.web.errors import RequestError

P = ParamSpec("P")
T = TypeVar("T")
SUBJECT_FILE = {"content-disposition": 'attachment; filename="subject.json"'}
LOCAL = "local"  # in a request's state: it came by the Unix socket of DATA_DIR
WORKSPACE_HEADER = "mailwake-workspace"  # of a local request
MAX_SHOWN_CHARS = 100  # of a path parameter, in an error


def parts_of(request: Request, workspace: str) -> WorkspaceContext:
    """Returns a workspace's parts. Raises RequestError where it is not known, or not yet."""
    workspaces: Mapping[str, WorkspaceContext] = request.app.state.parts
    if workspace not in workspaces:
        raise RequestError(503, f"workspace {workspace!r} is not loaded yet: try again in a moment")
    return workspaces[workspace]


async def authorized(request: Request, scope: Scope = "read") -> WorkspaceContext:
    """Returns the parts of the workspace whose key the request carries. Raises RequestError."""
    key = await key_of(request, scope)
    return parts_of(request, key.workspace)


async def key_of(request: Request, scope: Scope) -> Key:
    """Returns the request's key. Raises RequestError: 401 if invalid, 403 without the scope.

    Commands of this machine, which reach the service by its Unix socket, need none.
    """
    if getattr(request.state, LOCAL, False):
        return local_key(request.headers.get(WORKSPACE_HEADER, DEFAULT))
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    keys: Keys = request.app.state.keys
    key = await keys.found(secret.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        if scheme.lower() == "bearer" and secret.strip():
            raise RequestError(401, "this API key is unknown or revoked")
        raise RequestError(401, "no API key: send `Authorization: Bearer KEY`")
    if not key.may(scope):
        raise RequestError(403, f"the API key {key.name!r} does not have the scope {scope!r}")
    return key


def path_parameter(request: Request, name: str, type_: Any = str) -> str:
    """Returns a parameter of the path, which holds any character percent-encoded.

    Raises NotFoundError where it is not UTF-8, FieldError where it is not of the type.
    """
    raw = request.path_params[name]
    try:
        text = unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise NotFoundError(name, f"{raw[:MAX_SHOWN_CHARS]} is not UTF-8") from None
    try:
        return str(msgspec.convert(text, type_))
    except msgspec.ValidationError as error:
        raise field_error(error, name) from None


async def body_of(request: Request, limit: int) -> bytes:
    """Returns the whole body. Raises RequestError with 413 as soon as it passes `limit` bytes."""
    too_large = RequestError(413, f"the body must have at most {limit:,} bytes")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    chunks, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        chunks.append(part)
    return b"".join(chunks)


async def decoded(request: Request, type_: type[T], limit: int, empty: bytes = b"") -> T:
    """Returns the body as JSON of that type, `empty` for none. Raises RequestError."""
    body = await body_of(request, limit) or empty
    try:
        return await threads.offloaded(len(body), msgspec.json.decode, body, type=type_)
    except UNREADABLE as error:
        raise invalid(error) from None


def invalid(error: Exception) -> RequestError:
    """Returns the error for a body that is no JSON or has the wrong shape."""
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
    chunks: Iterator[bytes], media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Stream bytes as the database gives them; its errors are raised before the response begins."""
    first = await run_in_threadpool(next, chunks, b"")

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for part in iterate_in_threadpool(chunks):
            yield part

    return StreamingResponse(body(), 200, headers, media_type)


def json(answer: object) -> Response:
    """200 with any of the schemas."""
    return Response(msgspec.json.encode(answer), media_type="application/json")
