-- The common figures of newsletters and streams with one tag, for one group (`show`).
-- Rows: tag, newsletters, messages, opens_tracked, clicks_tracked, known, arrived, opens_delivered and
-- clicks_delivered (see deliveries.part), opened, unknowable, clicked and unsubscribes (distinct messages), last_at.
WITH
{deliveries}    tagged AS
    (
        SELECT newsletter, arrayJoin(arrayDistinct(tags)) AS tag
        FROM newsletters FINAL
        WHERE workspace = {workspace:String}
    )
SELECT
    tag,
    count() AS newsletters,
    sum(messages) AS messages,
    sum(opens_tracked) AS opens_tracked,
    sum(clicks_tracked) AS clicks_tracked,
    sum(delivered.known) AS known,
    sum(delivered.arrived) AS arrived,
    sum(delivered.opens_delivered) AS opens_delivered,
    sum(delivered.clicks_delivered) AS clicks_delivered,
    sum(opened) AS opened,
    sum(unknowable) AS unknowable,
    sum(clicked) AS clicked,
    sum(unsubscribes) AS unsubscribes,
    max(last_at) AS last_at
FROM tagged
LEFT JOIN
(
    SELECT newsletter, count() AS messages, max(at) AS last_at,
        {tracked}
    FROM messages
    WHERE workspace = {workspace:String} AND at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND at < fromUnixTimestamp64Milli({until_ms:Int64})
    GROUP BY newsletter
) AS sent USING (newsletter)
LEFT JOIN
(
    SELECT
        newsletter,
        countIf(kind = 'open' AND shown > 0 AND {individual}) AS opened,
        countIf(kind = 'open' AND human <= 0 AND unknowable_hits > 0 AND {individual}) AS unknowable,
        countIf(kind = 'click' AND shown > 0 AND {individual}) AS clicked,
        countIf(kind = 'unsubscribe' AND human + machine > 0) AS unsubscribes
    FROM
    (
        SELECT
            newsletter, kind, message, human, machine, unknowable AS unknowable_hits,
            multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) AS shown
        FROM hits_by_message FINAL
        WHERE workspace = {workspace:String}
            AND newsletter IN (
                SELECT newsletter FROM messages
                WHERE workspace = {workspace:String} AND at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND at < fromUnixTimestamp64Milli({until_ms:Int64}))
            AND toInt64(bitShiftRight(toUInt128(message), 80)) >= {since_ms:Int64}
            AND toInt64(bitShiftRight(toUInt128(message), 80)) < {until_ms:Int64}
    )
    GROUP BY newsletter
) AS counts USING (newsletter)
LEFT JOIN delivered USING (newsletter)
WHERE {search:String} = '' OR positionCaseInsensitiveUTF8(tag, {search:String}) > 0
GROUP BY tag
HAVING messages > 0
ORDER BY messages DESC, tag
LIMIT {limit:UInt32}
