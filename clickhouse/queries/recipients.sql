-- Recipients of one newsletter (0: of all) with their messages and hits, by email address or activity.
-- A page starts after the previous page's last row (keyset): after_figure, after_recipient. URLs contain the
-- recipient's key, so the email address, by which rows are sorted too, is looked up.
WITH
(
    SELECT lowerUTF8(trimBoth(max(address)))
    FROM messages
    WHERE workspace = {workspace:String} AND recipient != 0 AND recipient = {after_recipient:UInt64}
        AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
) AS last_person
SELECT
    recipient,
    lowerUTF8(trimBoth(max(address))) AS person,
    count() AS messages,
    sum(open_hits) AS opens,
    sum(click_hits) AS clicks,
    countIf(open_hits > 0) AS opened,
    countIf(click_hits > 0) AS clicked,
    max(sent_at) AS last_sent,
    multiIf({sort:String} = 'clicked', clicked, {sort:String} = 'opened', opened, toUInt64(0)) AS figure
FROM
(
    SELECT address, recipient, newsletter, message, at AS sent_at
    FROM messages
    WHERE workspace = {workspace:String} AND recipient != 0 AND ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
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
    )
    GROUP BY newsletter, message
) AS hit USING (newsletter, message)
GROUP BY recipient
HAVING figure < {after_figure:UInt64} OR (figure = {after_figure:UInt64} AND (person, recipient) > (last_person, {after_recipient:UInt64}))
ORDER BY figure DESC, person, recipient
LIMIT {limit:UInt32}
