-- When one newsletter was last hit, what was counted of it (counted.part), and whether its hits have
-- changed since then; no row if it was never hit.
SELECT last_at, counted.3 AS counts, checksum != counted.2 AS changed
FROM hits_by_newsletter FINAL
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
