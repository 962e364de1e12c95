"""What the API takes and gives, as msgspec types: validation and OpenAPI come from them."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from app.experiments.experiments import Comparison, Outcome, Plan, VariantFigures
from app.experiments.variants import VariantName
from app.model.tracking_modes import Axis, Mode
from app.rewriting import merge_fields
from app.stats.queries import Agents, LinkStats

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^(?!\.\.?$)[^\x00-\x1f\x7f]+$(?!\n)",
        description="The mailer's own name: 1 to 200 characters, no control characters.",
    ),
]
Moment = Annotated[datetime, Meta(tz=True)]
Line = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=50)]
MOST_METADATA = 20  # keys
MetadataKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)")]
MetadataValue = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)")]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    Meta(
        max_length=MOST_METADATA,
        description="The mailer's own data of the message: it comes with events.",
    ),
]
RfcMessageId = Annotated[
    str,
    Meta(
        max_length=998,
        pattern=r"^(<[^\x00-\x20\x7f<>]+>|[^\x00-\x20\x7f<>]+)$(?!\n)",
        description="The mail's Message-ID (RFC 5322, section 3.6.4), with or without < and >.",
    ),
]


Families = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[!-~]+$(?!\n)")], ...],
    Meta(
        max_length=50,
        description="Patterns such as /parcel/* for links that differ by recipient: one link each.",
    ),
]


class NewsletterIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The newsletter or transactional stream that a message belongs to.

    What is left out, or null, stays as it was stated last; "" and [] clear it. Links that fit the
    same pattern of `link_families` are counted as one. With `full_urls` the URLs of links are kept
    as they are; otherwise what looks like a secret in them is masked.
    """

    id: Id
    name: Line | None = None
    subject: Line | None = None
    tags: Tags | None = None
    link_families: Families = ()
    full_urls: bool = False


class TrackingIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What is tracked in this message, and how much is kept of it (docs/privacy.md).

    true is what the service's settings say, false is off; text/plain links only when asked for.
    `pixel` is where the pixel goes: the end of the mail, or its top, after the preheader.
    `url_text` is what happens to links whose text is a URL of another host than the redirect's.
    """

    opens: bool | Mode = True
    clicks: bool | Mode = True
    text: bool = False
    pixel: Literal["top", "end"] = "end"
    url_text: Literal["leave", "track"] = "track"


class ModesOut(Struct, frozen=True):
    """How this message is tracked; off also where there is nothing to track."""

    opens: Mode
    clicks: Mode


UtmName = Annotated[str, Meta(pattern=r"^(utm_)?[A-Za-z0-9_]{1,60}$(?!\n)")]


Recipient = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$(?!\n)",
        description="Whom it goes to: an address or the mailer's own id of the person.",
    ),
]
Utm = dict[UtmName, Line]
FieldName = Annotated[str, Meta(pattern=rf"^{merge_fields.NAME}$")]
FieldValue = Annotated[
    str,
    Meta(
        max_length=merge_fields.MAX_VALUE_CHARS,
        pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$",
        description="Text without control characters but tab, CR and LF.",
    ),
]
FieldValues = Annotated[
    dict[FieldName, FieldValue | None],
    Meta(
        max_length=merge_fields.MAX_VALUES,
        description="Values of the merge fields `{{ name }}` and `*|NAME|*`; null leaves one as it"
        " is.",
    ),
]


class RewriteIn(Struct, frozen=True, forbid_unknown_fields=True):
    """One message to rewrite.

    With `sample` its HTML is kept for the newsletter's click map: only mark one that names nobody.
    Without `variant` the newsletter's experiment decides, if it has one (docs/experiments.md).
    """

    newsletter: NewsletterIn
    recipient: Recipient
    html: str
    text: str | None = None
    tracking: TrackingIn = TrackingIn()
    utm: Utm = {}
    sample: bool = False
    metadata: Metadata = {}
    rfc_message_id: RfcMessageId | None = None
    variant: VariantName | None = None
    values: FieldValues = {}


class TemplateIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A mail to compile once for many recipients; the newsletter's id stands in the path.

    `placeholder` is what the answer's HTML carries where each message's token goes. Name, subject
    and tags that are left out, or null, stay as they were stated last; "" and [] clear them.
    """

    html: str
    text: str | None = None
    name: Line | None = None
    subject: Line | None = None
    tags: Tags | None = None
    tracking: TrackingIn = TrackingIn()
    utm: Utm = {}
    link_families: Families = ()
    full_urls: bool = False
    placeholder: Annotated[str, Meta(max_length=200, pattern=r"^[!-~ ]*$(?!\n)")] = ""


