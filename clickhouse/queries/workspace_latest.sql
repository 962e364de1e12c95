-- The latest hits of people since a time, with what they followed and whose they are.
WITH latest AS
(
    SELECT
        newsletter, message, recipient, hits.at AS at, kind, link_key, detail, hits.url AS own_url,
        client, os, segment, line
    FROM hits FINAL
    WHERE workspace = {workspace:String} AND at >= fromUnixTimestamp64Milli({since_ms:Int64})
        AND ({people} OR kind = 'unsubscribe') AND ({kind:String} = 'all' OR kind = {kind:String})
    ORDER BY at DESC, segment, line
    LIMIT {limit:UInt32}
)
SELECT
    newsletter, newsletters.id AS newsletter_id, newsletters.name AS newsletter_name, message, recipient, address,
    latest.at AS at, kind, client, os, concat(toString(segment), '-', toString(line)) AS hit,
    if(own_url != '', own_url, links.url) AS url, links.name AS link_name, label
FROM latest
{linked}LEFT JOIN
(
    SELECT newsletter, message, address
    FROM messages
    WHERE workspace = {workspace:String} AND (newsletter, message) IN (SELECT newsletter, message FROM latest)
) AS whom USING (newsletter, message)
LEFT JOIN (SELECT newsletter, id, name FROM newsletters FINAL WHERE workspace = {workspace:String}) AS newsletters USING (newsletter)
ORDER BY at DESC, hit
