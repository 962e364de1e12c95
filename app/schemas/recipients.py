"""What is known of a recipient."""

from datetime import datetime

from msgspec import Struct


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
