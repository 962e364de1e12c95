-- What one newsletter sent: messages, first_at, last_at.
SELECT count() AS messages, min(at) AS first_at, max(at) AS last_at
FROM messages
WHERE workspace = {workspace:String} AND newsletter = {newsletter:UInt64}
