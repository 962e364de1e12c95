-- What happened in a workspace since a time: messages, newsletters (that sent any), and the hits of
-- people: opens, clicks, unsubscribes (by anybody).
SELECT
    (
        SELECT (count(), uniqExact(newsletter))
        FROM messages
        WHERE workspace = {workspace:String} AND at >= fromUnixTimestamp64Milli({since_ms:Int64})
    ) AS sent,
    sent.1 AS messages,
    sent.2 AS newsletters,
    sumIf(hits, kind = 'open' AND {people}) AS opens,
    sumIf(hits, kind = 'click' AND {people}) AS clicks,
    sumIf(hits, kind = 'unsubscribe') AS unsubscribes
FROM hits_by_minute
WHERE workspace = {workspace:String} AND minute >= toStartOfMinute(fromUnixTimestamp64Milli({since_ms:Int64}))
