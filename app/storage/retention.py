"""Sets how long ClickHouse keeps personal data: TTLs of columns and rows, from the settings.

ClickHouse empties columns and drops rows when it merges parts, so within hours of the set time. A
verdict and its correction are in the same month, and rows expire by whole months: a row outlives
the one that cancels it only while their month is being dropped.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from app.clock import CLOCK, POLL_SECONDS
from app.settings.settings import Settings
from app.storage.clickhouse import Storage

# The column whose months are a table's partitions: the time of an outcome is its reporter's word.
TIMES = {"messages": "at", "hits": "at", "outcomes": "received"}


class Expiry(NamedTuple):
    """After how many days (0: never) a column is emptied or, without a column, rows are dropped."""

    table: str
    column: str
    days: int

    @property
    def statement(self) -> str:
        """Returns the ALTER TABLE statement; {on} is replaced by ON CLUSTER or nothing."""
        clause = f"MODIFY COLUMN {self.column}" if self.column else "MODIFY"
        if not self.days:
            clause = clause if self.column else ""
            return f"ALTER TABLE {self.table}{{on}} {clause} REMOVE TTL"
        time = TIMES[self.table]
        month_end = f"toDateTime(addMonths(toStartOfMonth({time}), 1))"
        since = f"toDateTime({time})" if self.column else month_end
        return f"ALTER TABLE {self.table}{{on}} {clause} TTL {since} + toIntervalDay({self.days})"


def configured(settings: Settings) -> list[Expiry]:
    """Returns the TTLs that the settings ask for."""
    return [
        Expiry("messages", "address", settings.keep_addresses_days),
        Expiry("messages", "metadata", settings.keep_addresses_days),
        Expiry("messages", "rfc_message_id", settings.keep_addresses_days),
        Expiry("hits", "address", settings.keep_visitors_days),
        Expiry("hits", "user_agent", settings.keep_visitors_days),
        Expiry("hits", "", settings.keep_hits_days),
        Expiry("outcomes", "text", settings.keep_addresses_days),
        Expiry("outcomes", "event_id", settings.keep_addresses_days),
        Expiry("outcomes", "rfc_message_id", settings.keep_addresses_days),
        Expiry("outcomes", "", settings.keep_hits_days),
    ]


async def follow_clock(storage: Storage) -> None:
    """Let the embedded engine expire nothing while the clock is doubtful, until cancelled.

    A server goes by its own clock.
    """
    stopped = False
    while storage.embedded:
        await asyncio.sleep(POLL_SECONDS)
        doubtful = CLOCK.doubtful  # which may change while the engine is asked
        if (doubtful or stopped) and not storage.starting:
            # Again and again: the engine may have begun again meanwhile, and expires by default.
            await asyncio.to_thread(storage.let_expire, not doubtful)
            stopped = doubtful


def apply(client: Client, settings: Settings) -> list[Expiry]:
    """Change the TTLs that differ from the settings; returns them.

    Several processes may do so at once: they set the same values.
    """
    cluster = settings.clickhouse_cluster
    on = f" ON CLUSTER `{cluster}`" if cluster else ""
    existing = set(current(client))
    changed = [expiry for expiry in configured(settings) if expiry not in existing]
    for expiry in changed:
        client.command(expiry.statement.format(on=on))
    return changed


def current(client: Client) -> Iterator[Expiry]:
    """Yields the TTLs that the tables have now."""
    for table in TIMES:
        created: str = client.query(f"SHOW CREATE TABLE {table}").result_rows[0][0]
        for line in created.splitlines():
            named = re.match(r"\s+`(\w+)` ", line)
            days = re.search(r"\bTTL .*toIntervalDay\((\d+)\)", line)
            if named:
                yield Expiry(table, named[1], int(days[1]) if days else 0)
        whole = re.search(r"^TTL .*toIntervalDay\((\d+)\)", created, re.MULTILINE)
        yield Expiry(table, "", int(whole[1]) if whole else 0)
