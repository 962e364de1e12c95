"""Classifying hits again."""

from msgspec import Struct

from app.schemas.fields import (
    Moment,
)


class ReclassifyIn(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}
):
    """A period in RFC 3339. By default from the first hit to five minutes ago."""

    start: Moment | None = None
    end: Moment | None = None


class ReclassifyOut(Struct, frozen=True, omit_defaults=True):
    """One line of progress: hits checked, total hits, and changed verdicts."""

    done: int
    total: int
    changed: int
    error: str = ""
