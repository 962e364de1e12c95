"""What the API for reacting takes and gives, as msgspec types; see docs/events.md."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Raw, Struct

from app.schemas.fields import (
    Id,
    Line,
    LinkId,
    Path,
    Tag,
    Url,
)


class WebhookIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to send which events; empty lists ask for all. Events stand in GET /v1/events.

    Of the link that was clicked: `links` are ids (or places, as in version 0.1), `names` are those
    of data-track-name, `urls` prefixes, `hosts` cover their subdomains, and in `paths` a * stands
    for anything. `first`: of a message, only the first event of each type. `secret` is generated
    when left out.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    newsletters: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()
    types: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    links: Annotated[tuple[LinkId, ...], Meta(max_length=100)] = ()
    labels: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    tags: Annotated[tuple[Tag, ...], Meta(max_length=100)] = ()
    names: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    urls: Annotated[tuple[Url, ...], Meta(max_length=100)] = ()
    hosts: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    paths: Annotated[tuple[Path, ...], Meta(max_length=100)] = ()
    first: bool = False
    secret: Annotated[str, Meta(max_length=200)] = ""


class WebhookOut(Struct, frozen=True):
    """A webhook. `disabled` says why nothing is sent; `secret` is told at creation only."""

    id: str
    url: str
    newsletters: tuple[str, ...]
    types: tuple[str, ...]
    verdicts: tuple[str, ...]
    links: tuple[int | str, ...]
    labels: tuple[str, ...]
    tags: tuple[str, ...]
    names: tuple[str, ...]
    urls: tuple[str, ...]
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    first: bool
    created_at: datetime
    failing_since: datetime | None
    disabled: str
    secret: str | None = None


class WebhookList(Struct, frozen=True):
    """All of them."""

    webhooks: list[WebhookOut]


class DeliveryOut(Struct, frozen=True):
    """One event for one webhook; `body` is what is sent.

    `state` is waiting, delivered, dead or erased, as the recipient was: then `body` says nothing.
    """

    id: int
    event_id: str
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    status: int | None
    error: str
    body: Raw


class DeliveryList(Struct, frozen=True):
    """The latest first; `next_before` is null at the end."""

    deliveries: list[DeliveryOut]
    next_before: int | None


class Replayed(Struct, frozen=True):
    """How many dead letters are sent again."""

    replayed: int
