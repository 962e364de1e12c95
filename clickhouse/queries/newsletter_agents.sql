-- What one newsletter was read with: client, os, device with human hits and distinct messages.
SELECT client, os, device, count() AS human_total, uniqExact(message) AS human_unique
FROM events
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
    AND verdict NOT IN ('prefetch', 'scanner', 'bot') AND kind IN ('open', 'click')
GROUP BY client, os, device
ORDER BY human_unique DESC, client, os, device
LIMIT 200
