-- The figures of newsletter_stats.sql with the hits that match some filters; empty values filter
-- nothing. A message that a person opened at all is not unknowable, whatever the filters select.
SELECT
    kind,
    sum(human) + sum(machine) AS all_total,
    countIf(human + machine > 0 AND {individual}) AS all_unique,
    sum(human) AS human_total,
    countIf(human > 0 AND {individual}) AS human_unique,
    sum(machine) AS machine_total,
    countIf(machine > 0 AND {individual}) AS machine_unique,
    countIf(unknowable_hits > 0 AND {individual} AND message NOT IN (
        SELECT message FROM hits_by_message FINAL
        WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND kind = 'open' AND human > 0
    )) AS unknowable
FROM
(
    SELECT
        kind, message,
        sumIf(sign, {people}) AS human,
        sumIf(sign, NOT {people}) AS machine,
        sumIf(sign, {unknowable}) AS unknowable_hits
    FROM hits
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
        {filters}
    GROUP BY kind, message
)
GROUP BY kind
