"""The JSON API under /v1, put together from what mailers and everybody else need of it."""

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.api_keys import Keys
from app.web.api import (
    admin,
    events,
    experiments,
    followups,
    messages,
    privacy,
    recipients,
    rewrite,
    stats,
    suppressions,
    webhooks,
)
from app.web.api import consent as withdrawals
from app.web.context import WorkspaceContext
from app.web.requests import spec

ROUTES = (
    *rewrite.ROUTES,
    *stats.ROUTES,
    *experiments.ROUTES,
    *admin.ROUTES,
    *events.ROUTES,
    *suppressions.ROUTES,
    *withdrawals.ROUTES,
    *webhooks.ROUTES,
    *followups.ROUTES,
    *recipients.ROUTES,
    *messages.ROUTES,
    *privacy.ROUTES,
)


def create(
    parts: Mapping[str, WorkspaceContext],
    keys: Keys,
    handlers: Mapping[type[Exception], Callable[[Request, Exception], Response]],
) -> ASGIApp:
    """Routes on the raw path: ids may hold any character, slashes too. `parts` by workspace."""
    routed = Starlette(routes=list(ROUTES), exception_handlers=dict(handlers))
    routed.router.redirect_slashes = False  # the address would be made of the Host field
    routed.state.parts, routed.state.keys = parts, keys

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
        await routed({**scope, "path": path, "root_path": ""}, receive, send)

    return raw


def openapi() -> dict[str, object]:
    """The OpenAPI 3.1 document of ROUTES."""
    spec.app = Starlette(routes=list(ROUTES))
    return dict(spec.spec)
