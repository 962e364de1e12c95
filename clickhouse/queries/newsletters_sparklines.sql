-- The hits of some newsletters in 24 equal slots from the first message to the last hit, by whole
-- minutes.
SELECT
    newsletter,
    least(23, intDiv(greatest(0, toUnixTimestamp(minute) - first_s) * 24, greatest(1, last_s - first_s + 1))) AS slot,
    sum(hits) AS all_total,
    sumIf(hits, NOT machine) AS human_total,
    sumIf(hits, machine) AS machine_total
FROM
(
    SELECT
        newsletter, minute, hits,
        toUnixTimestamp(max(minute) OVER (PARTITION BY newsletter)) AS last_s,
        NOT {people} AS machine
    FROM hits_by_minute
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
        AND kind IN ('open', 'click')
) AS hits
INNER JOIN
(
    SELECT newsletter, toUnixTimestamp(toStartOfMinute(min(at))) AS first_s
    FROM messages
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    GROUP BY newsletter
) AS sent USING (newsletter)
GROUP BY newsletter, slot
