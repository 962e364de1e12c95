"""Operations of the API: rows of a table from which both routes and OpenAPI document follow."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.api_keys import Scope
from app.web.context import WorkspaceContext
from app.web.query import NoQuery, read_query
from app.web.requests import authorized, decoded, path_parameter

Q = TypeVar("Q")
T = TypeVar("T")
MAX_RECIPIENT_BYTES = 4_096  # of a body that is a recipient
MAX_BODY_BYTES = 16_384  # of a body that names a recipient and more
JSON, NDJSON, MAIL = "application/json", "application/x-ndjson", "message/rfc822"
EVENT_STREAM = "text/event-stream"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Content:
    """A body that is not one JSON value: it, or each line or event of it, has one of `types`."""

    def __init__(self, media_type: str, *types: Any) -> None:
        self.media_type, self.types = media_type, types or (str,)


class Area(NamedTuple):
    """Operations of one subject, as documentation and generated clients group them."""

    name: str
    description: str
    operations: "Sequence[Operation[Any]]"


@dataclass(frozen=True)
class Call(Generic[Q]):
    """A request whose key and query parameters were accepted."""

    request: Request
    api: WorkspaceContext
    query: Q

    def path(self, name: str, type_: Any = str) -> str:
        """Returns a parameter of the path. Raises NotFoundError, FieldError."""
        return path_parameter(self.request, name, type_)

    async def body(self, type_: type[T], limit: int, empty: bytes = b"") -> T:
        """Returns the body, of at most `limit` bytes. Raises RequestError."""
        return await decoded(self.request, type_, limit, empty)


class Operation(Generic[Q]):
    """One method of one path.

    `scope` is what the API key needs, `query` the Struct of the query parameters, `takes` the body
    and `gives` what is answered: types of JSON, or Contents. `problems` are statuses of errors
    that others do not have. `headers` are those of the answer, with what they contain. `stores`
    says that it needs disk space, by default if it is a POST or PUT: it is refused while only the
    reserve is free. A person's decisions, such as to erase their data, are always accepted.
    `forwards` says that another process answers large requests.
    """

    def __init__(
        self,
        method: str,
        path: str,
        endpoint: Callable[[Call[Q]], Coroutine[Any, Any, Response]],
        *,
        gives: Any,
        takes: Any = None,
        scope: Scope = "read",
        query: type[Q] = NoQuery,  # type: ignore[assignment]
        statuses: Sequence[int] = (200,),
        problems: Sequence[int] = (),
        headers: Mapping[str, str] = NO_HEADERS,
        stores: bool | None = None,
        forwards: bool = False,
    ) -> None:
        self.method, self.path, self.endpoint = method, path, endpoint
        self.scope: Scope = scope
        self.query = query
        self.takes, self.gives = _contents(takes), _contents(gives)
        self.statuses, self.own_problems = statuses, problems
        self.headers, self.forwards = headers, forwards
        self.stores = method in ("POST", "PUT") if stores is None else stores

    @property
    def name(self) -> str:
        """Returns the operation's name, which clients give to their functions."""
        return self.endpoint.__name__

    @property
    def problems(self) -> Sequence[int]:
        """Returns the statuses of errors."""
        body = {400, 413} if any(content.media_type == JSON for content in self.takes) else set()
        unknown = {404} if "{" in self.path else set()
        full = {507} if self.stores else set()
        return sorted({401, 403, 422, 429, 503, *body, *unknown, *full, *self.own_problems})

    @property
    def route(self) -> Route:
        """Returns the routes for the application's router."""
        return Route(self.path, self.answer, methods=[self.method])

    async def answer(self, request: Request) -> Response:
        """Check key and query parameters, then call the endpoint."""
        api = await authorized(request, self.scope)
        api.quota.admit()
        if self.stores:
            api.disk.check()
        if self.forwards and api.forward:
            answer = await api.forward(request, api.queries.workspace)
            if answer:
                return answer
        return await self.endpoint(Call(request, api, read_query(request.query_params, self.query)))


def _contents(bodies: Any) -> Sequence[Content]:
    """Returns the contents of one type or Content, or several."""
    several = bodies if isinstance(bodies, tuple) else () if bodies is None else (bodies,)
    return tuple(
        content if isinstance(content, Content) else Content(JSON, content) for content in several
    )
