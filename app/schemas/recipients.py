"""What is known of a recipient."""

from msgspec import Struct

from app.schemas.timestamps import Timestamp


class Counted(Struct, frozen=True):
    """A name and its number of hits."""

    name: str
    hits: int


class RecipientOut(Struct, frozen=True):
    """A recipient: activity and preferences, from the latest 200 messages.

    `topics` and `sites` are those of the clicked links; `hours` are hours of the day in UTC.
    """

    recipient: str
    messages: int
    opened: int
    clicked: int
    last_seen_at: Timestamp | None
    topics: list[Counted]
    sites: list[Counted]
    clients: list[Counted]
    hours: list[Counted]
    suppressed_everywhere: bool
    suppressed_for: list[str]
