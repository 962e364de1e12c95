-- The places of some links of one newsletter.
SELECT DISTINCT link_key, position
FROM link_places
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64} AND link_key IN {links:Array(UInt64)}
ORDER BY link_key, position
LIMIT 100000
