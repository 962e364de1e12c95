-- One newsletter's hits per step of time, empty steps left out: at, kind, and totals by group.
SELECT
    toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS step_at,
    kind,
    count() AS all_total,
    countIf(verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human_total,
    countIf(verdict IN ('prefetch', 'scanner', 'bot')) AS machine_total
FROM events
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
GROUP BY step_at, kind
ORDER BY step_at, kind
