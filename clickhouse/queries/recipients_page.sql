-- The recipients of one page of recipients.sql, without their hits.
-- A page starts after the previous page's last row (keyset): after_figure, after_recipient. URLs contain the
-- recipient's key, so the email address, by which rows are sorted too, is looked up. `kinds` has the kind of
-- hits whose messages are counted and sorted by, if any.
WITH
    hit_messages AS
    (
        SELECT newsletter, message
        FROM hits_by_message FINAL
        WHERE workspace = {workspace:String} AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
            AND kind IN {kinds:Array(String)}
            AND multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) > 0
    ),
(
    SELECT lowerUTF8(trimBoth(max(address)))
    FROM messages
    WHERE workspace = {workspace:String} AND recipient != 0 AND recipient = {after_recipient:UInt64}
        AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
        AND messages.at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND messages.at < fromUnixTimestamp64Milli({until_ms:Int64})
) AS last_person
SELECT
    recipient,
    lowerUTF8(trimBoth(max(address))) AS person,
    countIf((newsletter, message) IN hit_messages) AS figure
FROM messages
WHERE workspace = {workspace:String} AND recipient != 0 AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
    AND messages.at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND messages.at < fromUnixTimestamp64Milli({until_ms:Int64})
    AND ({search:String} = '' OR positionCaseInsensitiveUTF8(address, {search:String}) > 0)
GROUP BY recipient
HAVING figure < {after_figure:UInt64} OR (figure = {after_figure:UInt64} AND (person, recipient) > (last_person, {after_recipient:UInt64}))
ORDER BY figure DESC, person, recipient
LIMIT {limit:UInt32}
