-- A workspace's hits in steps of whole minutes, without empty steps; `from_ms` and `to_ms` are whole
-- minutes too.
SELECT
    toStartOfInterval(minute, toIntervalSecond({step:UInt32})) AS step_at,
    kind,
    sum(hits) AS all_total,
    sumIf(hits, {people}) AS human_total,
    sumIf(hits, NOT {people}) AS machine_total
FROM hits_by_minute
WHERE workspace = {workspace:String}
    AND minute >= fromUnixTimestamp64Milli({from_ms:Int64}) AND minute < fromUnixTimestamp64Milli({to_ms:Int64})
GROUP BY step_at, kind
HAVING all_total > 0
ORDER BY step_at, kind
