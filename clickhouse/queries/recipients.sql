-- Some recipients of one newsletter (0: of all) with the messages sent to them in a stretch of time and their hits.
SELECT
    recipient,
    lowerUTF8(trimBoth(max(address))) AS person,
    count() AS messages,
    sum(open_hits) AS opens,
    sum(click_hits) AS clicks,
    countIf(open_hits > 0) AS opened,
    countIf(click_hits > 0) AS clicked,
    max(sent_at) AS last_sent
FROM
(
    SELECT address, recipient, newsletter, message, at AS sent_at
    FROM messages
    WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)} AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
        AND messages.at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND messages.at < fromUnixTimestamp64Milli({until_ms:Int64})
        AND ({search:String} = '' OR positionCaseInsensitiveUTF8(address, {search:String}) > 0)
) AS sent
LEFT JOIN
(
    SELECT
        newsletter, message,
        sumIf(shown, kind = 'open') AS open_hits,
        sumIf(shown, kind = 'click') AS click_hits
    FROM
    (
        SELECT
            newsletter, kind, message,
            multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) AS shown
        FROM hits_by_message FINAL
        WHERE workspace = {workspace:String} AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
            AND kind IN ('open', 'click')
            AND (newsletter, message) IN (
                SELECT newsletter, message
                FROM messages
                WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)} AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
            )
    )
    GROUP BY newsletter, message
) AS hit USING (newsletter, message)
GROUP BY recipient
