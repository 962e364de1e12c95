"""Classifying hits again."""

from msgspec import Struct

from app.schemas.fields import (
    Moment,
)


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
