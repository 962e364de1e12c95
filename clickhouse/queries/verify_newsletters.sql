-- Newsletters with hits in a period, or messages sent in it, of all workspaces; by the stored rows and by a
-- roll-up, either of which may lack some. `hits` is how many are stored.
SELECT workspace, newsletter, toUInt64(greatest(sum(n), 0)) AS hits
FROM
(
    SELECT workspace, newsletter, sum(sign) AS n FROM hits
    WHERE at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
    GROUP BY workspace, newsletter
    UNION ALL
    SELECT DISTINCT workspace, newsletter, 0 AS n FROM hits_by_minute
    WHERE toUnixTimestamp(minute) * 1000 >= {from_ms:Int64} - 60000 AND toUnixTimestamp(minute) * 1000 < {to_ms:Int64}
    UNION ALL
    SELECT DISTINCT workspace, newsletter, 0 AS n FROM messages
    WHERE at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
    UNION ALL
    SELECT workspace, newsletter, 0 AS n FROM messages_by_newsletter
    WHERE first_at < fromUnixTimestamp64Milli({to_ms:Int64}) AND last_at >= fromUnixTimestamp64Milli({from_ms:Int64})
)
GROUP BY workspace, newsletter
ORDER BY workspace, newsletter
