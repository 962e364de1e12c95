-- The hits of some messages, the latest first, each with its latest verdict and reasons.
SELECT
    newsletter, message, hits.at AS at, kind, hits.link_key AS link_key, position,
    if(hits.url != '', hits.url, links.url) AS url, name AS link_name, label, links.tags AS tags,
    verdict, reasons, client, os, device, country
FROM hits FINAL
{linked}WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)}
ORDER BY at DESC
LIMIT {limit:UInt32}