class RecipientIn(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a stream of recipients."""

    recipient: Recipient
    metadata: Metadata = {}
    rfc_message_id: RfcMessageId | None = None
    variant: VariantName | None = None
    values: FieldValues = {}


class OwnData(NamedTuple):
    """What the mailer knows a message by; < and > are no part of a Message-ID."""

    metadata: Mapping[str, str] = MappingProxyType({})
    rfc_message_id: str = ""

    @classmethod
    def of(cls, wanted: RewriteIn | RecipientIn) -> "OwnData":
        """As a request gives it."""
        return cls(wanted.metadata, (wanted.rfc_message_id or "").strip("<>"))


class LinkOut(Struct, frozen=True):
    """A link of the message; `reason` says why it is not tracked."""

    index: int
    url: str
    tracked: bool
    reason: str | None
    label: str


class RewriteOut(Struct, frozen=True):
    """The rewritten message. `headers` are offered: add them to the mail.

    `withdrawn` is what is off because the recipient has withdrawn consent.

    Do not send it when `suppressed` is true: the recipient has unsubscribed, and the message is not
    in the ledger. Nor when `holdout` is: the newsletter's experiment is not decided yet, or keeps
    the recipient out.
    """

    message_id: str
    newsletter_id: str
    html: str
    text: str | None
    links: list[LinkOut]
    headers: dict[str, str]
    notes: list[str] = []
    suppressed: bool = False
    tracking: ModesOut = ModesOut("full", "full")
    withdrawn: tuple[Axis, ...] = ()
    variant: VariantName | None = None
    holdout: bool = False


class TemplateOut(Struct, frozen=True):
    """A template that is kept. `html` and `text` carry the placeholder, if one was given.

    `fields` are the merge fields that each message's `values` fill.
    """

    newsletter_id: str
    links: list[LinkOut]
    notes: list[str]
    html: str | None = None
    text: str | None = None
    variant: VariantName | None = None
    fields: list[str] = []


class TokenOut(Struct, frozen=True):
    """A message whose mailer puts the token into the template itself.

    Hits on what `withdrawn` names are answered and not counted.
    """

    message_id: str
    recipient: str
    token: str
    headers: dict[str, str]
    suppressed: bool = False
    tracking: ModesOut = ModesOut("full", "full")
    withdrawn: tuple[Axis, ...] = ()
    variant: VariantName | None = None
    holdout: bool = False


class MessageOut(Struct, frozen=True):
    """A message made from the template."""

    message_id: str
    recipient: str
    html: str
    text: str | None
    headers: dict[str, str]
    suppressed: bool = False
    tracking: ModesOut = ModesOut("full", "full")
    withdrawn: tuple[Axis, ...] = ()
    variant: VariantName | None = None
    holdout: bool = False


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
    tracking: ModesOut = ModesOut("full", "full")
    withdrawn: tuple[Axis, ...] = ()
    variant: VariantName | None = None
    holdout: bool = False


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


def explain(error: Exception) -> tuple[str, str]:
    """What msgspec says, and the field: `Expected ... - at $.newsletter.id` or `key in $.utm`."""
    message, _, path = str(error).partition(" - at `")
    return message, path.removeprefix("key` in `").rstrip("`").removeprefix("$").lstrip(".")


class AssignmentsIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Recipients to be split."""

    recipients: Annotated[list[Recipient], Meta(max_length=10_000)]


class AssignmentOut(Struct, frozen=True):
    """What a recipient gets; send nothing yet where `holdout` is true."""

    recipient: str
    variant: str | None
    holdout: bool


class AssignmentList(Struct, frozen=True):
    """In the order in which the recipients were given."""

    assignments: list[AssignmentOut]


ExperimentState = Literal["running", "full", "decided"]


class ExperimentOut(Struct, frozen=True):
    """A newsletter's experiment; figures are of messages sent since `started_at`.

    `state` is running, full (the sample has its size, hits still come) or decided. The figures of a
    decided one are those that decided. `outcome` is null before.
    """

    id: str
    newsletter_id: str
    state: ExperimentState
    started_at: datetime
    decided_at: datetime | None
    decide_by: datetime | None
    plan: Plan
    variants: list[VariantFigures]
    comparisons: list[Comparison]
    split_chance: float
    outcome: Outcome | None


class Problem(Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 says; `field` names what was wrong."""

    title: str
    status: int
    detail: str = ""
    field: str = ""
    type: str = "about:blank"
