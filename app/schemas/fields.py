"""Fields that several requests have, with their bounds."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from app.model.email_address import RECIPIENT_PATTERN
from app.rewriting import merge_fields

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^(?!\.\.?$)[^\x00-\x1f\x7f]+$(?!\n)",
        description="ID chosen by the mailer: 1 to 200 characters, no control characters.",
    ),
]


# The setting MAX_HTML_MB is the limit in bytes; this is the largest that it may have.
Body = Annotated[str, Meta(max_length=100_000_000)]


Moment = Annotated[datetime, Meta(tz=True)]


Line = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]


Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]


Tags = Annotated[tuple[Tag, ...], Meta(max_length=50)]


MAX_METADATA = 20  # keys


MetadataKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)")]


MetadataValue = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)")]


Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    Meta(
        max_length=MAX_METADATA,
        description="The mailer's own data about the message. It is included in events.",
    ),
]


RfcMessageId = Annotated[
    str,
    Meta(
        max_length=998,
        pattern=r"^(<[^\x00-\x20\x7f<>]+>|[^\x00-\x20\x7f<>]+)$(?!\n)",
        description="Message-ID of the mail (RFC 5322, section 3.6.4), with or without < and >.",
    ),
]


ExcludedDomains = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
    Meta(
        max_length=100,
        description="Links to these domains and their subdomains are not tracked, in addition to"
        " those of the setting EXCLUDED_DOMAINS.",
    ),
]
Families = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[!-~]+$(?!\n)")], ...],
    Meta(
        max_length=50,
        description="Patterns such as /parcel/*: links that match the same one count as one link.",
    ),
]


UtmName = Annotated[str, Meta(pattern=r"^(utm_)?[A-Za-z0-9_]{1,60}$(?!\n)")]


Recipient = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        pattern=RECIPIENT_PATTERN,
        description="The recipient's email address, or the mailer's own ID of the person.",
    ),
]


class OneRecipientIn(Struct, frozen=True, forbid_unknown_fields=True):
    """One recipient, in a body, which unlike a URL is in no log and no history."""

    recipient: Recipient


MAX_UTM = 20  # parameters; there are five, and a few more of analytics programs


Utm = Annotated[dict[UtmName, Line], Meta(max_length=MAX_UTM)]


FieldName = Annotated[str, Meta(pattern=rf"^{merge_fields.NAME}$")]


FieldValue = Annotated[
    str,
    Meta(
        max_length=merge_fields.MAX_VALUE_CHARS,
        pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$",
        description="Text without control characters except tab, CR and LF.",
    ),
]


FieldValues = Annotated[
    dict[FieldName, FieldValue | None],
    Meta(
        max_length=merge_fields.MAX_VALUES,
        description="Values of the merge fields `{{ name }}` and `*|NAME|*`. null leaves a field"
        " as it is.",
    ),
]


Word = Annotated[str, Meta(max_length=50)]  # one of a list that the endpoint checks


SegmentName = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")
]


LinkId = (
    Annotated[int, Meta(ge=0, le=65_535)] | Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
)


Url = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x20\x7f]+$(?!\n)")]


Path = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x20\x7f]+$(?!\n)")]


VariantName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=50,
        pattern=r"^(?!-$)[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$(?!\n)",
        description="Name of a variant: 1 to 50 characters, no control or outer space characters.",
    ),
]
