"""What the API for reacting takes and gives, as msgspec types; see docs/acting.md."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from app.model.tracking_modes import AXES, Axis
from app.schemas.messages import Id, Line, Recipient, Tag
from app.stats.segments import Segment


class SuppressionIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom not to mail: for one newsletter, or for all where `newsletter_id` is left out."""

    recipient: Recipient
    newsletter_id: Id | None = None


class SuppressedOut(Struct, frozen=True):
    """Whether the newsletter (null: every newsletter) must not go to the recipient."""

    recipient: str
    newsletter_id: str | None
    suppressed: bool


class SuppressionOut(Struct, frozen=True):
    """An entry of the list; `recipient` is null where no message tells the address.

    `reason` is unsubscribed or api; `all_newsletters` where it holds for every one.
    """

    id: int
    recipient: str | None
    newsletter_id: str | None
    all_newsletters: bool
    reason: str
    at: datetime


class SuppressionList(Struct, frozen=True):
    """Entries; `next_after` is null at the end."""

    suppressions: list[SuppressionOut]
    next_after: int | None


class ErasureIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to erase."""

    recipient: Recipient


class ErasureOut(Struct, frozen=True):
    """How far an erasure has got, and how much was taken, by kind.

    `state`: waiting (ClickHouse is away, or the journal is still being loaded), rewritten (what is
    counted is nobody's), cleaned (so is all else, but ClickHouse still keeps files that it has
    replaced), done (no byte is left).
    """

    id: int
    state: str
    at: datetime
    counts: dict[str, int]


class SubjectOut(Struct, frozen=True):
    """All that is held about a recipient; `recipient_key` is the pseudonym in hits and tokens."""

    workspace: str
    recipient: str
    recipient_key: str
    exported_at: datetime
    erased_at: datetime | None
    messages: list[dict[str, Any]]
    hits: list[dict[str, Any]]
    followups: list[dict[str, Any]]
    suppressions: list[dict[str, Any]]
    withdrawals: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]


class ConsentIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose consent: for one newsletter, or for all where `newsletter_id` is left out."""

    recipient: Recipient
    axes: tuple[Axis, ...] = AXES
    newsletter_id: Id | None = None


class WithdrawalOut(Struct, frozen=True):
    """What is not counted any more; `newsletter_id` is null where no newsletter is known by it."""

    axis: Axis
    newsletter_id: str | None
    all_newsletters: bool
    at: datetime


class ConsentOut(Struct, frozen=True):
    """All that a recipient has withdrawn from."""

    recipient: str
    withdrawn: list[WithdrawalOut]


class Counted(Struct, frozen=True):
    """How often."""

    name: str
    hits: int


class RecipientOut(Struct, frozen=True):
    """A recipient: the latest 200 messages, those opened and clicked, and what is preferred.

    `topics` and `sites` are of the links that were clicked, `hours` of the day in UTC.
    """

    recipient: str
    messages: int
    opened: int
    clicked: int
    last_seen_at: datetime | None
    topics: list[Counted]
    sites: list[Counted]
    clients: list[Counted]
    hours: list[Counted]
    suppressed_everywhere: bool
    suppressed_for: list[str]


class SegmentLine(Struct, frozen=True):
    """A recipient of a segment, with what it was sent."""

    recipient: str
    messages: int
    last_sent_at: datetime


SegmentName = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")
]


class SavedOut(Struct, frozen=True):
    """A segment under its name."""

    name: str
    segment: Segment


class SavedList(Struct, frozen=True):
    """All that are saved."""

    segments: list[SavedOut]


LinkId = (
    Annotated[int, Meta(ge=0, le=65_535)] | Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
)
Url = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x20\x7f]+$(?!\n)")]
Path = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x20\x7f]+$(?!\n)")]


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


class FollowUpIn(Struct, frozen=True, forbid_unknown_fields=True):
    """When to post to a webhook, once for each recipient; empty lists ask for all.

    `after_hours` is needed for not_opened and not_clicked. What is asked of links goes with
    clicked.
    """

    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
    webhook_id: Annotated[str, Meta(min_length=1, max_length=200)]
    when: Literal["clicked", "not_opened", "not_clicked"]
    after_hours: Annotated[float, Meta(ge=0, le=720)] = 0
    newsletters: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()
    links: Annotated[tuple[LinkId, ...], Meta(max_length=100)] = ()
    labels: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    tags: Annotated[tuple[Tag, ...], Meta(max_length=100)] = ()
    names: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    urls: Annotated[tuple[Url, ...], Meta(max_length=100)] = ()
    hosts: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    paths: Annotated[tuple[Path, ...], Meta(max_length=100)] = ()


class FollowUpOut(Struct, frozen=True):
    """A follow-up; `made` counts recipients it was for so far."""

    id: str
    name: str
    webhook_id: str
    when: str
    after_hours: float
    newsletters: tuple[str, ...]
    links: tuple[int | str, ...]
    labels: tuple[str, ...]
    tags: tuple[str, ...]
    names: tuple[str, ...]
    urls: tuple[str, ...]
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    created_at: datetime
    made: int


class FollowUpList(Struct, frozen=True):
    """All of them."""

    followups: list[FollowUpOut]
