-- The slots of newsletters_sparklines.sql by milliseconds, for newsletters that are so young that
-- minutes would be too coarse.
SELECT
    newsletter,
    least(23, intDiv(greatest(0, at_ms - first_ms) * 24, greatest(1, last_ms - first_ms))) AS slot,
    sum(sign) AS all_total,
    sumIf(sign, NOT machine) AS human_total,
    sumIf(sign, machine) AS machine_total
FROM
(
    SELECT
        newsletter, sign,
        toUnixTimestamp64Milli(at) AS at_ms,
        max(at_ms) OVER (PARTITION BY newsletter) AS last_ms,
        NOT {people} AS machine
    FROM hits
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
        AND kind IN ('open', 'click')
) AS hits
INNER JOIN
(
    SELECT newsletter, toUnixTimestamp64Milli(min(first_at)) AS first_ms
    FROM messages_by_newsletter
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    GROUP BY newsletter
) AS sent USING (newsletter)
GROUP BY newsletter, slot
