-- The parts of newsletter_agents.sql with the hits that match some filters.
SELECT
    agent.1 AS part,
    agent.2 AS name,
    sum(hits) AS all_total,
    sumIf(hits, NOT machine) AS human_total,
    sumIf(hits, machine) AS machine_total
FROM
(
    SELECT kind, client, os, device, country, NOT {people} AS machine, sum(sign) AS hits
    FROM hits
    WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND kind IN ('open', 'click')
        {filters}
    GROUP BY kind, client, os, device, country, machine
)
ARRAY JOIN
    arrayConcat(
        [('client', toString(client)), ('os', toString(os)), ('device', toString(device)),
         ('country', toString(country))],
        if(kind = 'open', [('family', {family})], [])) AS agent
GROUP BY part, name
HAVING all_total > 0
ORDER BY all_total DESC, part, name
LIMIT 1000
