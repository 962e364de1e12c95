-- The email addresses of some recipients, as last recorded.
SELECT recipient, argMaxIf(messages.address, at, messages.address != '') AS address
FROM messages
WHERE workspace = {workspace:String} AND recipient IN {recipients:Array(UInt64)}
GROUP BY recipient
HAVING address != ''
