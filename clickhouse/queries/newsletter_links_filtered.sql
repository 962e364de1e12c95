-- The links of newsletter_links.sql with the clicks that some filters leave.
SELECT
    links.link AS link, url, label, tags,
    human_total + machine_total AS all_total, all_unique,
    human_total, human_unique, machine_total, machine_unique
FROM links FINAL
LEFT JOIN
(
    SELECT
        link,
        countIf(human + machine > 0 AND {individual}) AS all_unique,
        sum(human) AS human_total,
        countIf(human > 0 AND {individual}) AS human_unique,
        sum(machine) AS machine_total,
        countIf(machine > 0 AND {individual}) AS machine_unique
    FROM
    (
        SELECT
            link, message,
            sumIf(sign, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human,
            sumIf(sign, verdict IN ('prefetch', 'scanner', 'bot')) AS machine
        FROM hits
        WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND kind = 'click'
            {filters}
        GROUP BY link, message
    )
    GROUP BY link
) AS clicks USING (link)
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
ORDER BY human_unique DESC, human_total DESC, link
