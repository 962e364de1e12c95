"""Times in answers: RFC 3339 in UTC, with exactly three digits of a second."""

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


def timestamp(at: datetime | float) -> Timestamp:
    """Returns a time as answers contain it: an aware datetime, or seconds since 1970 UTC."""
    moment = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def timestamp_or_none(at: datetime | float | None) -> Timestamp | None:
    """Returns a time as answers contain it, and None for none."""
    return None if at is None else timestamp(at)
