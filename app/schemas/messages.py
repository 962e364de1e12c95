"""What the API takes and gives, as msgspec types: validation and OpenAPI come from them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from app.model.tracking_modes import Axis, Mode
from app.schemas.fields import (
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
