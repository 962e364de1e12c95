-- The clicks of link_clicks.sql by place.
SELECT
    link_key, position,
    human_total + machine_total AS all_total,
    countIf(human + machine > 0 AND NOT shared) AS all_unique,
    sum(human) AS human_total,
    countIf(human > 0 AND NOT shared) AS human_unique,
    sum(machine) AS machine_total,
    countIf(machine > 0 AND NOT shared) AS machine_unique
FROM clicks_by_place FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND link_key IN {links:Array(UInt64)}
GROUP BY link_key, position
