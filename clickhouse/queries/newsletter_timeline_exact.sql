-- The steps of newsletter_timeline.sql for filters, and for times that are not whole minutes.
SELECT
    toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS step_at,
    kind,
    sum(sign) AS all_total,
    sumIf(sign, {people}) AS human_total,
    sumIf(sign, NOT {people}) AS machine_total
FROM hits
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
    {filters}
GROUP BY step_at, kind
HAVING all_total > 0
ORDER BY step_at, kind
