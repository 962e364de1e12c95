"""What the API for reacting takes and gives, as msgspec types; see docs/events.md."""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from app.schemas.fields import (
    Id,
    Line,
    LinkId,
    Path,
    Tag,
    Url,
    Word,
)
from app.schemas.timestamps import Timestamp

When = Literal["settled", "immediate"]


class WebhookIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to send which events. Empty lists match everything. Events are as in GET /v1/events.

    Filters on the clicked link: `links` are IDs (or positions, as in version 0.1), `names` are
    those of data-track-name, `urls` are prefixes, `hosts` include subdomains, and * in `paths`
    matches anything. `first`: only the first event of each type per message. `when`: `settled`
    waits until the verdict is checked against the message's other hits, `immediate` does not. The
    default is `settled` with `verdicts` or `first`. `secret` is generated if omitted.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    newsletters: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()
    types: Annotated[tuple[Word, ...], Meta(max_length=50)] = ()
    verdicts: Annotated[tuple[Word, ...], Meta(max_length=50)] = ()
    links: Annotated[tuple[LinkId, ...], Meta(max_length=100)] = ()
    labels: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    tags: Annotated[tuple[Tag, ...], Meta(max_length=100)] = ()
    names: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    urls: Annotated[tuple[Url, ...], Meta(max_length=100)] = ()
    hosts: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    paths: Annotated[tuple[Path, ...], Meta(max_length=100)] = ()
    first: bool = False
    when: When | None = None
    secret: Annotated[str, Meta(max_length=200)] = ""


class WebhookOut(Struct, frozen=True):
    """A webhook. `disabled` is why nothing is sent. `secret` is returned at creation only."""

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
    when: When
    created_at: Timestamp
    failing_since: Timestamp | None
    disabled: str
    secret: str | None = None


class WebhookList(Struct, frozen=True):
    """All webhooks."""

    webhooks: list[WebhookOut]


class DeliveryOut(Struct, frozen=True):
    """One event for one webhook. `body` is the request body.

    `state` is waiting, delivered, dead (failed for good) or erased (the recipient was erased, and
    `body` is empty).
    """

    id: int
    event_id: str
    state: str
    attempts: int
    created_at: Timestamp
    next_at: Timestamp | None
    status: int | None
    error: str
    body: Raw


class DeliveryList(Struct, frozen=True):
    """Deliveries, latest first. `next_after` is null on the last page.

    `next_before` is for clients of version 0.1.
    """

    deliveries: list[DeliveryOut]
    next_after: str | None
    next_before: Annotated[int | None, Meta(extra_json_schema={"deprecated": True})]


class Replayed(Struct, frozen=True):
    """The number of failed deliveries that are retried."""

    replayed: int
