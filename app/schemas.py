"""What the API takes and gives, as msgspec types: validation and OpenAPI come from them."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Raw, Struct

from app.queries import Agents, LinkStats

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^(?!\.\.?$)[^\x00-\x1f\x7f]+$",
        description="The mailer's own name: 1 to 200 characters, no control characters.",
    ),
]
Moment = Annotated[datetime, Meta(tz=True)]
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


Recipient = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        description="Whom it goes to: an address or the mailer's own id of the person.",
    ),
]
Utm = dict[UtmName, Line]


class RewriteIn(Struct, frozen=True, forbid_unknown_fields=True):
    """One message to rewrite.

    With `sample` its HTML is kept for the newsletter's click map: only mark one that names nobody.
    """

    newsletter: NewsletterIn
    recipient: Recipient
    html: str
    text: str | None = None
    tracking: TrackingIn = TrackingIn()
    utm: Utm = {}
    sample: bool = False


class TemplateIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A mail to compile once for many recipients; the newsletter's id stands in the path.

    `placeholder` is what the answer's HTML carries where each message's token goes.
    """

    html: str
    text: str | None = None
    name: Line = ""
    subject: Line = ""
    tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    tracking: TrackingIn = TrackingIn()
    utm: Utm = {}
    placeholder: Annotated[str, Meta(max_length=200, pattern=r"^[!-~ ]*$")] = ""


class RecipientIn(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a stream of recipients."""

    recipient: Recipient


class LinkOut(Struct, frozen=True):
    """A link of the message; `reason` says why it is not tracked."""

    index: int
    url: str
    tracked: bool
    reason: str | None
    label: str


class RewriteOut(Struct, frozen=True):
    """The rewritten message. `headers` are offered: add them to the mail.

    Do not send it when `suppressed` is true: the recipient has unsubscribed, and the message is not
    in the ledger.
    """

    message_id: str
    newsletter_id: str
    html: str
    text: str | None
    links: list[LinkOut]
    headers: dict[str, str]
    notes: list[str] = []
    suppressed: bool = False


class TemplateOut(Struct, frozen=True):
    """A template that is kept. `html` and `text` carry the placeholder, if one was given."""

    newsletter_id: str
    links: list[LinkOut]
    notes: list[str]
    html: str | None = None
    text: str | None = None


class TokenOut(Struct, frozen=True):
    """A message whose mailer puts the token into the template itself."""

    message_id: str
    recipient: str
    token: str
    headers: dict[str, str]
    suppressed: bool = False


class MessageOut(Struct, frozen=True):
    """A message made from the template."""

    message_id: str
    recipient: str
    html: str
    text: str | None
    headers: dict[str, str]
    suppressed: bool = False


class LineError(Struct, frozen=True, omit_defaults=True):
    """A line, counted from 1, that made no message."""

    line: int
    status: int
    error: str
    field: str = ""


class MimeReport(Struct, frozen=True):
    """What rewriting a whole message did, or with dry_run would do."""

    message_id: str
    newsletter_id: str
    links: list[LinkOut]
    notes: list[str]
    headers: dict[str, str]
    suppressed: bool = False


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


class AgentList(Struct, frozen=True):
    """Hits by what they came with."""

    newsletter_id: str
    agents: Agents


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


class ReclassifyIn(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}
):
    """A stretch of time, RFC 3339: from the first hit, to five minutes ago, where left out."""

    start: Moment | None = None
    end: Moment | None = None


class ReclassifyOut(Struct, frozen=True, omit_defaults=True):
    """One line of progress: hits looked at, of how many, and verdicts that have changed."""

    done: int
    total: int
    changed: int
    error: str = ""


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


class WebhookIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to send which events; empty lists ask for all. Events stand in GET /v1/events.

    `first`: of a message, only the first event of each type. `secret` is generated when left out.
    """

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    newsletters: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()
    types: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    links: Annotated[tuple[int, ...], Meta(max_length=100)] = ()
    labels: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    tags: Annotated[tuple[Tag, ...], Meta(max_length=100)] = ()
    first: bool = False
    secret: Annotated[str, Meta(max_length=200)] = ""


class WebhookOut(Struct, frozen=True):
    """A webhook. `disabled` says why nothing is sent; `secret` is told at creation only."""

    id: str
    url: str
    newsletters: tuple[str, ...]
    types: tuple[str, ...]
    verdicts: tuple[str, ...]
    links: tuple[int, ...]
    labels: tuple[str, ...]
    tags: tuple[str, ...]
    first: bool
    created_at: datetime
    failing_since: datetime | None
    disabled: str
    secret: str | None = None


class WebhookList(Struct, frozen=True):
    """All of them."""

    webhooks: list[WebhookOut]


class DeliveryOut(Struct, frozen=True):
    """One event for one webhook. `state` is waiting, delivered or dead; `body` is what is sent."""

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


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 says; `field` names what was wrong."""

    title: str
    status: int
    detail: str = ""
    field: str = ""
    type: str = "about:blank"
