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
    providers,
    recipients,
    rewrite,
    stats,
    suppressions,
    webhooks,
)
from app.web.api.openapi import document
from app.web.api.operation import Area, Operation
from app.web.api.providers import ProviderReports
from app.web.context import WorkspaceContext

AREAS = (
    Area(
        "Rewriting",
        "Add pixel and signed links to mail before it is sent.",
        rewrite.OPERATIONS,
    ),
    Area(
        "Newsletters",
        "Newsletters and transactional streams with their statistics.",
        stats.OPERATIONS,
    ),
    Area("Messages", "Single messages and their events.", messages.OPERATIONS),
    Area(
        "Recipients",
        "What one recipient did and prefers, and segments of many.",
        recipients.OPERATIONS,
    ),
    Area("Events", "Opens, clicks and unsubscribes as they happen.", events.OPERATIONS),
    Area("Webhooks", "Events sent to your own servers.", webhooks.OPERATIONS),
    Area(
        "Follow-ups",
        "Webhook events once a recipient clicks, or does not react in time.",
        followups.OPERATIONS,
    ),
    Area("Experiments", "A/B tests with a decision.", experiments.OPERATIONS),
    Area("Suppressions", "Recipients who must not be mailed.", suppressions.OPERATIONS),
    Area(
        "Outcomes",
        "What became of messages: delivered, bounced, complained.",
        outcomes.OPERATIONS,
    ),
    Area("Consent", "Consent to tracking, withdrawn and restored.", consent.OPERATIONS),
    Area(
        "Privacy",
        "Export and erasure of all data about a person.",
        privacy.OPERATIONS,
    ),
    Area("Administration", "Maintenance of stored data.", admin.OPERATIONS),
)
OPERATIONS = tuple(operation for area in AREAS for operation in area.operations)


def create(
    workspaces: Mapping[str, WorkspaceContext],
    keys: Keys,
    handlers: Mapping[type[Exception], Callable[[Request, Exception], Response]],
    operations: Iterable[Operation[Any]] = OPERATIONS,
    provider_reports: ProviderReports | None = None,
) -> ASGIApp:
    """Returns the routes, on the raw path: ids may hold any character, slashes too."""
    routes = [operation.route for operation in operations]
    if provider_reports:
        routes.append(provider_reports.route)
    routed = Starlette(routes=routes, exception_handlers=dict(handlers))
    routed.router.redirect_slashes = False  # the URL would contain the Host field
    routed.state.parts, routed.state.keys = workspaces, keys

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
        await routed({**scope, "path": path, "root_path": ""}, receive, send)

    return raw


def openapi(url: str = "https://click.example.com") -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of AREAS for the service at a URL."""
    return document(AREAS, url, {"Outcomes": {providers.PATH: {"post": providers.described()}}})
