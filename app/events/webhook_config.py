"""Checks which webhooks can be created, by the API, the dashboard and the webhooks file."""

import base64
import binascii
from pathlib import Path
from typing import Annotated

import msgspec

from app.events import followups
from app.events.event_filter import EventFilter
from app.events.feed import TYPES
from app.events.safe_http import RequestBlockedError, check
from app.model.errors import UNREADABLE, FieldError
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.webhooks import WebhookIn, When
from app.settings.settings import PREFIX, SettingsError

# A webhook with the last type only gets no other events.
EVENT_TYPES = (*TYPES, followups.TYPE)
VERDICTS = ("human", "machine", *HUMAN, *MACHINE)


class WebhookInFile(WebhookIn, frozen=True, kw_only=True):
    """A webhook of the file: as in the API, with a name and a secret that the operator chose."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,60}$(?!\n)")]


class _WebhooksFile(msgspec.Struct, forbid_unknown_fields=True):
    webhook: list[WebhookInFile] = []


def from_file(path: Path) -> dict[str, tuple[str, EventFilter, bool, str, When | None]]:
    """Read the webhooks of a TOML file of [[webhook]], as `Webhooks.sync_from_file` takes them.

    Raises SettingsError.
    """
    place = f"{PREFIX}WEBHOOKS_FILE: {path}"
    try:
        read = msgspec.toml.decode(path.read_bytes(), type=_WebhooksFile)
    except (OSError, *UNREADABLE) as error:
        raise SettingsError(f"{place}: {error}") from None
    by_name = {}
    for number, webhook in enumerate(read.webhook, 1):
        try:
            valid(webhook, http=True)
        except FieldError as error:
            raise SettingsError(f"{place}: webhook {number}: {error.field} {error}") from None
        if not webhook.secret:
            raise SettingsError(f"{place}: webhook {number}: secret is required")
        if webhook.name in by_name:
            raise SettingsError(f"{place}: webhook {number}: name {webhook.name!r} is used twice")
        filters = filters_of(webhook)
        by_name[webhook.name] = webhook.url, filters, webhook.first, webhook.secret, webhook.when
    return by_name


def filters_of(webhook: WebhookIn) -> EventFilter:
    """Returns the filter of a new webhook."""
    return EventFilter(**{name: getattr(webhook, name) for name in EventFilter.__struct_fields__})


def valid(webhook: WebhookIn, http: bool) -> None:
    """Check a new webhook. Raises FieldError with the field that is wrong.

    `http` accepts URLs that are not https: events contain email addresses.
    """
    try:
        if check(webhook.url).scheme != "https" and not http:
            raise FieldError("url", "must begin with https://")
    except RequestBlockedError as error:
        raise FieldError("url", str(error)) from None
    for field, allowed in (("types", EVENT_TYPES), ("verdicts", VERDICTS)):
        for value in getattr(webhook, field):
            if value not in allowed:
                raise FieldError(field, f"must be one of {', '.join(allowed)}")
    if webhook.first and webhook.when == "immediate":
        raise FieldError(
            "when", "must be settled with `first`: the first event may turn out to be a bot's"
        )
    if webhook.secret:
        try:
            key = base64.b64decode(webhook.secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not webhook.secret.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise FieldError("secret", "must be whsec_ followed by 24 to 64 bytes in base64")
