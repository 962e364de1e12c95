-- When one newsletter was last hit; 1970 if never.
SELECT max(last_at) AS last_at
FROM hits_by_minute
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
