-- One newsletter's hits since a time, by kind and group.
SELECT
    kind,
    sum(sign) AS all_total,
    sumIf(sign, {people}) AS human_total,
    sumIf(sign, NOT {people}) AS machine_total
FROM hits
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND at >= fromUnixTimestamp64Milli({since_ms:Int64})
GROUP BY kind
