-- For each newsletter, people's hits in 24 equal slots from its first message until now.
SELECT
    newsletter,
    least(23, intDiv(greatest(0, at_ms - first_ms) * 24, greatest(1, {now_ms:Int64} - first_ms))) AS slot,
    count() AS hits
FROM
(
    SELECT newsletter, toUnixTimestamp64Milli(at) AS at_ms
    FROM events
    WHERE workspace = {workspace:String} AND verdict NOT IN ('prefetch', 'scanner', 'bot')
        AND kind IN ('open', 'click')
) AS hits
INNER JOIN
(
    SELECT newsletter, toUnixTimestamp64Milli(min(at)) AS first_ms
    FROM messages
    WHERE workspace = {workspace:String}
    GROUP BY newsletter
) AS sent USING (newsletter)
GROUP BY newsletter, slot
