"""How long ClickHouse keeps what names people: TTLs of columns and rows, as the settings say.

ClickHouse empties a column, or drops rows, when it merges; within hours of the moment, then. A
verdict and its correction lie in the same month, and rows go by whole months: no row can outlive
the one that takes it back by more than the moment in which their month is dropped.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from app.settings.settings import Settings

MONTH = "toDateTime(addMonths(toStartOfMonth(at), 1))"  # the first moment after it


class Expiry(NamedTuple):
    """After how many days (0: never) a column is emptied, or without column a row is dropped."""

    table: str
    column: str
    days: int

    @property
    def statement(self) -> str:
        """The ALTER TABLE that makes it so; {on} is for a cluster."""
        what = f"MODIFY COLUMN {self.column}" if self.column else "MODIFY"
        if not self.days:
            what = what if self.column else ""
            return f"ALTER TABLE {self.table}{{on}} {what} REMOVE TTL"
        since = "toDateTime(at)" if self.column else MONTH
        return f"ALTER TABLE {self.table}{{on}} {what} TTL {since} + toIntervalDay({self.days})"


def wanted(settings: Settings) -> list[Expiry]:
    """What the settings ask for."""
    return [
        Expiry("messages", "address", settings.keep_addresses_days),
        Expiry("messages", "metadata", settings.keep_addresses_days),
        Expiry("messages", "rfc_message_id", settings.keep_addresses_days),
        Expiry("hits", "address", settings.keep_visitors_days),
        Expiry("hits", "user_agent", settings.keep_visitors_days),
        Expiry("hits", "", settings.keep_hits_days),
    ]


def apply(client: Client, settings: Settings) -> list[Expiry]:
    """Change what differs; returns it. Several processes may, they want the same."""
    cluster = settings.clickhouse_cluster
    on = f" ON CLUSTER `{cluster}`" if cluster else ""
    changed = [one for one in wanted(settings) if one not in set(found(client))]
    for one in changed:
        client.command(one.statement.format(on=on))
    return changed


def found(client: Client) -> Iterator[Expiry]:
    """What the tables have now."""
    for table in ("messages", "hits"):
        created: str = client.query(f"SHOW CREATE TABLE {table}").result_rows[0][0]
        for line in created.splitlines():
            named = re.match(r"\s+`(\w+)` ", line)
            days = re.search(r"\bTTL .*toIntervalDay\((\d+)\)", line)
            if named:
                yield Expiry(table, named[1], int(days[1]) if days else 0)
        whole = re.search(r"^TTL .*toIntervalDay\((\d+)\)", created, re.MULTILINE)
        yield Expiry(table, "", int(whole[1]) if whole else 0)
