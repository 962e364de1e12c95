-- One newsletter's figures, a row for each kind of hit that it has had:
-- total counts hits, unique counts distinct messages hit.
SELECT
    kind,
    count() AS all_total,
    uniqExact(message) AS all_unique,
    countIf(verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human_total,
    uniqExactIf(message, verdict NOT IN ('prefetch', 'scanner', 'bot')) AS human_unique,
    countIf(verdict IN ('prefetch', 'scanner', 'bot')) AS machine_total,
    uniqExactIf(message, verdict IN ('prefetch', 'scanner', 'bot')) AS machine_unique,
    max(at) AS last_at
FROM events
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
GROUP BY kind
