"""Compares how many messages carried each link with what journal segments contained.

The table has sums by hour, and no key by which a row of one journal segment could be found. But the
register keeps the segments of more than a day: the sums of their rows are what the hours that they
cover must have.
"""

import time
from collections import Counter
from typing import NamedTuple

import msgspec

from app.storage.clickhouse import Row, Storage
from app.storage.segment_register import SegmentRegister
from app.storage.sql import sql

TABLE = "link_carried"
HOUR_SECONDS = 3600
# The lines of a journal segment are of the hour in which it was begun, or of the next ones: it may
# stay open for as long as ClickHouse is unavailable.
OPEN_SECONDS = 2 * HOUR_SECONDS
PAGE = 200  # journal segments read at once


class CarriedLink(NamedTuple):
    """What a sum is of; `hour` is the hour's beginning, in seconds since 1970 UTC."""

    workspace: str
    newsletter: int
    link_key: int
    variant: int
    hour: int


def differences(storage: Storage, register: SegmentRegister) -> dict[CarriedLink, int]:
    """Returns what each sum lacks; what it has too much is negative. Raises StorageError.

    On a server other hosts may have added to a sum: what is too much there is left out.
    """
    now = int(time.time())
    first = -int(-(register.complete_since() + OPEN_SECONDS) // HOUR_SECONDS) * HOUR_SECONDS
    if first > now:
        return {}
    stored = {
        _key(row): int(row["total"])
        for row in storage.query(sql("verify_carried"), {"from": first, "to": now})
    }
    kept = _kept(register, first, now)
    newsletters = {one[:2] for one in kept}  # of others nothing is known
    known = {*kept, *(one for one in stored if one[:2] in newsletters)}
    lacking = {one: kept[one] - stored.get(one, 0) for one in known}
    return {one: n for one, n in lacking.items() if n > 0 or (n < 0 and storage.embedded)}


def _kept(register: SegmentRegister, first: int, last: int) -> Counter[CarriedLink]:
    """Returns the sums of the rows that journal segments contained."""
    sums: Counter[CarriedLink] = Counter()
    after = ""
    while page := register.within(0, last + OPEN_SECONDS, after, PAGE):
        after = page[-1].id
        for segment in page:
            if segment.lines == segment.hits:
                continue
            for line in register.rows(segment.id).get(TABLE, b"").splitlines():
                row = msgspec.json.decode(line)
                if first <= row["hour"] <= last:
                    sums[CarriedLink(*(row[name] for name in CarriedLink._fields))] += row[
                        "carried"
                    ]
    return sums


def _key(row: Row) -> CarriedLink:
    return CarriedLink(*(row[name] for name in CarriedLink._fields))
