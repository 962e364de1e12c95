-- Recipients by the messages they were sent and the hits of people: all filters that are set must
-- match. Rows: recipient (the email address), messages and last_sent_at. Keys of newsletters are 0 if
-- not set. `newsletter`: was sent it. With `linked` 1, one click must match everything that is set of a
-- link: `tags` (any of them) and clicked.part. `opened`, `clicked`: did so in that newsletter.
-- `not_opened`, `not_clicked`: was sent it with mode full, which would show it, and did not. `since_ms`
-- is the earliest time of hits. `bounced`: its message of that newsletter did. `not_delivered`: outcomes
-- of such messages are known, but no delivery (`newsletters` has both keys). Hits of the journal segments `unsettled` do not count yet.
WITH
    states AS (SELECT message, state FROM {message_states}),
    acted AS
    (
        SELECT recipient, newsletter, kind, followed
        FROM
        (
            SELECT
                recipient, newsletter, kind, sign,
                kind = 'click' AND {linked:UInt8} = 1
                AND (empty({tags:Array(String)})
                    OR (newsletter, hits.link_key, hits.detail) IN (
                        SELECT newsletter, link_key, detail FROM newsletter_links FINAL
                        WHERE workspace = {workspace:String} AND hasAny(tags, {tags:Array(String)})
                    )
                    OR (hits.detail = 0 AND (newsletter, hits.link_key) IN (
                        SELECT newsletter, link_key FROM newsletter_links FINAL
                        WHERE workspace = {workspace:String} AND hasAny(tags, {tags:Array(String)})
                    )))
                {clicked} AS followed
            FROM hits
            WHERE workspace = {workspace:String} AND {people}
                AND segment NOT IN {unsettled:Array(UUID)}
                AND kind IN ('open', 'click') AND at >= fromUnixTimestamp64Milli({since_ms:Int64})
                AND (newsletter IN ({opened:UInt64}, {clicked:UInt64}, {not_opened:UInt64}, {not_clicked:UInt64})
                    OR followed)
        )
        GROUP BY recipient, newsletter, kind, followed
        HAVING sum(sign) > 0
    )
SELECT
    if({neutral:UInt8} = 1 AND match(argMax(address, at), '^[=+\\-@\\t\\r\\n＝＋－＠]'), concat('''', argMax(address, at)), argMax(address, at)) AS recipient,
    count() AS messages,
    concat(replaceOne(toString(max(at), 'UTC'), ' ', 'T'), 'Z') AS last_sent_at
FROM
(
    SELECT recipient AS person, newsletter, address, at
    FROM messages
    WHERE workspace = {workspace:String} AND recipient != 0 AND address != ''
)
WHERE ({newsletter:UInt64} = 0 OR newsletter = {newsletter:UInt64})
    AND ({linked:UInt8} = 0 OR person IN (SELECT recipient FROM acted WHERE followed))
    AND ({opened:UInt64} = 0 OR person IN (
        SELECT recipient FROM acted WHERE kind = 'open' AND newsletter = {opened:UInt64}
    ))
    AND ({clicked:UInt64} = 0 OR person IN (
        SELECT recipient FROM acted WHERE kind = 'click' AND newsletter = {clicked:UInt64}
    ))
    AND ({not_opened:UInt64} = 0 OR (
        person IN (
            SELECT recipient FROM messages
            WHERE workspace = {workspace:String} AND newsletter = {not_opened:UInt64}
                AND bitAnd(flags, 3) = 0
        )
        AND person NOT IN (
            SELECT recipient FROM acted WHERE kind = 'open' AND newsletter = {not_opened:UInt64}
        )
    ))
    AND ({not_clicked:UInt64} = 0 OR (
        person IN (
            SELECT recipient FROM messages
            WHERE workspace = {workspace:String} AND newsletter = {not_clicked:UInt64}
                AND bitAnd(flags, 12) = 0
        )
        AND person NOT IN (
            SELECT recipient FROM acted WHERE kind = 'click' AND newsletter = {not_clicked:UInt64}
        )
    ))
    AND ({bounced:UInt64} = 0 OR person IN (
        SELECT recipient FROM messages
        WHERE workspace = {workspace:String} AND newsletter = {bounced:UInt64}
            AND message IN (SELECT message FROM states WHERE state = 'bounced')
    ))
    AND ({not_delivered:UInt64} = 0 OR (
        person IN (
            SELECT recipient FROM messages
            WHERE workspace = {workspace:String} AND newsletter = {not_delivered:UInt64}
                AND message IN (SELECT message FROM states)
        )
        AND person NOT IN (
            SELECT recipient FROM messages
            WHERE workspace = {workspace:String} AND newsletter = {not_delivered:UInt64}
                AND message IN (SELECT message FROM states WHERE state IN ('delivered', 'complained'))
        )
    ))
GROUP BY person
ORDER BY recipient
LIMIT {limit:UInt64}
