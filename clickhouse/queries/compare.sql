-- Opens and clicks of some newsletters by one group, in steps since each one's first message.
SELECT
    newsletter,
    intDiv(toUnixTimestamp(minute) - first_s, {step:UInt32}) AS number,
    sumIf(hits, kind = 'open') AS opens,
    sumIf(hits, kind = 'click') AS clicks
FROM hits_by_minute
INNER JOIN
(
    SELECT newsletter, toUnixTimestamp(toStartOfMinute(min(at))) AS first_s
    FROM messages
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    GROUP BY newsletter
) AS sent USING (newsletter)
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)} AND kind IN ('open', 'click')
    AND ({show:String} = 'all' OR (NOT {people}) = ({show:String} = 'machine'))
    AND toUnixTimestamp(minute) >= first_s AND toUnixTimestamp(minute) < first_s + {step:UInt32} * {steps:UInt32}
GROUP BY newsletter, number
ORDER BY newsletter, number
