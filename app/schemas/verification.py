"""Comparing the journal, hits, roll-ups and the feed with each other."""

from msgspec import Struct

from app.schemas.fields import Moment


class VerifyIn(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}
):
    """A period in RFC 3339, by default all of it. With `repair` what differs is repaired."""

    start: Moment | None = None
    end: Moment | None = None
    repair: bool = False


class Difference(Struct, frozen=True):
    """A difference in a table, or in the feed: how many rows or hits are missing or too many.

    `newsletter` is the key in hexadecimal, `newsletter_id` what mailers call it. `source` is the
    journal segment; empty for roll-ups, which are compared with what is stored, and `link_carried`.
    """

    table: str
    workspace: str
    newsletter: str
    missing: int
    extra: int
    repaired: bool
    source: str = ""
    newsletter_id: str = ""


class Verification(Struct, frozen=True):
    """The result of a comparison. `at` and the period are in seconds since 1970 UTC.

    `kept_from` is when the oldest journal segment that is kept was written.
    """

    at: float
    seconds: float
    start: float
    end: float
    segments: int
    hits: int
    newsletters: int
    differences: list[Difference]
    kept_from: float = 0.0

    @property
    def unrepaired(self) -> int:
        """Returns how many differences are left."""
        return sum(not difference.repaired for difference in self.differences)


def in_words(difference: Difference) -> str:
    """Returns a difference as one sentence."""
    amounts = [
        f"{n:,} {what}"
        for n, what in ((difference.missing, "missing"), (difference.extra, "too many"))
        if n
    ] or ["other groups"]
    compared = f"compared with {_compared_with(difference)}"
    newsletter = difference.newsletter_id or difference.newsletter
    return (
        f"{difference.table}, newsletter {newsletter} of workspace {difference.workspace}:"
        f" {' and '.join(amounts)} {compared},"
        f" {'repaired' if difference.repaired else 'not repaired'}"
    )


def _compared_with(difference: Difference) -> str:
    if difference.source:
        return f"journal segment {difference.source}"
    sources = {
        "link_carried": "journal segments",
        "messages_by_newsletter": "the stored messages",
        "outcomes_by_message": "the stored outcomes",
    }
    return sources.get(difference.table, "the stored hits")
