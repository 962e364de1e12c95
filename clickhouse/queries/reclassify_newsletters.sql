-- Newsletters with hits in a period, and the number of these hits.
SELECT newsletter, sum(sign) AS hits
FROM hits
WHERE workspace = {workspace:String} AND mode != 2
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
GROUP BY newsletter
HAVING hits > 0
ORDER BY newsletter
