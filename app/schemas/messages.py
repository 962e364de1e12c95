"""What the API takes and gives, as msgspec types: validation and OpenAPI come from them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from app.model.tracking_modes import Axis, Mode
from app.schemas.fields import (
    Body,
    ExcludedDomains,
    Families,
    FieldValues,
    Id,
    Line,
    Metadata,
    Recipient,
    RfcMessageId,
    Tags,
    Utm,
    VariantName,
)


class NewsletterIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The newsletter or transactional stream that a message belongs to.

    Omitted or null fields keep their previous value; "" and [] clear it. Links that match the same
    pattern of `link_families` are counted as one. With `full_urls`, URLs of links are stored
    unchanged; otherwise anything that looks like a secret is masked.
    """

    id: Id
    name: Line | None = None
    subject: Line | None = None
    tags: Tags | None = None
    link_families: Families = ()
    full_urls: bool = False
    excluded_domains: ExcludedDomains = ()


class TrackingIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What is tracked in this message, and what is stored about it (docs/privacy.md).

    true means as in the service's settings, false means off. Links in text/plain are tracked with
    `text` only. `pixel` is the place of the pixel: end of the mail, or top, after the preheader.
    `url_text` says whether to track links whose text is a URL of a host other than the redirect's.
    """

    opens: bool | Mode = True
    clicks: bool | Mode = True
    text: bool = False
    pixel: Literal["top", "end"] = "end"
    url_text: Literal["leave", "track"] = "track"


class ModesOut(Struct, frozen=True):
    """How this message is tracked. off also means that there is nothing to track."""

    opens: Mode
    clicks: Mode


class RewriteIn(Struct, frozen=True, forbid_unknown_fields=True):
    """One message to rewrite.

    With `sample` its HTML is stored for the click map: use a message without personal data.
    Without `variant` the newsletter's experiment selects one, if any (docs/experiments.md).
    """

    newsletter: NewsletterIn
    recipient: Recipient
    html: Body
    text: Body | None = None
    tracking: TrackingIn = TrackingIn()
    utm: Utm = {}
    sample: bool = False
    metadata: Metadata = {}
    rfc_message_id: RfcMessageId | None = None
    variant: VariantName | None = None
    values: FieldValues = {}


class TemplateIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A mail to compile once for many recipients. The newsletter ID is in the path.

    The response's HTML contains `placeholder` where each message's token goes. If omitted or null,
    name, subject and tags keep their previous value; "" and [] clear them.
    """

    html: Body
    text: Body | None = None
    name: Line | None = None
    subject: Line | None = None
    tags: Tags | None = None
    tracking: TrackingIn = TrackingIn()
    utm: Utm = {}
    link_families: Families = ()
    full_urls: bool = False
    excluded_domains: ExcludedDomains = ()
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
    def of(cls, request: RewriteIn | RecipientIn) -> "OwnData":
        """Returns the data of a request."""
        return cls(request.metadata, (request.rfc_message_id or "").strip("<>"))


class LinkOut(Struct, frozen=True):
    """A link of the message. `reason` is why it is not tracked."""

    index: int
    url: str
    tracked: bool
    reason: str | None
    label: str


class RewriteOut(Struct, frozen=True):
    """The rewritten message. Add `headers` to the mail that you send.

    `withdrawn` is what is not tracked because the recipient has withdrawn consent.

    Do not send the message if `suppressed` is true: the recipient has unsubscribed, bounced or
    complained, and the message is not recorded. Do not send it if `holdout` is true either: the
    newsletter's experiment is not decided yet, or excludes the recipient.
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
    """A message whose token the mailer puts into the template itself.

    Hits of the kinds in `withdrawn` are answered but not counted.
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
    """A message created from the template."""

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
    """An invalid input line, counted from 1."""

    line: int
    status: int
    error: str
    field: str = ""


class MimeReport(Struct, frozen=True):
    """What rewriting a whole message did, or would do (dry_run)."""

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
