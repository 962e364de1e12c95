-- People who clicked a link that is marked as a signal since a time, the latest first: by topic, by
-- a part of what the link is called, or by a pattern of LIKE on its URL.
-- Rows: recipient, clicks, at and message of the last one, link_name, label and url of that link.
WITH people AS
(
    SELECT
        recipient, count() AS clicks, max(clicked_at) AS at,
        argMax(clicked_newsletter, clicked_at) AS newsletter, argMax(clicked_message, clicked_at) AS message,
        argMax(clicked_name, clicked_at) AS link_name, argMax(clicked_label, clicked_at) AS label,
        argMax(clicked_url, clicked_at) AS url
    FROM
    (
        SELECT
            newsletter AS clicked_newsletter, message AS clicked_message, recipient, hits.at AS clicked_at,
            if(hits.url != '', hits.url, links.url) AS clicked_url, name AS clicked_name,
            label AS clicked_label, links.tags AS tags
        FROM hits FINAL
        {linked}WHERE workspace = {workspace:String} AND hits.at >= fromUnixTimestamp64Milli({since_ms:Int64})
            AND kind = 'click' AND {people} AND recipient != 0
    )
    WHERE arrayExists(tag -> has({topics:Array(String)}, lowerUTF8(tag)), tags)
        OR arrayExists(part -> positionCaseInsensitiveUTF8(if(clicked_name = '', clicked_label, clicked_name), part) > 0, {labels:Array(String)})
        OR arrayExists(pattern -> clicked_url ILIKE pattern, {urls:Array(String)})
    GROUP BY recipient
    ORDER BY at DESC
    LIMIT {limit:UInt32}
)
SELECT
    recipient, clicks, people.at AS at, newsletter, message, address, link_name, label, url,
    newsletters.id AS newsletter_id, newsletters.name AS newsletter_name
{last_clicks}ORDER BY at DESC, recipient
