"""Compares `outcomes_by_message` with the outcomes that it sums up.

Each of its values is the time at which a message was last reported to be something, so what it
lacks can be inserted like any other row, and a repeated insert changes nothing. What it has beyond
the stored outcomes is right: single outcomes expire.
"""

from app.storage.clickhouse import Row, Storage

TABLE = "outcomes_by_message"
# What the view of the migration selects, as a condition on an outcome for each column.
_KINDS = {
    "queued_ms": "kind = 'queued'",
    "sent_ms": "kind = 'sent'",
    "deferred_ms": "kind = 'deferred'",
    "rejected_ms": "kind = 'rejected'",
    "delivered_ms": "kind IN ('delivered', 'autoresponded')",
    "soft_bounced_ms": "kind = 'bounced' AND NOT permanent",
    "hard_bounced_ms": "kind = 'bounced' AND permanent",
    "complained_ms": "kind = 'complained'",
}


def _query() -> str:
    at = "toUnixTimestamp64Milli(at)"
    reported = ", ".join(f"if({kind}, {at}, 0) AS {column}" for column, kind in _KINDS.items())
    greatest = ", ".join(f"maxIf({column}, of_reports) AS {column}_of_reports" for column in _KINDS)
    later = " OR ".join(
        f"maxIf({column}, of_reports) > maxIf({column}, NOT of_reports)" for column in _KINDS
    )
    # Messages may be many: groups that are too large for memory go to the disk.
    return f"""
        SELECT workspace, newsletter, message, max(variant) AS variant_of_all, {greatest}
        FROM
        (
            SELECT workspace, newsletter, message, variant, true AS of_reports, {reported}
            FROM outcomes WHERE newsletter != 0
            UNION ALL
            SELECT workspace, newsletter, message, variant, false AS of_reports, {", ".join(_KINDS)}
            FROM {TABLE}
        )
        GROUP BY workspace, newsletter, message HAVING {later}
        LIMIT {{limit:UInt64}}
        SETTINGS max_bytes_before_external_group_by = 500000000
    """  # noqa: S608  # nosec B608


_DIFFERENCES = _query()


def differences(storage: Storage, limit: int) -> list[Row]:
    """Returns up to `limit` rows that the table lacks. Raises StorageError."""
    return [
        {
            "workspace": row["workspace"],
            "newsletter": row["newsletter"],
            "message": str(row["message"]),
            "variant": row["variant_of_all"],
            **{column: int(row[f"{column}_of_reports"]) for column in _KINDS},
        }
        for row in storage.query(_DIFFERENCES, {"limit": limit})
    ]
