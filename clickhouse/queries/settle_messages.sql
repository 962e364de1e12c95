-- Messages of some newsletters that were hit in a period (`from_ms` to `to_ms`), and whose hits near it
-- (`near_from_ms` to `near_to_ms`) may have other verdicts together: several clicks, or a click and a
-- scanner. Cancelled rows count too, so a few messages more are examined than need be.
SELECT message
FROM hits
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND mode != 2
    AND at >= fromUnixTimestamp64Milli({near_from_ms:Int64}) AND at < fromUnixTimestamp64Milli({near_to_ms:Int64})
GROUP BY newsletter, message
HAVING (countIf(kind = 'click') > 1 OR (countIf(kind = 'click') > 0 AND countIf(verdict = 'scanner') > 0))
    AND countIf(at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND at <= fromUnixTimestamp64Milli({to_ms:Int64})) > 0
ORDER BY message
