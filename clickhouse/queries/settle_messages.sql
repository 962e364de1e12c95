-- Messages of some newsletters that had more than one hit in a stretch of time, a click among them.
SELECT message
FROM hits
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND mode != 2
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
GROUP BY newsletter, message
HAVING sum(sign) > 1 AND countIf(kind = 'click') > 0
ORDER BY message
