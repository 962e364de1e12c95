-- The clicks of link_clicks.sql that match some filters; each of `families` is counted as one link.
SELECT
    link_key,
    human_total + machine_total AS all_total,
    countIf(human + machine > 0 AND {individual}) AS all_unique,
    sum(human) AS human_total,
    countIf(human > 0 AND {individual}) AS human_unique,
    sum(machine) AS machine_total,
    countIf(machine > 0 AND {individual}) AS machine_unique
FROM
(
    SELECT
        if(hits.family IN {families:Array(UInt64)}, hits.family, hits.link_key) AS link_key, message,
        sumIf(sign, {people}) AS human,
        sumIf(sign, NOT {people}) AS machine
    FROM hits
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND kind = 'click'
        {filters}
    GROUP BY 1, message
)
GROUP BY link_key
