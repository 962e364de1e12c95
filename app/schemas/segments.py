"""Segments of recipients."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

Text = Annotated[str, Meta(max_length=200)]


class Segment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Recipients who match all fields, by hits of people. Newsletters are named by their ID.

    `newsletter`: was sent this newsletter. `opened`, `clicked`: opened or clicked it.
    `not_opened`, `not_clicked`: was sent it but did not. `clicked_tag` (one of these topics),
    `clicked_link` (ID), `clicked_name`, `clicked_label`, `clicked_url` (prefix), `clicked_host`
    (and subdomains) and `clicked_path` (* matches anything): clicked such a link. `since`: counts
    only opens and clicks since then.
    """

    newsletter: Text = ""
    clicked_tag: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()
    opened: Text = ""
    clicked: Text = ""
    not_opened: Text = ""
    not_clicked: Text = ""
    clicked_link: Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?$(?!\n)")] = ""
    clicked_name: Text = ""
    clicked_label: Text = ""
    clicked_url: Annotated[str, Meta(max_length=2000)] = ""
    clicked_host: Text = ""
    clicked_path: Annotated[str, Meta(max_length=500)] = ""
    since: Annotated[datetime, Meta(tz=True)] | None = None


class SegmentLine(Struct, frozen=True):
    """A recipient of a segment, with the number of messages sent."""

    recipient: str
    messages: int
    last_sent_at: datetime


class SavedOut(Struct, frozen=True):
    """A saved segment."""

    name: str
    segment: Segment


class SavedList(Struct, frozen=True):
    """All saved segments."""

    segments: list[SavedOut]
