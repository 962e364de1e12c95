-- Messages of some newsletters with several hits in a period, including a click.
SELECT message
FROM hits
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND mode != 2
    AND at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at < fromUnixTimestamp64Milli({to_ms:Int64})
GROUP BY newsletter, message
HAVING sum(sign) > 1 AND countIf(kind = 'click') > 0
ORDER BY message
