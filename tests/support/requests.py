"""Requests for handlers that are called without a server."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import Message


def request(
    path: str = "/",
    query: str = "",
    method: str = "GET",
    body: Sequence[bytes] = (b"",),
    state: Any = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Request:
    """A request whose body arrives in these pieces; `state` is that of its application."""
    pieces = list(body)

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    class Application:
        pass

    application: Any = Application()
    application.state = state
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": ("192.0.2.7", 4711),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
        "path_params": dict(params or {}),
        "app": application,
    }
    return Request(scope, receive)
