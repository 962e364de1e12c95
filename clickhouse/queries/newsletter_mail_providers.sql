-- One newsletter's messages, or those of one variant (A/B), sent in a stretch of time, by the mail providers of
-- their recipients (`names` by `domains`, else the domain; empty if no email address is stored), the
-- most messages first. Providers after the first `limit` are the row `other`. Rows: provider, messages,
-- opens_tracked, clicks_tracked, opens_delivered and clicks_delivered, known (see deliveries.part), delivered (also those complained about), bounced, rejected and
-- complained by their present state, opened and clicked by one group (`show`).
WITH
    states AS (SELECT message, state FROM {message_states}),
    acted AS
    (
        SELECT message, max(kind = 'open') AS has_opened, max(kind = 'click') AS has_clicked
        FROM hits_by_message FINAL
        WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
            AND kind IN ('open', 'click')
            AND multiIf({show:String} = 'human', human, {show:String} = 'machine', machine, human + machine) > 0
        GROUP BY message
    ),
    counted AS
    (
        SELECT
            transform(domain, {domains:Array(String)}, {names:Array(String)}, domain) AS provider,
            count() AS all_messages,
            {tracked},
            {delivered_tracked},
            countIf(state IN ('delivered', 'complained', 'bounced', 'rejected')) AS known,
            countIf(state IN ('delivered', 'complained')) AS delivered,
            countIf(state = 'bounced') AS bounced,
            countIf(state = 'rejected') AS rejected,
            countIf(state = 'complained') AS complained,
            countIf(has_opened) AS opened,
            countIf(has_clicked) AS clicked
        FROM
        (
            SELECT message, flags, if(position(address, '@') > 0, lowerUTF8(trimBoth(arrayElement(splitByChar('@', address), -1))), '') AS domain
            FROM messages
            WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
                AND ({variant:String} = '' OR variant = toUInt8OrZero({variant:String}))
                AND at >= fromUnixTimestamp64Milli({since_ms:Int64})
                AND at < fromUnixTimestamp64Milli({until_ms:Int64})
        ) AS messages
        LEFT JOIN states USING (message)
        LEFT JOIN acted USING (message)
        GROUP BY provider
    ),
    ranked AS
    (
        SELECT *, row_number() OVER (ORDER BY all_messages DESC, provider) AS place FROM counted
    )
SELECT
    if(place <= {limit:UInt32}, ranked.provider, 'other') AS provider,
    sum(all_messages) AS messages,
    sum(ranked.opens_tracked) AS opens_tracked, sum(ranked.clicks_tracked) AS clicks_tracked,
    sum(ranked.opens_delivered) AS opens_delivered, sum(ranked.clicks_delivered) AS clicks_delivered,
    sum(ranked.known) AS known, sum(ranked.delivered) AS delivered, sum(ranked.bounced) AS bounced, sum(ranked.rejected) AS rejected,
    sum(ranked.complained) AS complained, sum(ranked.opened) AS opened, sum(ranked.clicked) AS clicked
FROM ranked
GROUP BY provider
ORDER BY min(place)
