-- The rows of newsletters.sql with the figures of messages that were sent in a stretch of time; newsletters that
-- sent none in it have 0 messages. first_at, last_at and last_hit are those of the whole newsletter.
WITH
    sent_in AS
    (
        SELECT newsletter, count() AS messages, {tracked}
        FROM messages
        WHERE workspace = {workspace:String}
            AND at >= fromUnixTimestamp64Milli({since_ms:Int64}) AND at < fromUnixTimestamp64Milli({until_ms:Int64})
        GROUP BY newsletter
    ),
    sent AS
    (
        SELECT newsletter, messages, first_at, last_at, opens_tracked, clicks_tracked
        FROM sent_in
        LEFT JOIN
        (
            SELECT newsletter, min(messages_by_newsletter.first_at) AS first_at, max(messages_by_newsletter.last_at) AS last_at
            FROM messages_by_newsletter
            WHERE workspace = {workspace:String}
            GROUP BY newsletter
        ) AS ever USING (newsletter)
    ),
    counted_in AS
    (
        SELECT
            newsletter,
            groupArray((kind, 0, by_people, by_machines, hit, hit_by_people, hit_by_machines, perhaps_opened)) AS counts
        FROM
        (
            SELECT
                newsletter, kind,
                sum(toInt64(human)) AS by_people,
                sum(toInt64(machine)) AS by_machines,
                countIf(human + machine > 0 AND {individual}) AS hit,
                countIf(human > 0 AND {individual}) AS hit_by_people,
                countIf(machine > 0 AND {individual}) AS hit_by_machines,
                countIf(human <= 0 AND unknowable > 0 AND {individual}) AS perhaps_opened
            FROM hits_by_message FINAL
            WHERE workspace = {workspace:String} AND newsletter IN (SELECT newsletter FROM sent_in)
                AND toInt64(bitShiftRight(toUInt128(message), 80)) >= {since_ms:Int64}
                AND toInt64(bitShiftRight(toUInt128(message), 80)) < {until_ms:Int64}
            GROUP BY newsletter, kind
        )
        GROUP BY newsletter
    ),
    stored AS
    (
        SELECT newsletter, last_at AS last_hit, counts
        FROM hits_by_newsletter FINAL
        LEFT JOIN counted_in USING (newsletter)
        WHERE workspace = {workspace:String}
    ),
    {ranking}