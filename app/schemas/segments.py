"""Segments of recipients."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

Text = Annotated[str, Meta(max_length=200)]


class Segment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that is set must hold, of people's hits. Newsletters are given by their ids.

    `newsletter`: was sent it; `opened` and `clicked`: did so in that newsletter; `not_opened` and
    `not_clicked`: was sent it and did not. `clicked_tag` (one of these topics), `clicked_link` (its
    id), `clicked_name`, `clicked_label`, `clicked_url` (a prefix), `clicked_host` (subdomains too)
    and `clicked_path` (* stands for anything) say of what link there was a click. `since` bounds
    what was done.
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
    """A recipient of a segment, with what it was sent."""

    recipient: str
    messages: int
    last_sent_at: datetime


class SavedOut(Struct, frozen=True):
    """A segment under its name."""

    name: str
    segment: Segment


class SavedList(Struct, frozen=True):
    """All that are saved."""

    segments: list[SavedOut]
