-- One newsletter's figures, a row for each kind of hit that it has had:
-- total counts hits, unique counts distinct messages.
SELECT
    kind,
    sum(human) + sum(machine) AS all_total,
    countIf(human + machine > 0 AND {individual}) AS all_unique,
    sum(human) AS human_total,
    countIf(human > 0 AND {individual}) AS human_unique,
    sum(machine) AS machine_total,
    countIf(machine > 0 AND {individual}) AS machine_unique
FROM hits_by_message FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
GROUP BY kind
