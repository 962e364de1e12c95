-- What opened and clicked one newsletter: clients and devices (`part`) with the distinct messages
-- that each of them hit.
SELECT
    agent.1 AS part,
    agent.2 AS name,
    uniqExact(message) AS all_unique,
    uniqExactIf(message, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human_unique,
    uniqExactIf(message, verdict IN ('prefetch', 'scanner', 'bot')) AS machine_unique
FROM events
ARRAY JOIN [('client', toString(client)), ('device', toString(device))] AS agent
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND kind IN ('open', 'click')
GROUP BY part, name
ORDER BY all_unique DESC, part, name
LIMIT 500
