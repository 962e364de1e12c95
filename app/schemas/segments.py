"""Segments of recipients."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from app.schemas.timestamps import Timestamp, timestamp_or_none


class SegmentBase(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """The fields of a segment without its time."""

    newsletter: Annotated[str, Meta(max_length=200, description="Were sent this newsletter.")] = ""
    clicked_tag: Annotated[
        tuple[Annotated[str, Meta(max_length=200)], ...],
        Meta(max_length=20, description="Clicked a link with one of these tags."),
    ] = ()
    opened: Annotated[str, Meta(max_length=200, description="Opened this newsletter.")] = ""
    clicked: Annotated[str, Meta(max_length=200, description="Clicked in this newsletter.")] = ""
    not_opened: Annotated[
        str, Meta(max_length=200, description="Were sent this newsletter but did not open it.")
    ] = ""
    not_clicked: Annotated[
        str, Meta(max_length=200, description="Were sent this newsletter but did not click.")
    ] = ""
    bounced: Annotated[
        str, Meta(max_length=200, description="Were sent this newsletter and it bounced.")
    ] = ""
    not_delivered: Annotated[
        str,
        Meta(
            max_length=200,
            description="Were sent this newsletter, and outcomes of it are known but no delivery.",
        ),
    ] = ""
    clicked_link: Annotated[
        str, Meta(pattern=r"^([0-9a-f]{16})?$(?!\n)", description="Clicked the link with this ID.")
    ] = ""
    clicked_name: Annotated[
        str, Meta(max_length=200, description="Clicked a link with this name.")
    ] = ""
    clicked_label: Annotated[
        str, Meta(max_length=200, description="Clicked a link with this label.")
    ] = ""
    clicked_url: Annotated[
        str, Meta(max_length=2000, description="Clicked a link whose URL begins with this.")
    ] = ""
    clicked_host: Annotated[
        str, Meta(max_length=200, description="Clicked a link to this host or a subdomain.")
    ] = ""
    clicked_path: Annotated[
        str, Meta(max_length=500, description="Clicked a link with this path; * matches anything.")
    ] = ""


class Segment(SegmentBase, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Recipients who match all fields, by hits of people and outcomes of messages.

    Newsletters are named by their ID.
    """

    since: (
        Annotated[
            datetime, Meta(tz=True, description="Counts only opens and clicks since this time.")
        ]
        | None
    ) = None


class SegmentOut(SegmentBase, frozen=True, forbid_unknown_fields=False, omit_defaults=True):
    """A segment as it was saved; `since` is in UTC."""

    since: Timestamp | None = None

    @classmethod
    def of(cls, segment: Segment) -> "SegmentOut":
        """Returns a segment as answers contain it."""
        fields = msgspec.structs.asdict(segment)
        return cls(**{**fields, "since": timestamp_or_none(segment.since)})


class SegmentLine(Struct, frozen=True):
    """A recipient of a segment, with the number of messages sent."""

    recipient: str
    messages: int
    last_sent_at: Timestamp


class SavedOut(Struct, frozen=True):
    """A saved segment."""

    name: str
    segment: SegmentOut


class SavedList(Struct, frozen=True):
    """All saved segments."""

    segments: list[SavedOut]
