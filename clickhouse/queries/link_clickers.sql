-- People who clicked, the latest first: links of one newsletter that filters select, or those with a URL in any
-- newsletter (`exact_url`). Clicks count that came from `from_ms` to before `to_ms`. A page starts after the previous
-- page's last row (keyset: after_ms, after_person). People whose clicks are not recorded individually are counted by
-- message.
-- Rows: person, recipient (0 if unknown), its email address, clicks, first_at, last_at, newsletter_id, newsletter_name and message of
-- the last click, link_name, label and url of what it followed, people (from this page on).
WITH people AS
(
    SELECT
        toString(if(recipient = 0, toUInt128(clicked_message), toUInt128(recipient))) AS person, recipient,
        count() AS clicks, min(clicked_at) AS first_at, max(clicked_at) AS last_at,
        argMax(clicked_newsletter, clicked_at) AS newsletter, argMax(clicked_message, clicked_at) AS message,
        argMax(clicked_name, clicked_at) AS link_name, argMax(clicked_label, clicked_at) AS label,
        argMax(clicked_url, clicked_at) AS url,
        count() OVER () AS people
    FROM
    (
        SELECT
            newsletter AS clicked_newsletter, message AS clicked_message, recipient, hits.at AS clicked_at,
            if(hits.url != '', hits.url, links.url) AS clicked_url, name AS clicked_name, label AS clicked_label
        FROM hits FINAL
        {linked}WHERE workspace = {workspace:String} AND kind = 'click'
            AND (empty({newsletters:Array(UInt64)}) OR newsletter IN {newsletters:Array(UInt64)})
            AND ({show:String} = 'all' OR (NOT {people}) = ({show:String} = 'machine'))
            AND hits.at >= fromUnixTimestamp64Milli({from_ms:Int64}) AND hits.at < fromUnixTimestamp64Milli({to_ms:Int64})
            AND ({exact_url:String} = '' OR hits.url = {exact_url:String} OR (hits.url = '' AND (newsletter, hits.link_key) IN (
                SELECT newsletter, link_key FROM newsletter_links
                WHERE workspace = {workspace:String} AND newsletter_links.url = {exact_url:String})))
            {filters}
    )
    GROUP BY person, recipient
    HAVING (toUnixTimestamp64Milli(last_at), person) < ({after_ms:Int64}, {after_person:String})
    ORDER BY last_at DESC, person DESC
    LIMIT {limit:UInt32}
)
SELECT
    person, recipient, clicks, first_at, people.last_at AS last_at, newsletter, message, address, link_name, label, url, people,
    newsletters.id AS newsletter_id, newsletters.name AS newsletter_name
{last_clicks}ORDER BY last_at DESC, person DESC
