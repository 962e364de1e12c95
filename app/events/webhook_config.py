"""Which webhooks can be created, by the API, the dashboard and the file of webhooks."""

import base64
import binascii
from pathlib import Path
from typing import Annotated

import msgspec

from app.events import followups
from app.events.event_filter import EventFilter
from app.events.feed import TYPES
from app.events.safe_http import OutsideError, check
from app.model.errors import FieldError
from app.model.verdicts import HUMAN, MACHINE
from app.schemas.webhooks import WebhookIn
from app.settings.settings import PREFIX, SettingsError

# A webhook that asks for the last alone hears of nothing else.
EVENT_TYPES = (*TYPES, followups.TYPE)
VERDICTS = ("human", "machine", *HUMAN, *MACHINE)


class WebhookInFile(WebhookIn, frozen=True, kw_only=True):
    """A webhook of the file: as in the API, with a name, and a secret of your own making."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,60}$(?!\n)")]


class _WebhooksFile(msgspec.Struct, forbid_unknown_fields=True):
    webhook: list[WebhookInFile] = []


def from_file(path: Path) -> dict[str, tuple[str, EventFilter, bool, str]]:
    """Read what `Webhooks.sync_from_file` takes from a TOML file of [[webhook]].

    Raises SettingsError.
    """
    place = f"{PREFIX}WEBHOOKS_FILE: {path}"
    try:
        read = msgspec.toml.decode(path.read_bytes(), type=_WebhooksFile)
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f"{place}: {error}") from None
    found = {}
    for number, one in enumerate(read.webhook, 1):
        try:
            valid(one)
        except FieldError as error:
            raise SettingsError(f"{place}: webhook {number}: {error.field} {error}") from None
        if not one.secret:
            raise SettingsError(f"{place}: webhook {number}: secret is required")
        if one.name in found:
            raise SettingsError(f"{place}: webhook {number}: name {one.name!r} is used twice")
        found[one.name] = one.url, filters_of(one), one.first, one.secret
    return found


def filters_of(wanted: WebhookIn) -> EventFilter:
    """Which events a new webhook asks for."""
    return EventFilter(**{name: getattr(wanted, name) for name in EventFilter.__struct_fields__})


def valid(wanted: WebhookIn) -> None:
    """Raises FieldError with the field that is wrong."""
    try:
        check(wanted.url)
    except OutsideError as error:
        raise FieldError("url", str(error)) from None
    for field, allowed in (("types", EVENT_TYPES), ("verdicts", VERDICTS)):
        for value in getattr(wanted, field):
            if value not in allowed:
                raise FieldError(field, f"must be one of {', '.join(allowed)}")
    if wanted.secret:
        try:
            key = base64.b64decode(wanted.secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not wanted.secret.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise FieldError("secret", "must be whsec_ followed by 24 to 64 bytes in base64")
