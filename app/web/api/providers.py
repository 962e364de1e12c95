"""Takes what mail providers report, at /v1/outcomes/{provider}, as each of them sends it.

A provider that signs is believed by its signature, and its key says whose mail it is about. The
others authenticate with an API key of the scope `outcomes`: as the password of HTTP Basic, with any
user name, or as a bearer token.
"""

import base64
import binascii
import logging
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.api_keys import Keys
from app.model.errors import NotFoundError
from app.outcomes import provider_events
from app.outcomes.provider_config import SignedProvider
from app.outcomes.provider_events import PROVIDERS, NotEventsError
from app.outcomes.provider_signatures import SIGNED
from app.outcomes.sns import SnsError, SnsTopics
from app.web.api.openapi import problems
from app.web.api.operation import JSON
from app.web.context import WorkspaceContext
from app.web.errors import RequestError
from app.web.requests import MAX_SHOWN_CHARS, body_of, json, offloaded, parts_of

log = logging.getLogger(__name__)

PATH = "/v1/outcomes/{provider}"
MAX_SIGNED_BYTES = 2_000_000  # of a body that is read before it is known who has sent it
MAX_BYTES = 10_000_000
SCOPE = "outcomes"
SES = "ses"


class ProviderAnswer(Struct, frozen=True):
    """How many events of a request are stored, and how many could not be read."""

    stored: int
    unreadable: int


class ProviderReports:
    """The endpoint of all providers; `signed` are those of MAILWAKE_OUTCOMES_FILE."""

    def __init__(
        self, signed: Sequence[SignedProvider] = (), topics: SnsTopics | None = None
    ) -> None:
        self._signed, self._topics = signed, topics or SnsTopics()
        self.route = Route(PATH, self.answer, methods=["POST"])

    async def answer(self, request: Request) -> Response:
        """Check who has sent the request, then store its events."""
        provider = request.path_params["provider"]
        if provider not in PROVIDERS:
            shown = provider[:MAX_SHOWN_CHARS]
            raise NotFoundError("provider", f"{shown!r} is none of {', '.join(PROVIDERS)}")
        content: bytes | None
        if provider == SES:
            api, content = await self._from_topic(request)
        elif provider in SIGNED:
            api, content = await self._signed_request(request, provider)
        else:
            api = await _authorized(request)
            content = await body_of(request, MAX_BYTES)
        api.quota.admit()
        api.disk.check()
        if content is None:
            return json(ProviderAnswer(0, 0))
        delivery = request.headers.get("svix-id") or request.headers.get("webhook-id", "")
        try:
            found = await offloaded(len(content), provider_events.read, provider, content, delivery)
        except NotEventsError as error:
            raise RequestError(400, str(error)) from None
        records, unreadable = await offloaded(
            len(content), api.outcomes.provider_records, provider, found.events
        )
        await api.outcomes.write(records)
        unreadable += found.unreadable
        if unreadable:
            log.warning("%s: %d events could not be read", provider, unreadable)
        return json(ProviderAnswer(len(records), unreadable))

    async def _signed_request(
        self, request: Request, provider: str
    ) -> tuple[WorkspaceContext, bytes]:
        candidates = [signed for signed in self._signed if signed.name == provider]
        if not candidates:
            raise _not_configured(provider)
        body = await body_of(request, MAX_SIGNED_BYTES)
        for signed in candidates:
            if await offloaded(len(body), signed.is_right, body, request.headers):
                return parts_of(request, signed.workspace), body
        raise RequestError(401, "the signature is wrong")

    async def _from_topic(self, request: Request) -> tuple[WorkspaceContext, bytes | None]:
        workspaces = {
            topic: signed.workspace
            for signed in self._signed
            if signed.name == SES
            for topic in signed.topics
        }
        if not workspaces:
            raise _not_configured(SES)
        body = await body_of(request, MAX_SIGNED_BYTES)
        try:
            topic, message = await self._topics.accept(body, workspaces.keys())
        except SnsError as error:
            raise RequestError(401, str(error)) from None
        except NotEventsError as error:
            raise RequestError(400, str(error)) from None
        return parts_of(request, workspaces[topic]), message


def described() -> dict[str, Any]:
    """Returns the endpoint as the OpenAPI document describes it.

    It is no row of the table of operations: each provider has a body, and an access, of its own.
    """
    events = {"type": "object"}
    stored = {"type": "integer", "minimum": 0}
    event = {
        "event": "delivered",
        "email": "ann@example.com",
        "ts_event": 1764000000,
        "message-id": "<1764000000.1@shop.example>",
    }
    return {
        "summary": "Report what became of messages, in the format of a mail provider.",
        "operationId": "report_provider_events",
        "description": "For the webhooks of mail providers. Those that sign are configured in"
        " `MAILWAKE_OUTCOMES_FILE` and need no API key; others send one, also as the password of"
        " HTTP Basic. A wrong signature is answered with 401. An event that cannot be read leaves"
        " the others alone.",
        "tags": ["Outcomes"],
        "security": [{"key": [SCOPE]}, {}],
        "parameters": [
            {
                "name": "provider",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": list(PROVIDERS)},
                "description": "The mail provider.",
                "example": "brevo",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {"anyOf": [events, {"type": "array", "items": events}]},
                    "example": event,
                }
            },
        },
        "responses": {
            "200": {
                "description": "OK",
                "content": {
                    JSON: {
                        "schema": {
                            "type": "object",
                            "properties": {"stored": stored, "unreadable": stored},
                            "required": ["stored", "unreadable"],
                        },
                        "example": {"stored": 1, "unreadable": 0},
                    }
                },
            },
            **problems((400, 401, 403, 404, 413, 422, 429, 503, 507)),
        },
    }


def _not_configured(provider: str) -> RequestError:
    return RequestError(401, f"{provider} is not configured in MAILWAKE_OUTCOMES_FILE")


async def _authorized(request: Request) -> WorkspaceContext:
    """Returns the workspace of the request's API key. Raises RequestError."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    secret = value.strip()
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(secret, validate=True).decode()
        except (binascii.Error, ValueError):
            decoded = ""
        secret = decoded.partition(":")[2]
    elif scheme.lower() != "bearer":
        secret = ""
    keys: Keys = request.app.state.keys
    key = await keys.found(secret) if secret else None
    if key is None:
        raise RequestError(401, "send an API key as the password of HTTP Basic, or as a bearer")
    if not key.may(SCOPE):
        raise RequestError(403, f"the API key {key.name!r} does not have the scope {SCOPE!r}")
    return parts_of(request, key.workspace)
