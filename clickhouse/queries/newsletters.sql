-- Newsletters of a workspace with the figures of one group (`show`), sorted.
-- Rows: newsletter UInt64, id, name, subject, tags, messages, first_at and last_at of its messages,
-- opens_tracked and clicks_tracked (messages whose opens and clicks are recorded individually),
-- opened, unknowable (see newsletter_stats.sql), clicked and unsubscribes (distinct messages), opens and clicks (hits), updated_at;
-- messages_in_all, opens_tracked_in_all and so on: the sums over all matching rows, on any page.
WITH
    counts AS
    (
        SELECT
            newsletter,
            sumIf(shown, kind = 'open') AS opens,
            countIf(kind = 'open' AND shown > 0 AND {individual}) AS opened,
            countIf(kind = 'open' AND human <= 0 AND unknowable_hits > 0 AND {individual}) AS unknowable,
            sumIf(shown, kind = 'click') AS clicks,
            countIf(kind = 'click' AND shown > 0 AND {individual}) AS clicked,
            countIf(kind = 'unsubscribe' AND human + machine > 0) AS unsubscribes
        FROM
        (
            SELECT
                newsletter, kind, message, human, machine, unknowable AS unknowable_hits,
                multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) AS shown
            FROM hits_by_message FINAL
            WHERE workspace = {workspace:String}
        )
        GROUP BY newsletter
    ),
    hit AS
    (
        SELECT newsletter, max(last_at) AS last_hit
        FROM hits_by_minute
        WHERE workspace = {workspace:String}
        GROUP BY newsletter
    ),
    sent AS
    (
        SELECT
            newsletter, count() AS messages, min(at) AS first_at, max(at) AS last_at,
            {tracked}
        FROM messages
        WHERE workspace = {workspace:String}
        GROUP BY newsletter
    )
SELECT
    newsletters.newsletter AS newsletter, id, name, subject, tags, messages, first_at, last_at, opens_tracked, clicks_tracked,
    opens, opened, unknowable, clicks, clicked, unsubscribes, greatest(last_at, last_hit) AS updated_at,
    sum(messages) OVER () AS messages_in_all,
    sum(opens_tracked) OVER () AS opens_tracked_in_all,
    sum(clicks_tracked) OVER () AS clicks_tracked_in_all,
    sum(opened) OVER () AS opened_in_all,
    sum(unknowable) OVER () AS unknowable_in_all,
    sum(clicked) OVER () AS clicked_in_all,
    sum(unsubscribes) OVER () AS unsubscribes_in_all
FROM newsletters FINAL
LEFT JOIN sent USING (newsletter)
LEFT JOIN counts USING (newsletter)
LEFT JOIN hit USING (newsletter)
WHERE workspace = {workspace:String}
    AND greatest(last_at, last_hit, newsletters.at) >= fromUnixTimestamp64Milli({since_ms:Int64})
    AND ({search:String} = '' OR positionCaseInsensitiveUTF8(concat(id, '\n', name, '\n', subject), {search:String}) > 0)
    AND ({tag:String} = '' OR has(tags, {tag:String}))
ORDER BY
    if({sort:String} = 'name' AND {direction:Int8} > 0, lowerUTF8(if(name = '', id, name)), '') ASC,
    if({sort:String} = 'name' AND {direction:Int8} < 0, lowerUTF8(if(name = '', id, name)), '') DESC,
    {direction:Int8} * multiIf(
        {sort:String} = 'messages', toFloat64(messages),
        {sort:String} = 'opened', toFloat64(opened),
        {sort:String} = 'clicked', toFloat64(clicked),
        {sort:String} = 'open_rate', opened / greatest(opens_tracked, 1),
        {sort:String} = 'click_rate', clicked / greatest(clicks_tracked, 1),
        {sort:String} = 'sent', toFloat64(toUnixTimestamp64Milli(last_at)),
        0) ASC,
    last_at DESC, id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
