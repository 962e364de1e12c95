-- What opened and clicked one newsletter: clients, systems, devices, countries, and the families of
-- clients that opened (`part`), with the hits of each.
SELECT
    agent.1 AS part,
    agent.2 AS name,
    sum(hits) AS all_total,
    sumIf(hits, {people}) AS human_total,
    sumIf(hits, NOT {people}) AS machine_total
FROM hits_by_agent
ARRAY JOIN
    arrayConcat(
        [('client', toString(client)), ('os', toString(os)), ('device', toString(device)),
         ('country', toString(country))],
        if(kind = 'open', [('family', {family})], [])) AS agent
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND kind IN ('open', 'click')
GROUP BY part, name
HAVING all_total > 0
ORDER BY all_total DESC, part, name
LIMIT 1000
