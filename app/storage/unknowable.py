"""Migrates the roll-up by message to the groups of verdicts that it has since migration 0009."""

from clickhouse_connect.driver.client import Client

_MIGRATED = (
    "SELECT count() FROM system.columns WHERE database = currentDatabase()"
    " AND table = 'hits_by_message' AND name = 'unknowable'"
)
_COPY = """
INSERT INTO hits_by_message_counted
SELECT workspace, newsletter, kind, message, variant, human, machine, 0 FROM hits_by_message FINAL
"""
_MOVE = """
INSERT INTO hits_by_message_counted
SELECT
    workspace, newsletter, kind, message, any(variant),
    -sumIf(sign, verdict = 'unknown'), sumIf(sign, verdict = 'unknown'), sum(sign)
FROM hits
WHERE kind = 'open' AND verdict IN ('unknown', 'prefetch')
GROUP BY workspace, newsletter, kind, message
"""


def count_unknowable(client: Client, on: str) -> None:
    """Fill hits_by_message_counted and exchange it for hits_by_message, once.

    Counts of hits that are no longer stored stay as they are. A killed attempt leaves the old
    table, and the exchange shows that a later attempt has nothing to do.
    """
    if client.query(_MIGRATED).result_rows[0][0]:
        return
    for statement in (_COPY, _MOVE):
        client.command(statement)
    client.command(f"EXCHANGE TABLES hits_by_message_counted AND hits_by_message{on}")
