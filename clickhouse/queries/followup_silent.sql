-- Messages sent after one message and until a time, in order. `acted`: people did one of `kinds`, or
-- that is unknown, since hits of a kind have a message only if its tracking mode is full (0).
WITH page AS
(
    SELECT
        newsletter, message, recipient, address, metadata, rfc_message_id,
        toUnixTimestamp64Milli(at) AS at_ms,
        (has({kinds:Array(String)}, 'open') AND bitAnd(flags, 3) != 0)
            OR (has({kinds:Array(String)}, 'click') AND bitAnd(flags, 12) != 0) AS unseen
    FROM messages
    WHERE workspace = {workspace:String} AND recipient != 0
        AND (empty({newsletters:Array(UInt64)}) OR newsletter IN {newsletters:Array(UInt64)})
        AND at <= fromUnixTimestamp64Milli({until_ms:Int64})
        AND at >= fromUnixTimestamp64Milli({after_ms:Int64})
        AND (at_ms, message) > ({after_ms:Int64}, {after_message:UUID})
    ORDER BY at_ms, message
    LIMIT {limit:UInt64}
)
SELECT
    newsletter, toString(message) AS id, recipient, address, metadata, rfc_message_id, at_ms,
    unseen OR (newsletter, message) IN
    (
        SELECT newsletter, message
        FROM hits_by_message
        WHERE workspace = {workspace:String} AND kind IN {kinds:Array(String)}
            AND newsletter IN (SELECT newsletter FROM page) AND message IN (SELECT message FROM page)
        GROUP BY newsletter, kind, message
        HAVING sum(human) > 0
    ) AS acted
FROM page
ORDER BY at_ms, message
