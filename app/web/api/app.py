"""The JSON API under /v1, put together from what mailers and everybody else need of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.api_keys import Keys
from app.web.api import (
    admin,
    consent,
    events,
    experiments,
    followups,
    messages,
    outcomes,
    privacy,
    recipients,
    rewrite,
    stats,
    suppressions,
    webhooks,
)
from app.web.api.openapi import document
from app.web.api.operation import Operation
from app.web.api.providers import ProviderReports
from app.web.context import WorkspaceContext

OPERATIONS = tuple(
    operation
    for module in (
        rewrite,
        stats,
        experiments,
        admin,
        events,
        suppressions,
        consent,
        webhooks,
        followups,
        recipients,
        messages,
        outcomes,
        privacy,
    )
    for operation in module.OPERATIONS
)


def create(
    workspaces: Mapping[str, WorkspaceContext],
    keys: Keys,
    handlers: Mapping[type[Exception], Callable[[Request, Exception], Response]],
    operations: Iterable[Operation[Any]] = OPERATIONS,
    providers: ProviderReports | None = None,
) -> ASGIApp:
    """Returns the routes, on the raw path: ids may hold any character, slashes too."""
    routes = [operation.route for operation in operations]
    if providers:
        routes.append(providers.route)
    routed = Starlette(routes=routes, exception_handlers=dict(handlers))
    routed.router.redirect_slashes = False  # the URL would contain the Host field
    routed.state.parts, routed.state.keys = workspaces, keys

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
        await routed({**scope, "path": path, "root_path": ""}, receive, send)

    return raw


def openapi() -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of OPERATIONS."""
    return document(OPERATIONS)
