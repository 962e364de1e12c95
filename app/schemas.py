"""What the API takes and gives, as msgspec types: validation and OpenAPI come from them."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from app.queries import LinkStats

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^(?!\.\.?$)[^\x00-\x1f\x7f]+$",
        description="The mailer's own name: 1 to 200 characters, no control characters.",
    ),
]
Line = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class NewsletterIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The newsletter or transactional stream that a message belongs to."""

    id: Id
    name: Line = ""
    subject: Line = ""
    tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()


class TrackingIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What is tracked in this message; text/plain links only when asked for."""

    opens: bool = True
    clicks: bool = True
    text: bool = False


UtmName = Annotated[str, Meta(pattern=r"^(utm_)?[A-Za-z0-9_]{1,60}$")]


class RewriteIn(Struct, frozen=True, forbid_unknown_fields=True):
    """One message to rewrite."""

    newsletter: NewsletterIn
    recipient: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=512,
            pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
            description="Whom it goes to: an address or the mailer's own id of the person.",
        ),
    ]
    html: str
    text: str | None = None
    tracking: TrackingIn = TrackingIn()
    utm: dict[UtmName, Line] = {}


class LinkOut(Struct, frozen=True):
    """A link of the message; `reason` says why it is not tracked."""

    index: int
    url: str
    tracked: bool
    reason: str | None
    label: str


class RewriteOut(Struct, frozen=True):
    """The rewritten message. `headers` are offered: add them to the mail."""

    message_id: str
    newsletter_id: str
    html: str
    text: str | None
    links: list[LinkOut]
    headers: dict[str, str]
    notes: list[str] = []


class NewsletterOut(Struct, frozen=True):
    """A newsletter as its mailer named it last. Times are RFC 3339 in UTC."""

    id: str
    name: str
    subject: str
    tags: list[str]
    messages: int
    first_message_at: datetime | None
    last_message_at: datetime | None


class NewsletterList(Struct, frozen=True):
    """Newsletters, the latest active first; `next_offset` is null at the end."""

    newsletters: list[NewsletterOut]
    next_offset: int | None


class LinkList(Struct, frozen=True):
    """The newsletter's links, most human clicks first."""

    newsletter_id: str
    links: list[LinkStats]


class Totals(Struct, frozen=True):
    """Hits of one step of time."""

    all: int
    human: int
    machine: int


class StepOut(Struct, frozen=True):
    """One step of a timeline, from `at` on."""

    at: datetime
    opens: Totals
    clicks: Totals


class TimelineOut(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """A timeline without its empty steps; `step` is in seconds."""

    newsletter_id: str
    start: datetime
    end: datetime
    step: int
    points: list[StepOut]


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 says; `field` names what was wrong."""

    title: str
    status: int
    detail: str = ""
    field: str = ""
    type: str = "about:blank"
