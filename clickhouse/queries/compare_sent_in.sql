-- The steps of compare.sql for messages that were sent in a stretch of time, since the first of them.
SELECT
    newsletter,
    intDiv(toUnixTimestamp(hits.at) - first_s, {step:UInt32}) AS number,
    sumIf(sign, kind = 'open') AS opens,
    sumIf(sign, kind = 'click') AS clicks
FROM hits
INNER JOIN
(
    SELECT newsletter, toUnixTimestamp(toStartOfMinute(min(messages.at))) AS first_s
    FROM messages
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
        AND messages.at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND messages.at < fromUnixTimestamp64Milli({until_ms:Int64})
    GROUP BY newsletter
) AS sent USING (newsletter)
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND kind IN ('open', 'click')
    AND ({show:String} = 'all' OR (NOT {people}) = ({show:String} = 'machine'))
    AND toInt64(bitShiftRight(toUInt128(message), 80)) >= {since_ms:Int64}
    AND toInt64(bitShiftRight(toUInt128(message), 80)) < {until_ms:Int64}
    AND toUnixTimestamp(hits.at) >= first_s AND toUnixTimestamp(hits.at) < first_s + {step:UInt32} * {steps:UInt32}
GROUP BY newsletter, number
ORDER BY newsletter, number
