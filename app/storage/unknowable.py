"""Migrates the roll-up by message to the groups of verdicts that it has since migration 0009."""

from clickhouse_connect.driver.client import Client

_MIGRATED = (
    "SELECT count() FROM system.columns WHERE database = currentDatabase()"
    " AND table = 'hits_by_message' AND name = 'unknowable'"
)
# Two sources for each message: what was counted, and the hits that are stored. A killed insert may
# have left hits that were not counted (then more are stored), and counted hits may have expired
# (then fewer are stored): those counts stay, and only their stored unknown hits change groups.
_FILL = """
INSERT INTO hits_by_message_counted
SELECT
    workspace, newsletter, kind, message, max(its_variant),
    if(sum(stored) >= sum(counted), sum(people), greatest(sum(human) - sum(unknown), 0))
        AS by_people,
    greatest(sum(stored), sum(counted)) - by_people,
    sum(may_be_read)
FROM
(
    SELECT
        workspace, newsletter, kind, message, variant AS its_variant,
        toInt64(human) AS human, toInt64(human) + machine AS counted,
        toInt64(0) AS stored, toInt64(0) AS people, toInt64(0) AS unknown, toInt64(0) AS may_be_read
    FROM hits_by_message FINAL
    UNION ALL
    SELECT
        workspace, newsletter, kind, message, any(variant),
        toInt64(0), toInt64(0),
        sum(sign),
        sumIf(sign, verdict IN ('human', 'privacy_proxy')),
        sumIf(sign, verdict = 'unknown'),
        sumIf(sign, kind = 'open' AND verdict IN ('unknown', 'prefetch'))
    FROM hits
    GROUP BY workspace, newsletter, kind, message
)
GROUP BY workspace, newsletter, kind, message
SETTINGS max_bytes_before_external_group_by = 1000000000
"""


def count_unknowable(client: Client, on: str) -> None:
    """Fill hits_by_message_counted and exchange it for hits_by_message, once.

    A killed attempt leaves the old table, and the exchange shows that a later attempt has nothing
    to do.
    """
    if client.query(_MIGRATED).result_rows[0][0]:
        return
    for table in ("hits", "hits_by_message") if on else ():  # this replica may be behind
        client.command(f"SYSTEM SYNC REPLICA {table}")
    client.command(_FILL)
    client.command(f"EXCHANGE TABLES hits_by_message_counted AND hits_by_message{on}")
