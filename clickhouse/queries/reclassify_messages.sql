-- The next messages of a newsletter with hits in a period, and the number of these hits.
SELECT message, sum(sign) AS hits
FROM hits
WHERE workspace = {workspace:String} AND mode != 2 AND newsletter = {newsletter:UInt64} AND message > {after:UUID}
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
GROUP BY message
ORDER BY message
LIMIT {limit:UInt32}
