-- One newsletter's links with their clicks, most human clicks first.
SELECT
    links.link AS link, url, label, tags,
    all_total, all_unique, human_total, human_unique, machine_total, machine_unique
FROM links FINAL
LEFT JOIN
(
    SELECT
        link,
        count() AS all_total,
        uniqExact(message) AS all_unique,
        countIf(verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human_total,
        uniqExactIf(message, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human_unique,
        countIf(verdict IN ('prefetch', 'scanner', 'bot')) AS machine_total,
        uniqExactIf(message, verdict IN ('prefetch', 'scanner', 'bot')) AS machine_unique
    FROM events
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND kind = 'click'
    GROUP BY link
) AS clicks USING (link)
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
ORDER BY human_unique DESC, human_total DESC, link
