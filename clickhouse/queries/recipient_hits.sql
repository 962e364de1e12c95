-- What came of some messages, the latest first, each hit with its latest verdict and reasons.
SELECT
    newsletter, message, hits.at AS at, kind, link, url, label, links.tags AS tags, verdict, reasons,
    client, os, device, country
FROM hits FINAL
LEFT JOIN
(
    SELECT newsletter, link, url, label, tags
    FROM links FINAL
    WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
) AS links USING (newsletter, link)
WHERE workspace = {workspace:String} AND newsletter IN {newsletters:Array(UInt64)}
    AND message IN {messages:Array(UUID)}
ORDER BY at DESC
LIMIT {limit:UInt32}
